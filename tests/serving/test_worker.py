"""The worker's fast path: which requests take it, and that it does not change the responses."""

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.http.unreader import Unreader
from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import TConn, ThreadWorker

from bert_textclassification.serving.worker import Body, parse
from tests.private_parts import require, require_parameters, require_text

HEAD = b"POST /invocations?threshold=0.3 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nContent-Type: application/json"
BODY = b'["hello"]'


LIBRARY, ADAPTER = "gunicorn", "serving/worker.py"


def test_gunicorn_has_the_undocumented_parts_that_the_worker_relies_on():
    require_parameters(LIBRARY, ThreadWorker, "handle", "self conn", ADAPTER)
    require_parameters(LIBRARY, Unreader, "unread", "self data", ADAPTER)
    require(LIBRARY, Arbiter, "WORKERS", ADAPTER)


@pytest.mark.parametrize(
    ("owner", "text"),
    [
        (TConn, "self.initialized = True"),
        (TConn, "self.sock = "),
        (TConn, "self.parser = "),
        (ThreadWorker, "self.nr += 1"),
        (ThreadWorker, "self.wsgi("),
        (ThreadWorker, "elif result and self.alive:"),  # what `handle` returns: keep the connection or not
        (ThreadWorker, "for listener in self.sockets:"),
        (Worker, "self.alive = True"),
        (Arbiter, "self.cfg.pre_fork(self, worker)"),
        (Arbiter, "self.WORKERS[pid] = worker"),
    ],
)
def test_gunicorn_still_works_as_the_worker_expects(owner, text):
    require_text(LIBRARY, owner, text, ADAPTER)


def test_a_whole_post_becomes_a_wsgi_environment():
    environ, body = parse(HEAD + b"\r\nX-Request-Id: 7: 8\r\n\r\n" + BODY)
    assert body == BODY
    assert (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("POST", "/invocations")
    assert (environ["QUERY_STRING"], environ["CONTENT_TYPE"]) == ("threshold=0.3", "application/json")
    assert (environ["CONTENT_LENGTH"], environ["HTTP_X_REQUEST_ID"]) == ("9", "7: 8")
    assert "HTTP_CONTENT_LENGTH" not in environ


@pytest.mark.parametrize(
    "received",
    [
        b"",
        b"POST /invocations",
        HEAD + b"\r\n",
        HEAD + b"\r\n\r\n" + BODY[:-1],
        HEAD + b"\r\n\r\n" + BODY + b"POST ",
        HEAD + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
        HEAD.replace(b"1.1", b"1.0") + b"\r\n\r\n" + BODY,
        HEAD.replace(b"invocations", b"%69nvocations") + b"\r\n\r\n" + BODY,
        HEAD.replace(b"Content-Length: 9", b"Content-Length: +9") + b"\r\n\r\n" + BODY,
        b"POST /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"POST /a\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_anything_else_is_left_to_gunicorn(received):
    assert parse(received) is None


@pytest.mark.parametrize("sizes", [(-1,), (4, 100), (9,), (3, 3, 3, 3), (0, -1)])
def test_a_body_is_read_in_any_steps(sizes):
    body = Body(BODY)
    assert b"".join(body.read(size) for size in sizes) == BODY
    assert body.read() == b""


@pytest.mark.parametrize("padding", [0, 60_000, 70_000, 2_000_000])
def test_a_request_of_any_size_gets_the_same_answer(tiny_server, padding):
    """Requests over 64 kB take gunicorn's parser; nginx buffers those over 1 MB in a file."""
    body = BODY.ljust(len(BODY) + padding)
    status, reply = tiny_server.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    assert (status, reply) == (
        200,
        tiny_server.request("POST", "/invocations", BODY, {"Content-Type": "application/json"})[1],
    )


def test_parameters_headers_and_errors_take_the_fast_path_too(tiny_server):
    headers = {"Content-Type": "text/plain", "Accept": "text/csv"}
    assert tiny_server.request("POST", "/invocations?all_scores=true", b"hello", headers)[1].count(b",") == 3
    assert tiny_server.request("POST", "/nowhere", b"hello", headers)[0] == 404
    assert tiny_server.request("POST", "/invocations", b"hello", {"Content-Type": "image/png"})[0] == 415
