"""The HTTP client of all measurements: keep-alive connections to this machine, at most one request on each.

It reads the status and the length of a reply and nothing else, so that it takes little of the processor time that it
shares with the server.
"""

import json
import re
import selectors
import socket
import time
from collections import Counter, deque
from contextlib import suppress

PATIENCE_S = 60.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")


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


def prediction_request(text: str) -> bytes:
    """Return the HTTP request that asks for the prediction of one text."""
    body = json.dumps({"instances": [text]}, ensure_ascii=False).encode()
    head = "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body
