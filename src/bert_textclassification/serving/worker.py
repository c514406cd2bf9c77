"""gunicorn's threaded worker with a fast path for nginx's requests.

Right after an inference, Python code is slow because the model has evicted it from the CPU caches. Reading a request,
switching threads and writing the response then cost about 0.5 ms per request in the threaded worker, instead of 0.15 ms
with warm caches. A fast path that executes less code costs a third of it. Only nginx can reach the socket, and its
requests have one plain form (`container/nginx.conf`); any other request goes through gunicorn's own parser.

Only this module uses undocumented parts of gunicorn; tests/serving/test_worker.py lists them.
"""

import select
import sys
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

LINGER_MS = 10
MAX_REQUEST_BYTES = 65536  # a longer request goes through gunicorn's parser


class NginxWorker(ThreadWorker):
    """After a response, the thread briefly waits for the next request of the same connection.

    The base class returns a connection to its main loop after each request. That costs time, because nginx keeps few
    connections that are always busy.
    """

    def handle(self, conn: Any) -> Any:
        """Answer the requests of a connection until it pauses; return whether to keep it, as the base class does."""
        kept = self._answer(conn)
        while kept is True and self.alive and _has_data(conn.sock):
            kept = self._answer(conn)
        return kept

    def _answer(self, conn: Any) -> Any:
        """Answer one request: on the fast path if it is complete and in nginx's plain form, else with gunicorn."""
        if not conn.initialized:
            return super().handle(conn)  # the first request also initialises the connection
        conn.sock.setblocking(True)  # the main loop had set it to non-blocking
        received = conn.sock.recv(MAX_REQUEST_BYTES)
        request = parse(received)
        if request is None:
            conn.parser.unreader.unread(received)
            return super().handle(conn)
        environ, body = request
        environ["wsgi.input"] = Body(body)
        environ["gunicorn.socket"] = conn.sock
        self.nr += 1
        head: list[bytes] = []  # the application fills it before it returns the body
        response_body = self.wsgi(environ, _start_response(head))
        try:
            conn.sock.sendall(b"".join((*head, *response_body)))
        finally:
            if hasattr(response_body, "close"):
                response_body.close()
        return self.alive


def assign_slot(server: Any, worker: Any, slots: int) -> None:
    """Give the worker the first free slot of `slots`; a replacement gets the slot of its predecessor."""
    taken = {other.slot for other in server.WORKERS.values()}
    worker.slot = min(set(range(slots)) - taken)


def keep_own_sockets(worker: Any) -> None:
    """Make the worker listen on the socket of its slot and on the last one, which all workers share."""
    worker.sockets = [worker.sockets[worker.slot], worker.sockets[-1]]


class Body:
    """The complete body of a request, as a WSGI input."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, or the rest."""
        if size < 0 or size >= len(self._body):
            chunk, self._body = self._body, b""
        else:
            chunk, self._body = self._body[:size], self._body[size:]
        return chunk


def parse(received: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Return the WSGI environment and the body of a complete POST request; None for anything else."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end or not head.startswith(b"POST /"):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    _, target, version = first.split(" ") if first.count(" ") == 2 else ("", "", "")
    path, _, query = target.partition("?")
    environ = dict(_CONSTANT_ENVIRON, PATH_INFO=path, QUERY_STRING=query, RAW_URI=target)
    for line in lines:
        name, _, value = line.partition(": ")
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    length = environ.pop("HTTP_CONTENT_LENGTH", None)
    if length != str(len(body)) or "%" in path or version != "HTTP/1.1" or "HTTP_TRANSFER_ENCODING" in environ:
        return None
    environ["CONTENT_LENGTH"] = length
    environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE", "")
    return environ, body


def _start_response(head: list[bytes]) -> Any:
    def start_response(status: str, headers: list[tuple[str, str]], problem: Any = None) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        head[:] = [f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1")]

    return start_response


def _has_data(connection: Any) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(LINGER_MS))


_CONSTANT_ENVIRON = {
    "REQUEST_METHOD": "POST",
    "SCRIPT_NAME": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}
