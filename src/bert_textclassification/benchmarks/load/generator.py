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
import re
import selectors
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import partial

WARM_UP_S = 0.3
PATIENCE_S = 60.0
REPEATS = 0.4  # share of repeated texts that Roblox reported for its live traffic (2020)
SCHEDULE_CONNECTIONS = 64  # the queue limit of one worker: a late reply does not delay the schedule
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")


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


class Connection:
    """A keep-alive connection to this machine with at most one pending request.

    Attributes:
        since: start of the pending request's latency, in seconds of `perf_counter`; None without a request.
        is_closing: whether the server closes the connection after this reply.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.since: float | None = None
        self.is_closing = False
        self._received = b""

    def receive(self) -> str | None:
        """Read the available bytes; return the status of a complete reply, `closed` on a closed connection, or None."""
        try:
            piece = self.socket.recv(65536)
        except ConnectionError:
            piece = b""
        self._received += piece
        head, _, body = self._received.partition(b"\r\n\r\n")
        head = head.lower()
        length = _LENGTH.search(head)
        if piece and (length is None or len(body) < int(length[1])):
            return None
        self._received = b""
        self.is_closing = not piece or b"\r\nconnection: close" in head
        return head[9:12].decode() if piece else "closed"


class Client:
    """A pool of connections, with the latencies and errors of its requests."""

    def __init__(self, port: int, connections: int, selector: selectors.BaseSelector) -> None:
        self._port = port
        self._selector = selector
        self.free: deque[Connection] = deque()
        self.busy = 0
        self.latencies_ms: list[float] = []
        self.errors: Counter[str] = Counter()
        for _ in range(connections):
            self._open()

    def send(self, request: bytes, since: float) -> None:
        """Send a request on a free connection; its latency counts from `since`."""
        connection = self.free.popleft()
        connection.since = since
        self.busy += 1
        with suppress(ConnectionError):  # counted when the reply is read
            connection.socket.sendall(request)

    def wait(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for replies, and count the complete ones.

        Raises:
            TimeoutError: no reply within PATIENCE_S.
        """
        ready = self._selector.select(max(0.0, timeout))
        if not ready and timeout >= PATIENCE_S:
            raise TimeoutError(f"the server did not answer within {PATIENCE_S:g} s")
        for key, _ in ready:
            connection: Connection = key.data
            if status := connection.receive():
                self._count(connection, status)

    def close(self) -> None:
        """Close every connection."""
        for key in self._selector.get_map().values():
            key.data.socket.close()
        self._selector.close()

    def _count(self, connection: Connection, status: str) -> None:
        if connection.since is not None:
            if status == "200":
                self.latencies_ms.append(1000 * (time.perf_counter() - connection.since))
            else:
                self.errors[status] += 1
            connection.since = None
            self.busy -= 1
            self.free.append(connection)
        if connection.is_closing:
            self.free.remove(connection)
            self._selector.unregister(connection.socket)
            connection.socket.close()
            self._open()

    def _open(self) -> None:
        connection = Connection(self._port)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self.free.append(connection)


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
    return itertools.cycle([_request(text) for text in texts])


def _request(text: str) -> bytes:
    body = json.dumps({"instances": [text]}, ensure_ascii=False).encode()
    head = "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body


def _timed(run: Callable[[], None], latencies_ms: list[float], errors: Counter[str]) -> Outcome:
    started, cpu_started = time.perf_counter(), time.process_time()
    run()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return Outcome(seconds, cpu_seconds, [round(latency, 4) for latency in latencies_ms], dict(errors))


if __name__ == "__main__":
    job = json.load(sys.stdin)
    print(json.dumps(asdict(LOADS[job.pop("load")](**job))))
