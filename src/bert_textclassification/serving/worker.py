"""gunicorn's threaded worker, with a short way for what nginx sends it.

Right after the model has been through the processor's caches every line of Python is slow. Reading a request, changing
threads and writing the reply cost about 0.5 ms a request in the threaded worker, where the hot code takes 0.15 ms; a
short way that touches less code costs a third of it. Only nginx can reach the socket, and its requests have one plain
form (`container/nginx.conf`); any other goes through gunicorn's own parser.

Only this module touches undocumented parts of gunicorn; tests/serving/test_worker.py names them.
"""

import select
import sys
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

LINGER_MS = 10
MOST_AT_ONCE = 65536  # bytes; a longer request takes gunicorn's own way


class NginxWorker(ThreadWorker):
    """A thread that has answered waits a moment for the next request of the same connection.

    The threaded worker gives a connection back to its main loop after each request and takes it from there for the
    next. nginx keeps few connections, busy all the time.
    """

    def handle(self, conn: Any) -> Any:
        """Answer the requests of a connection until it pauses; return what becomes of it, as the base class does."""
        kept = self._answer(conn)
        while kept is True and self.alive and _has_data(conn.sock):
            kept = self._answer(conn)
        return kept

    def _answer(self, conn: Any) -> Any:
        """Answer one request: the short way if it came whole and is of nginx's plain form, else gunicorn's."""
        if not conn.initialized:
            return super().handle(conn)  # the first request of a connection also prepares it
        conn.sock.setblocking(True)  # the main loop waits for it without blocking
        received = conn.sock.recv(MOST_AT_ONCE)
        request = parse(received)
        if request is None:
            conn.parser.unreader.unread(received)
            return super().handle(conn)
        environ, body = request
        environ["wsgi.input"] = Body(body)
        environ["gunicorn.socket"] = conn.sock
        self.nr += 1
        head: list[bytes] = []  # filled by the application before its reply is there
        reply = self.wsgi(environ, _keep_in(head))
        try:
            conn.sock.sendall(b"".join((*head, *reply)))
        finally:
            if hasattr(reply, "close"):
                reply.close()
        return self.alive


def take_place(server: Any, worker: Any, places: int) -> None:
    """Give the worker the first of the `places` that no other has: that of the one it replaces, if it does."""
    taken = {other.place for other in server.WORKERS.values()}
    worker.place = min(set(range(places)) - taken)


def keep_own_sockets(worker: Any) -> None:
    """Let the worker listen on the socket of its place and on the last one, which is for all."""
    worker.sockets = [worker.sockets[worker.place], worker.sockets[-1]]


class Body:
    """A request's body that is all there."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, or all."""
        if size < 0 or size >= len(self._body):
            taken, self._body = self._body, b""
        else:
            taken, self._body = self._body[:size], self._body[size:]
        return taken


def parse(received: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Return the WSGI environment and the body of a POST that is whole; None for anything else."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end or not head.startswith(b"POST /"):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    _, target, version = first.split(" ") if first.count(" ") == 2 else ("", "", "")
    path, _, query = target.partition("?")
    environ = dict(_CONSTANT, PATH_INFO=path, QUERY_STRING=query, RAW_URI=target)
    for line in lines:
        name, _, value = line.partition(": ")
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    length = environ.pop("HTTP_CONTENT_LENGTH", None)
    if length != str(len(body)) or "%" in path or version != "HTTP/1.1" or "HTTP_TRANSFER_ENCODING" in environ:
        return None
    environ["CONTENT_LENGTH"] = length
    environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE", "")
    return environ, body


def _keep_in(head: list[bytes]) -> Any:
    def start_response(status: str, headers: list[tuple[str, str]], problem: Any = None) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        head[:] = [f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1")]

    return start_response


def _has_data(connection: Any) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(LINGER_MS))


_CONSTANT = {
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
