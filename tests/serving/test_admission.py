"""Admission: cores are assigned in order of arrival, none is lost or assigned twice; queue and wait are bounded."""

import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from random import SystemRandom

import pytest

from bert_textclassification.errors import RequestError
from bert_textclassification.serving import admission as module
from bert_textclassification.serving.admission import Admission, ClientGone, CoreLimiter, QueueTimeout
from tests.conftest import PATIENCE_S, wait_until

CHANCE = SystemRandom()


class Clock:
    """A replacement of the time module; time passes only on `advance`."""

    def __init__(self):
        self._now = 1000.0

    def monotonic(self):
        return self._now

    def advance(self, seconds):
        self._now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def frequent_switches():
    """Make Python switch threads as often as possible, to find races."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def started(*targets):
    threads = [threading.Thread(target=target, daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    return threads


def join(threads):
    for thread in threads:
        thread.join(timeout=PATIENCE_S)
        assert not thread.is_alive()


@contextmanager
def held(cores):
    """Occupy one core during the context."""
    begun, over = threading.Event(), threading.Event()
    holding = started(lambda: cores.run(lambda: (begun.set(), over.wait(PATIENCE_S)), PATIENCE_S))
    assert begun.wait(PATIENCE_S)
    yield
    over.set()
    join(holding)


def free(cores):
    """Return the number of free cores once all queued work is done."""
    wait_until(lambda: not cores._queue)
    with ExitStack() as stack:
        for taken in range(100):
            try:
                cores.run(lambda: None, 0.5)
            except QueueTimeout:
                return taken
            stack.enter_context(held(cores))
    raise AssertionError("there is no end of cores")


def rejection(schedule):
    with pytest.raises(RequestError) as problem:
        schedule(lambda: pytest.fail("nothing may be computed"))
    return problem.value.code, problem.value.status


# -- cores


def test_as_many_pieces_of_work_are_done_at_once_as_there_are_cores():
    cores = CoreLimiter(2)
    assert free(cores) == 2
    with held(cores):
        assert free(cores) == 1


def test_work_that_need_not_wait_runs_in_the_calling_thread():
    assert CoreLimiter(1).run(threading.current_thread, 0) is threading.current_thread()


def test_queued_work_uses_no_more_threads_than_cores():
    cores, threads = CoreLimiter(2), []
    with held(cores), held(cores):
        waiting = started(*[lambda: threads.append(cores.run(threading.current_thread, PATIENCE_S))] * 20)
        wait_until(lambda: len(cores._queue) == 20)
    join(waiting)
    assert len(threads) == 20
    assert len(set(threads)) <= 2
    assert not set(threads) & set(waiting)


def test_work_is_begun_in_order_of_arrival():
    cores, order, waiting = CoreLimiter(1), [], []
    with held(cores):
        for number in range(8):
            waiting += started(lambda number=number: cores.run(lambda: order.append(number), PATIENCE_S))
            wait_until(lambda number=number: len(cores._queue) == number + 1)
    join(waiting)
    assert order == list(range(8))
    assert free(cores) == 1


def test_the_next_batch_of_a_request_queues_behind_waiting_ones():
    cores, order, waiting = CoreLimiter(1), [], []

    def begin():
        waiting.extend(started(lambda: cores.run(lambda: order.append("waited"), PATIENCE_S)))
        wait_until(lambda: cores._queue)

    cores.run(begin, 0)
    cores.run(lambda: order.append("again"), PATIENCE_S)
    join(waiting)
    assert order == ["waited", "again"]


def test_an_exception_is_raised_only_in_the_thread_whose_work_failed():
    cores, outcomes = CoreLimiter(1), []

    def fail():
        with pytest.raises(ValueError, match="of this one"):
            cores.run(lambda: int("of this one"), PATIENCE_S)
        outcomes.append("failed")

    with held(cores):
        waiting = started(fail, lambda: outcomes.append(cores.run(lambda: "done", PATIENCE_S)))
        wait_until(lambda: len(cores._queue) == 2)
    join(waiting)
    assert sorted(outcomes) == ["done", "failed"]
    assert free(cores) == 1


def test_work_that_timed_out_leaves_the_queue():
    cores, order = CoreLimiter(1), []
    with held(cores):
        with pytest.raises(QueueTimeout):
            cores.run(lambda: order.append("given up"), 0.01)
        waiting = started(lambda: cores.run(lambda: order.append("waited"), PATIENCE_S))
        wait_until(lambda: cores._queue)
    join(waiting)
    assert order == ["waited"]


def test_work_begun_just_after_the_time_was_out_is_done_and_its_result_returned():
    cores, got = CoreLimiter(1), []
    cores._guard = threading.RLock()  # so that this thread can hold it while it takes work from the queue
    with held(cores):
        waiting = started(lambda: got.append(cores.run(lambda: "result", 1)))
        wait_until(lambda: cores._queue)
        with cores._guard:
            time.sleep(1.5)  # the waiting thread has timed out and waits for the guard
            job = cores._queue.popleft()
        job.run()
        join(waiting)
    assert got == ["result"]
    assert free(cores) == 1


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.usefixtures("frequent_switches")
def test_no_core_is_lost_or_given_twice_when_many_threads_give_up(count):
    cores, outcomes, busy, most = CoreLimiter(count), [], [], []

    def ask():
        for number in range(200):
            try:
                outcomes.append(cores.run(lambda number=number: hold(number), CHANCE.uniform(0, 0.0005)) == number)
            except QueueTimeout:
                outcomes.append("gave up")

    def hold(number):
        busy.append(1)
        most.append(len(busy))
        time.sleep(CHANCE.uniform(0, 0.0002))
        busy.pop()
        return number

    join(started(*[ask] * 16))
    assert max(most) == count
    assert set(outcomes) == {True, "gave up"}
    assert free(cores) == count


# -- Admission


def test_the_result_of_the_work_is_returned():
    with Admission(cores=1, max_queue=0, timeout_s=PATIENCE_S).enter() as schedule:
        assert [schedule(lambda: "one"), schedule(lambda: "two")] == ["one", "two"]


@pytest.mark.parametrize(("cores", "waiting"), [(1, 0), (2, 3)])
def test_requests_over_the_bound_are_refused_at_once_until_one_leaves(cores, waiting):
    admission = Admission(cores, waiting, timeout_s=PATIENCE_S)
    with ExitStack() as stack:
        for _ in range(cores + waiting - 1):
            stack.enter_context(admission.enter())
        with admission.enter(), pytest.raises(RequestError, match="try again") as problem, admission.enter():
            pass
        assert (problem.value.code, problem.value.status) == ("overloaded", 503)
        with admission.enter():
            assert admission.inside == cores + waiting
    assert admission.inside == 0


def test_a_request_that_waits_past_its_deadline_is_refused_and_takes_no_core():
    admission = Admission(cores=1, max_queue=1, timeout_s=0.05)
    with held(admission._cores), admission.enter() as schedule:
        assert rejection(schedule) == ("deadline_exceeded", 503)
    assert free(admission._cores) == 1


def test_the_deadline_also_holds_between_the_batches_when_a_core_is_free(clock):
    with Admission(cores=1, max_queue=0, timeout_s=PATIENCE_S).enter() as schedule:
        schedule(lambda: clock.advance(PATIENCE_S + 1))
        assert rejection(schedule) == ("deadline_exceeded", 503)


def test_the_deadline_counts_from_admission_for_each_request_anew(clock):
    admission = Admission(cores=1, max_queue=0, timeout_s=PATIENCE_S)
    for _ in range(3):
        with admission.enter() as schedule:
            schedule(lambda: clock.advance(PATIENCE_S / 2))
    with admission.enter() as schedule:
        assert schedule(lambda: "in time") == "in time"


def test_the_message_of_the_deadline_says_how_long_it_was():
    admission = Admission(cores=1, max_queue=0, timeout_s=0)
    with admission.enter() as schedule, pytest.raises(RequestError, match=r"not ready within 0 s; send fewer"):
        schedule(lambda: None)


def test_nothing_is_computed_for_a_client_that_has_gone():
    admission, gone = Admission(cores=1, max_queue=0, timeout_s=PATIENCE_S), iter([False, True])
    with admission.enter(lambda: next(gone)) as schedule:
        assert schedule(lambda: "computed") == "computed"
        with pytest.raises(ClientGone):
            schedule(lambda: pytest.fail("nobody waits for this"))
    assert (admission.inside, free(admission._cores)) == (0, 1)


@pytest.mark.parametrize("problem", [ValueError, RequestError("code", "message"), ClientGone, KeyboardInterrupt])
def test_a_request_that_fails_leaves_its_place_and_its_core(problem):
    def fail():
        raise problem

    admission = Admission(cores=1, max_queue=0, timeout_s=PATIENCE_S)
    with suppress(ValueError, RequestError, ClientGone, KeyboardInterrupt), admission.enter() as schedule:
        schedule(fail)
    assert (admission.inside, free(admission._cores)) == (0, 1)


def test_a_failing_check_of_the_client_releases_the_core():
    admission = Admission(cores=1, max_queue=0, timeout_s=PATIENCE_S)
    with pytest.raises(ZeroDivisionError), admission.enter(lambda: 1 // 0 == 0) as schedule:
        schedule(lambda: None)
    assert (admission.inside, free(admission._cores)) == (0, 1)


def test_the_time_in_the_queue_is_the_waiting_and_not_the_work(clock):
    admission = Admission(cores=1, max_queue=1, timeout_s=PATIENCE_S)
    with admission.enter() as schedule:
        schedule(lambda: clock.advance(5))
        assert schedule.waited_s == 0
        with held(admission._cores):
            waiting = started(lambda: schedule(lambda: clock.advance(7)))
            wait_until(lambda: admission._cores._queue)
            clock.advance(3)
        join(waiting)
        assert schedule.waited_s == 3


def test_a_request_of_many_batches_delays_a_short_one_by_about_one_batch():
    admission, done, begun = Admission(cores=1, max_queue=1, timeout_s=PATIENCE_S), [], threading.Event()

    def compute(batch):
        begun.set()
        wait_until(lambda: batch or admission._cores._queue)  # the short one comes during the first batch
        done.append(batch)

    def ask_many():
        with admission.enter() as schedule:
            for batch in range(20):
                schedule(lambda batch=batch: compute(batch))

    def ask_one():
        with admission.enter() as schedule:
            schedule(lambda: done.append("short"))

    many = started(ask_many)
    assert begun.wait(PATIENCE_S)
    join(started(ask_one))
    join(many)
    assert done.index("short") <= 2
    assert len(done) == 21


@pytest.mark.usefixtures("frequent_switches")
def test_after_requests_of_every_outcome_none_is_inside_and_every_core_is_free():
    admission, outcomes, inside = Admission(cores=2, max_queue=6, timeout_s=PATIENCE_S), set(), []

    def ask():
        for _ in range(100):
            outcomes.add(outcome(admission, inside))

    join(started(*[ask] * 16))
    assert outcomes == {"answered", "overloaded", "deadline_exceeded", "ClientGone", "ValueError"}
    assert max(inside) <= 8
    assert (admission.inside, free(admission._cores)) == (0, 2)


def outcome(admission, inside):
    """Make a request of three batches that succeeds or fails at random; return its outcome."""

    def work():
        time.sleep(CHANCE.uniform(0, 0.001))
        if CHANCE.random() < 0.05:
            raise ValueError

    admission._timeout_s = CHANCE.choice((0.003, PATIENCE_S))  # of the next requests
    try:
        with admission.enter(lambda: CHANCE.random() < 0.05) as schedule:
            inside.append(admission.inside)
            for _ in range(3):
                schedule(work)
    except RequestError as problem:
        return problem.code
    except (ClientGone, ValueError) as problem:
        return type(problem).__name__
    return "answered"
