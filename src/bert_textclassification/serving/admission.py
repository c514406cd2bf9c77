"""Who may compute, and when: a bounded number of requests, one core for each batch, a deadline for all.

Requests over the bound are refused at once; those within it take turns for the cores, batch by batch and in order of
arrival, so a request with thousands of texts delays a request with one by a single batch only.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from bert_textclassification.errors import RequestError

Result = TypeVar("Result")
RETRY_AFTER_S = 1


class ClientGone(Exception):
    """The client closed its connection: nobody waits for the answer."""


class Cores:
    """A semaphore that is handed over in order of arrival.

    `threading.Semaphore` lets a thread that releases it take it again before those that wait have woken up.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._guard = threading.Lock()
        self._queue: deque[threading.Lock] = deque()

    def acquire(self, timeout: float) -> bool:
        """Take a core and return True, or False when none got free within `timeout` seconds."""
        with self._guard:
            if self._free:
                self._free -= 1
                return True
            turn = threading.Lock()
            turn.acquire()
            self._queue.append(turn)
        if turn.acquire(timeout=max(0.0, timeout)):
            return True
        with self._guard:
            if turn not in self._queue:  # handed over just after the time was out
                return True
            self._queue.remove(turn)
            return False

    def release(self) -> None:
        """Hand the core to whoever waits longest, or put it back."""
        with self._guard:
            if self._queue:
                self._queue.popleft().release()
            else:
                self._free += 1


class Turns:
    """The turns of one admitted request: call it with the work of one batch.

    Attributes:
        waited_s: seconds spent waiting for a core so far.
    """

    def __init__(self, cores: Cores, timeout_s: float, is_client_gone: Callable[[], bool]) -> None:
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
        if asked >= self._deadline or not self._cores.acquire(self._deadline - asked):
            raise self._too_late()
        try:
            self.waited_s += time.monotonic() - asked
            if self._is_client_gone():
                raise ClientGone
            return work()
        finally:
            self._cores.release()

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
        self._cores = Cores(cores * batches_a_core)
        self._timeout_s = timeout_s
        self._places = cores + waiting
        self._guard = threading.Lock()
        self.inside = 0

    @contextmanager
    def enter(self, is_client_gone: Callable[[], bool] = lambda: False) -> Iterator[Turns]:
        """Admit a request and yield its turns.

        Raises:
            RequestError: too many are inside (503, `overloaded`).
        """
        with self._guard:
            if self.inside >= self._places:
                raise RequestError("overloaded", "Too many requests are waiting; try again in a second.", status=503)
            self.inside += 1
        try:
            yield Turns(self._cores, self._timeout_s, is_client_gone)
        finally:
            with self._guard:
                self.inside -= 1
