"""Three load generators, one text per request; each runs in its own process.

    in_process     threads that call Predictor.predict: the throughput of the cores without a server
    closed_loop    connections that send the next request after each reply: the maximum throughput of the server
    open_loop      requests on a fixed schedule, independent of the replies: the latency at a given rate

    echo '{"load": "closed_loop", "port": 8080, "connections": 8, "seconds": 2, "texts": ["hello"]}' |
        python -m bert_textclassification.benchmarks.load.generator

The `Outcome` is printed as one line of JSON.
"""

import itertools
import json
import random
import selectors
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial

from bert_textclassification.benchmarks.http_client import PATIENCE_S, Client, prediction_request

WARM_UP_S = 0.3
REPEATS = 0.4  # share of repeated texts that Roblox reported for its live traffic (2020)
SCHEDULE_CONNECTIONS = 64  # the queue limit of one worker: a late reply does not delay the schedule


@dataclass
class Outcome:
    """The measurements of a load.

    Attributes:
        seconds: from the first request to the last reply.
        cpu_seconds: processor time of this process in that time.
        latencies_ms: of each successful request, in milliseconds.
        errors: number of failed requests by HTTP status, or `closed` for a closed connection.
    """

    seconds: float
    cpu_seconds: float
    latencies_ms: list[float]
    errors: dict[str, int]


def in_process(texts: Sequence[str], seconds: float, model_dir: str, variant: str | None, threads: int) -> Outcome:
    """Classify `texts` repeatedly in `threads` threads, without a server and without a cache."""
    from bert_textclassification import Predictor  # imported here so that the loads over HTTP start faster

    predictor = Predictor.load(model_dir, variant)
    stream = itertools.cycle(texts)  # next() on it is atomic
    latencies: list[float] = []

    def work(until: float) -> None:
        while (started := time.perf_counter()) < until:
            predictor.predict([next(stream)])
            latencies.append(1000 * (time.perf_counter() - started))

    def run(for_s: float) -> None:
        until = time.perf_counter() + for_s
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, [until] * threads))

    run(WARM_UP_S)
    latencies.clear()
    return _timed(partial(run, seconds), latencies, Counter())


def closed_loop(texts: Sequence[str], seconds: float, port: int, connections: int) -> Outcome:
    """Send the next request on each connection as soon as its reply has arrived."""
    requests = _requests(texts)

    def run() -> None:
        until = time.perf_counter() + seconds
        while (now := time.perf_counter()) < until or client.busy:
            while client.free and now < until:
                client.send(next(requests), time.perf_counter())
            client.wait(PATIENCE_S)

    with closing(Client(port, connections, selectors.DefaultSelector())) as client:
        return _timed(run, client.latencies_ms, client.errors)


def open_loop(
    texts: Sequence[str],
    seconds: float,
    port: int,
    rate: float,
    connections: int = SCHEDULE_CONNECTIONS,
    independent: bool = False,
) -> Outcome:
    """Send `rate` requests per second; a latency counts from the scheduled time of its request.

    Requests are scheduled at equal intervals, or with `independent` as a Poisson process.
    """
    requests = _requests(texts)
    chance = random.Random(0)  # noqa: S311 - a sample, not a secret
    gaps = [chance.expovariate(rate) if independent else 1 / rate for _ in range(max(1, round(rate * seconds)))]

    def run() -> None:
        due = deque(itertools.accumulate(gaps[:-1], initial=time.perf_counter()))
        while due or client.busy:
            now = time.perf_counter()
            while due and due[0] <= now and client.free:
                client.send(next(requests), due.popleft())
            client.wait(due[0] - now if due and client.free else PATIENCE_S)

    # select, because epoll waits in whole milliseconds.
    with closing(Client(port, connections, selectors.SelectSelector())) as client:
        return _timed(run, client.latencies_ms, client.errors)


LOADS: dict[str, Callable[..., Outcome]] = {load.__name__: load for load in (in_process, closed_loop, open_loop)}


def new_to_a_cache(texts: Sequence[str]) -> Iterator[str]:
    """Yield the texts repeatedly, with one more trailing blank in each repetition.

    To a cache these are new texts; to the model they are the same.
    """
    for blanks in itertools.count(1):
        for text in texts:
            yield text + " " * blanks


def with_repeats(new: Iterator[str], count: int) -> list[str]:
    """Return `count` texts; each is, with the probability REPEATS, a random earlier text of the list."""
    chance = random.Random(0)  # noqa: S311 - a sample, not a secret
    stream = [next(new)]
    while len(stream) < count:
        stream.append(chance.choice(stream) if chance.random() < REPEATS else next(new))
    return stream


def _requests(texts: Sequence[str]) -> Iterator[bytes]:
    return itertools.cycle([prediction_request(text) for text in texts])


def _timed(run: Callable[[], None], latencies_ms: list[float], errors: Counter[str]) -> Outcome:
    started, cpu_started = time.perf_counter(), time.process_time()
    run()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return Outcome(seconds, cpu_seconds, [round(latency, 4) for latency in latencies_ms], dict(errors))


if __name__ == "__main__":
    job = json.load(sys.stdin)
    print(json.dumps(asdict(LOADS[job.pop("load")](**job))))
