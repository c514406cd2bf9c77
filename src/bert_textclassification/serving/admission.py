"""Admission control: a bounded number of requests, a limited number of batches per core, a deadline per request.

Requests over the bound are rejected immediately. Batches of admitted requests run in order of arrival, so a request
with thousands of texts delays a request with one text by at most one batch.
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
    """The client closed its connection before its response was ready."""


class QueueTimeout(Exception):
    """No core became free in time."""


class CoreLimiter:
    """Runs up to `count` jobs at a time, in order of arrival.

    The calling thread runs its job itself if a core is free. A few dedicated threads run queued jobs: with one thread
    per request, each with a cold stack and cold buffers, an inference took 0.3 to 0.8 ms longer.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._guard = threading.Lock()
        self._queue: deque[_Job] = deque()
        self._ready_jobs: SimpleQueue[_Job] = SimpleQueue()
        for _ in range(count):
            threading.Thread(target=self._run_queued_jobs, daemon=True, name="cores").start()

    def run(self, work: Callable[[], Result], timeout: float) -> Result:
        """Return the result of `work`.

        Raises:
            QueueTimeout: `work` could not start within `timeout` seconds.
        """
        with self._guard:
            job = None if self._free else _Job(work)
            if job:
                self._queue.append(job)
            else:
                self._free -= 1
        return self._wait(job, timeout) if job else self._run_here(work)

    def _run_here(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        finally:
            if (job := self._next()) is not None:
                self._ready_jobs.put(job)

    def _wait(self, job: "_Job", timeout: float) -> Any:
        """Wait until a job is done; remove it from the queue after `timeout` seconds."""
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
        """Return the oldest queued job; without one, mark the core as free."""
        with self._guard:
            if self._queue:
                return self._queue.popleft()
            self._free += 1
            return None

    def _run_queued_jobs(self) -> None:
        while True:
            job: _Job | None = self._ready_jobs.get()
            while job is not None:
                job.run()
                job = self._next()


class _Job:
    """A queued job, its result or exception, and a lock that is released when it is done."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self.result: Any = None
        self.problem: BaseException | None = None
        self.is_done = threading.Lock()
        self.is_done.acquire()

    def run(self) -> None:
        """Run the job."""
        try:
            self.result = self._work()
        except BaseException as problem:  # raised again in the waiting thread
            self.problem = problem
        self.is_done.release()


class RequestScheduler:
    """Schedules the batches of one admitted request: call it with the work of one batch.

    Attributes:
        waited_s: seconds spent max_queue for a core so far.
    """

    def __init__(self, cores: CoreLimiter, timeout_s: float, is_client_gone: Callable[[], bool]) -> None:
        self._cores = cores
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._is_client_gone = is_client_gone
        self.waited_s = 0.0

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Run the work when a core is free, and return its result.

        Raises:
            RequestError: the deadline passed (503, `deadline_exceeded`).
            ClientGone: the client closed its connection.
        """
        queued_at = time.monotonic()
        if queued_at >= self._deadline:
            raise self._too_late()
        try:
            return self._cores.run(partial(self._begin, work, queued_at), self._deadline - queued_at)
        except QueueTimeout:
            raise self._too_late() from None

    def _begin(self, work: Callable[[], Result], queued_at: float) -> Result:
        self.waited_s += time.monotonic() - queued_at
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
    """Admits at most `cores + max_queue` requests at a time; up to `batches_per_core` batches compute on each core.

    With one batch per core, the core is idle between two batches while threads wait for the GIL and wake up. Two per
    core gave 419 requests a second instead of 361, on two cores with four connections.
    """

    def __init__(self, cores: int, max_queue: int, timeout_s: float, batches_per_core: int = 1) -> None:
        self.cores = cores
        self._cores = CoreLimiter(cores * batches_per_core)
        self._timeout_s = timeout_s
        self._max_inside = cores + max_queue
        self._guard = threading.Lock()
        self.inside = 0

    @contextmanager
    def enter(self, is_client_gone: Callable[[], bool] = lambda: False) -> Iterator[RequestScheduler]:
        """Admit a request and yield its scheduler.

        Raises:
            RequestError: too many requests are admitted (503, `overloaded`).
        """
        with self._guard:
            if self.inside >= self._max_inside:
                raise RequestError("overloaded", "Too many requests are waiting; try again in a second.", status=503)
            self.inside += 1
        try:
            yield RequestScheduler(self._cores, self._timeout_s, is_client_gone)
        finally:
            with self._guard:
                self.inside -= 1
