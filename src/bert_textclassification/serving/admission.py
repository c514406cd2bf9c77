"""Who may compute, and when: a bounded number of requests, one core for each batch, a deadline for all.

Requests over the bound are refused at once; those within it take turns for the cores, batch by batch and in order of
arrival, so a request with thousands of texts delays a request with one by a single batch only.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from bert_textclassification.errors import RequestError

Result = TypeVar("Result")
RETRY_AFTER_S = 1


class ClientGone(Exception):
    """The client closed its connection: nobody waits for the answer."""


class QueueTimeout(Exception):
    """No core got free in time."""


class CoreLimiter:
    """Does up to `count` pieces of work at a time, in order of arrival.

    The thread that brings work does it if it need not wait. Work that has to wait is done by a few threads kept for
    it: in as many threads as there are requests, each with its own stack and buffers gone from the caches, an inference
    took 0.3 to 0.8 ms longer.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._guard = threading.Lock()
        self._queue: deque[_Job] = deque()
        self._handed: SimpleQueue[_Job] = SimpleQueue()
        for _ in range(count):
            threading.Thread(target=self._do_what_waits, daemon=True, name="cores").start()

    def run(self, work: Callable[[], Result], timeout: float) -> Result:
        """Return the result of `work`.

        Raises:
            QueueTimeout: it could not begin within `timeout` seconds.
        """
        with self._guard:
            job = None if self._free else _Job(work)
            if job:
                self._queue.append(job)
            else:
                self._free -= 1
        return self._wait(job, timeout) if job else self._do(work)

    def _do(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        finally:
            if (job := self._next()) is not None:
                self._handed.put(job)

    def _wait(self, job: "_Job", timeout: float) -> Any:
        """Wait for a job to be done, or take it back from the queue when the time is out."""
        if not job.is_done.acquire(timeout=max(0.0, timeout)):
            with self._guard:
                if job in self._queue:
                    self._queue.remove(job)
                    raise QueueTimeout
            job.is_done.acquire()
        if job.problem is not None:
            raise job.problem
        return job.result

    def _next(self) -> "_Job | None":
        """Return the work that has waited longest; if none waits, put the core back."""
        with self._guard:
            if self._queue:
                return self._queue.popleft()
            self._free += 1
            return None

    def _do_what_waits(self) -> None:
        while True:
            job: _Job | None = self._handed.get()
            while job is not None:
                job.do()
                job = self._next()


class _Job:
    """Work that waits, what came of it, and a lock that is open once it is done."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self.result: Any = None
        self.problem: BaseException | None = None
        self.is_done = threading.Lock()
        self.is_done.acquire()

    def do(self) -> None:
        """Do the work."""
        try:
            self.result = self._work()
        except BaseException as problem:  # raised again in the thread that waits
            self.problem = problem
        self.is_done.release()


class RequestScheduler:
    """The turns of one admitted request: call it with the work of one batch.

    Attributes:
        waited_s: seconds spent waiting for a core so far.
    """

    def __init__(self, cores: CoreLimiter, timeout_s: float, is_client_gone: Callable[[], bool]) -> None:
        self._cores = cores
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._is_client_gone = is_client_gone
        self.waited_s = 0.0

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Do the work when a core is free, and return its result.

        Raises:
            RequestError: the deadline passed (503, `deadline_exceeded`).
            ClientGone: the client closed its connection.
        """
        asked = time.monotonic()
        if asked >= self._deadline:
            raise self._too_late()
        try:
            return self._cores.run(partial(self._begin, work, asked), self._deadline - asked)
        except QueueTimeout:
            raise self._too_late() from None

    def _begin(self, work: Callable[[], Result], asked: float) -> Result:
        self.waited_s += time.monotonic() - asked
        if self._is_client_gone():
            raise ClientGone
        return work()

    def _too_late(self) -> RequestError:
        return RequestError(
            "deadline_exceeded",
            f"The answer was not ready within {self._timeout_s:g} s; send fewer or shorter texts in a request, or try "
            "again when the load is lower.",
            status=503,
        )


class Admission:
    """At most `cores + waiting` requests inside at a time, `batches_a_core` of them computing on each core.

    With one batch a core, the core is idle while the thread that has computed waits for Python's lock and the next one
    wakes up: two gave 419 requests a second on two cores where one gave 361, at four connections.
    """

    def __init__(self, cores: int, waiting: int, timeout_s: float, batches_a_core: int = 1) -> None:
        self.cores = cores
        self._cores = CoreLimiter(cores * batches_a_core)
        self._timeout_s = timeout_s
        self._places = cores + waiting
        self._guard = threading.Lock()
        self.inside = 0

    @contextmanager
    def enter(self, is_client_gone: Callable[[], bool] = lambda: False) -> Iterator[RequestScheduler]:
        """Admit a request and yield its turns.

        Raises:
            RequestError: too many are inside (503, `overloaded`).
        """
        with self._guard:
            if self.inside >= self._places:
                raise RequestError("overloaded", "Too many requests are waiting; try again in a second.", status=503)
            self.inside += 1
        try:
            yield RequestScheduler(self._cores, self._timeout_s, is_client_gone)
        finally:
            with self._guard:
                self.inside -= 1
