"""Merge the logs of several processes into one output without splitting lines.

nginx and each worker write to their own named pipe; a thread of `container/serve` copies complete lines to its standard
output. nginx cannot write there itself: it opens its log by name. That fails if standard output is a socket or another
user's pipe, and overwrites other processes' lines if it is a file. Also, lines longer than PIPE_BUF can be interleaved
when several processes write to one pipe.
"""

import fcntl
import os
import select
import selectors
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK = 65536
PIPE_BYTES = 1024 * 1024  # the kernel's limit for unprivileged users; the default is 64 kB
PAUSE_S = 0.05  # copy lines in batches: beside a busy model each wake-up costs 0.15 ms
PATIENCE_S = 2  # wait this long for a stalled reader, then stop anyway


class LogForwarder:
    """Copies lines from named pipes to a file descriptor during its `with` block."""

    def __init__(self, pipes: Iterable[Path], output: int = 1) -> None:
        """Create the pipes; processes may write to them from now on.

        Args:
            pipes: paths that do not exist yet.
            output: the file descriptor to write to.
        """
        self._output = output
        self._is_lost = False
        self._is_torn = False  # the rest of the last line was lost
        self._written = 0
        self._buffers = {_open_pipe(path): bytearray() for path in pipes}
        self._wake, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def __enter__(self) -> Self:
        """Start copying."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Copy the remaining lines and stop."""
        os.close(self._stop)
        before = -1
        while self._thread.is_alive() and before != self._written:
            before = self._written
            self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for descriptor in (*self._buffers, self._wake):
                selector.register(descriptor, selectors.EVENT_READ)
            while self._wake not in (ready := {key.fd for key, _ in selector.select()}):
                self._copy_all(ready)
                time.sleep(PAUSE_S)
        self._copy_all(set(self._buffers))
        for buffer in self._buffers.values():
            if buffer:
                self._write(bytes(buffer) + b"\n")

    def _copy_all(self, pending: set[int]) -> None:
        while pending:  # round robin, so that a busy pipe does not block the others
            pending = {descriptor for descriptor in pending if self._copy(descriptor)}

    def _copy(self, descriptor: int) -> bool:
        """Copy the complete lines of one chunk; return whether the pipe may have more."""
        try:
            chunk = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return False
        buffer = self._buffers[descriptor]
        buffer += chunk
        if end := buffer.rfind(b"\n") + 1:
            self._write(bytes(buffer[:end]))
            del buffer[:end]
        return len(chunk) == CHUNK

    def _write(self, lines: bytes) -> None:
        """Write `lines`; drop lines that cannot be written, so that the server keeps working."""
        if self._is_torn:
            lines = b"\n" + lines
        while lines:
            try:
                if not select.select([], [self._output], [], 0 if self._is_lost else PATIENCE_S)[1]:
                    return self._report("nobody reads it")
                count = os.write(self._output, lines[: select.PIPE_BUF])  # at most PIPE_BUF never blocks
            except BlockingIOError:  # another process has filled the pipe in the meantime
                continue
            except OSError as problem:
                return self._report(problem.strerror or str(problem))
            self._is_torn, self._is_lost = lines[count - 1 : count] != b"\n", False
            lines = lines[count:]
            self._written += count

    def _report(self, reason: str) -> None:
        if not self._is_lost:
            with suppress(OSError):
                message = f"error: the log cannot be written to standard output ({reason}): lines are lost."
                print(message, file=sys.stderr)
        self._is_lost = True


def _open_pipe(path: Path) -> int:
    """Create a named pipe and open both of its ends, so that it always has a reader and never signals end-of-file."""
    os.mkfifo(path, 0o600)
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with suppress(OSError):  # this user's limit of pipe memory is reached
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return pipe
