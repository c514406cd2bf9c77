"""Bad input against the running stack: each request gets one clear JSON error, and the server keeps working.

Each file in `cases/` is one request; its name has the expected response: `<status>_<code>__<what>.json`. It contains
`method`, `path`, `headers`, the `field` that the error names (default null), and one of `body`, `body_base64` or
`body_recipe`: `before`, then `repeat` repeated `times` times, then `after`, compressed if `gzip` is set.
"""

import base64
import contextlib
import gzip
import http.client
import json
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bert_textclassification.benchmarks.local_server import LocalServer
from bert_textclassification.serving.stack import supervisor
from tests.conftest import PATIENCE_S

CASES = sorted((Path(__file__).parent / "cases").glob("*.json"))
JSON = {"Content-Type": "application/json"}
BODY = b'["hello"]'
HEAD = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
REQUEST = HEAD + b"Content-Length: 9\r\n\r\n" + BODY
LAST_REQUEST = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
SHORT_TIMEOUTS = """
import pathlib, sys
from bert_textclassification.serving.stack import supervisor
supervisor.HERE = pathlib.Path({folder!r})
sys.exit(supervisor.main())
"""
MAX_ERROR_BYTES = 1000  # an error does not repeat the request
MAX_SECONDS = 30  # for any request here on a slow and busy machine; most take milliseconds
MAX_MEMORY_KB = 400_000  # of a worker; bodies are at most 6 MiB

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: run `make system-packages`")


@pytest.fixture(scope="module")
def server_with_short_timeouts(tiny_artifact, tmp_path_factory) -> Iterator[LocalServer]:
    """The stack with nginx's client timeouts at 1 s instead of 15 s."""
    folder = Path(shutil.copytree(supervisor.HERE, tmp_path_factory.mktemp("impatient") / "stack"))
    template = (folder / "nginx.conf").read_text()
    (folder / "nginx.conf").write_text(template.replace(" 15s;", " 1s;"))
    serve = folder / "serve"
    serve.write_text(SHORT_TIMEOUTS.format(folder=str(folder)))
    with LocalServer(serve, tiny_artifact.folder) as server:
        yield server


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_each_case_gets_its_verdict_and_the_server_lives_on(tiny_server, path):
    case = json.loads(path.read_text())
    status, code = path.stem.partition("__")[0].split("_", 1)
    started = time.monotonic()
    actual_status, content_type, reply = _send(tiny_server, case)
    assert time.monotonic() - started < MAX_SECONDS
    assert actual_status == int(status), reply[:MAX_ERROR_BYTES]
    if code != "ok":
        error = _error(case["path"], content_type, reply)
        assert (error["code"], error["field"]) == (code, case.get("field"))
        assert _is_one_sentence(error["message"])
    assert tiny_server.request("GET", "/ping")[0] == 200


def test_a_key_given_twice_among_many_is_found_at_once(tiny_server):
    keys = ", ".join(f'"{number}": 0' for number in [*range(20_000), 19_999])
    started = time.monotonic()
    status, reply = tiny_server.request("POST", "/invocations", f"{{{keys}}}".encode(), JSON)
    assert (status, json.loads(reply)["error"]["code"]) == (400, "duplicate_key")
    assert time.monotonic() - started < MAX_SECONDS


def test_half_a_million_unknown_parameters_are_refused_by_the_first(tiny_server):
    unknown = ",".join(f'"{number}":0' for number in range(500_000))
    body = f'{{"instances": ["a"], "parameters": {{{unknown}}}}}'.encode()
    status, reply = tiny_server.request("POST", "/invocations", body, JSON)
    assert (status, json.loads(reply)["error"]["field"]) == (400, "parameters.0")


def test_an_error_about_a_parameter_does_not_repeat_a_name_of_a_megabyte(tiny_server):
    body = json.dumps({"instances": ["a"], "parameters": {"k" * 1_000_000: 1}}).encode()
    status, reply = tiny_server.request("POST", "/invocations", body, JSON)
    assert (status, json.loads(reply)["error"]["code"]) == (400, "invalid_parameter")
    assert len(reply) < MAX_ERROR_BYTES


def test_after_all_of_this_the_log_has_no_stack_trace_and_the_workers_are_not_bloated(tiny_server):
    assert "Traceback" not in tiny_server.log()
    assert max(_peak_memory_kb(pid) for pid in _descendants(tiny_server.process.pid)) < MAX_MEMORY_KB


# -- requests that need a raw socket


@pytest.mark.parametrize("size", [1000, 4100, 8000, 9000, 40_000])
@pytest.mark.parametrize(
    "template",
    ["GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n"],
    ids=["address", "header"],
)
def test_a_long_address_or_header_gets_json_whoever_refuses_it(tiny_server, template, size):
    status, error = _raw_error(tiny_server, template.format("a" * size).encode())
    codes = {404: "not_found", 414: "uri_too_long", 431: "headers_too_large"}
    assert error["code"] == codes[status]


def test_more_headers_than_anyone_needs_get_json(tiny_server):
    headers = b"".join(b"X-%d: a\r\n" % index for index in range(150))
    assert _raw_error(tiny_server, b"GET /nowhere HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n")[0] in (404, 431)


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello there\r\n\r\n",
        b"\0\xff\xfe garbage\r\n\r\n",
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(190),  # the first bytes of TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"get /ping HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /ping HTTP/1.1\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nX-A: \0\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_garbage_instead_of_http_is_refused_as_json(tiny_server, garbage):
    status, error = _raw_error(tiny_server, garbage)
    assert (status, error["code"]) == (400, "bad_request")


def test_a_version_of_http_that_is_not_spoken_here_is_refused_as_json(tiny_server):
    assert _raw_error(tiny_server, b"GET /ping HTTP/9.9\r\nHost: a\r\n\r\n")[0] == 505


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 9\r\nContent-Length: 9\r\n",
        b"Content-Length: 9\r\nContent-Length: 4\r\n",
        b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: +9\r\n",
        b"Content-Length: 0x9\r\n",
        b"Content-Length : 9\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: identity\r\nContent-Length: 9\r\n",
        b"Transfer-Encoding: xchunked\r\n",
    ],
)
def test_a_request_whose_length_is_open_to_debate_is_refused_and_nothing_behind_it_answered(tiny_server, framing):
    smuggled = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
    reply = _raw(tiny_server, HEAD + framing + b"\r\n" + BODY + smuggled)
    assert int(reply.split(b" ", 2)[1]) in (400, 501)
    assert reply.count(b"HTTP/1.1 ") == 1
    assert b"openapi" not in reply


def test_an_unknown_transfer_encoding_is_refused_as_json(tiny_server):
    status, error = _raw_error(
        tiny_server, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n9\r\n" + BODY + b"\r\n0\r\n\r\n"
    )
    assert (status, error["code"]) == (501, "not_implemented")


def test_a_chunked_body_is_answered(tiny_server):
    chunked = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\n" + BODY[:4] + b"\r\n5;a=b\r\n" + BODY[4:]
    assert _raw(tiny_server, HEAD + chunked + b"\r\n0\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n" + BODY + b"\r\n0\r\n\r\n", b"-9\r\n" + BODY + b"\r\n0\r\n\r\n", b"9\r\n" + BODY + b"0\r\n\r\n"]
)
def test_broken_chunks_are_refused(tiny_server, chunks):
    status, error = _raw_error(tiny_server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert (status, error["code"]) == (400, "bad_request")


def test_a_chunked_body_over_the_limit_is_refused(tiny_server):
    megabyte = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with _connection(tiny_server) as client:
        with contextlib.suppress(ConnectionError):  # the server need not wait for the end
            client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + megabyte * 7 + b"0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 413")


def test_pipelined_requests_are_answered_in_order(tiny_server):
    first, second = REQUEST.replace(b"hello", b""), b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n"
    replies = _raw(tiny_server, first.replace(b": 9", b": 4") + second + LAST_REQUEST)
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", replies)] == [400, 200, 200]
    assert replies.index(b"empty_text") < replies.index(b"extensions") < replies.index(b"predictions")


@pytest.mark.parametrize("sent", [REQUEST, REQUEST[:-4], REQUEST[:20], b""], ids=["all", "body", "line", "nothing"])
def test_a_half_closed_connection_is_let_go_and_the_server_lives_on(tiny_server, sent):
    with _connection(tiny_server) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while client.recv(4096):
                pass
    assert tiny_server.request("POST", "/invocations", BODY, JSON)[0] == 200


def test_clients_that_send_a_byte_at_a_time_are_answered_and_hold_up_nobody(tiny_server):
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(_connection(tiny_server)) for _ in range(200)]
        for byte in LAST_REQUEST[:-1]:
            for client in slow[:5]:
                client.sendall(bytes([byte]))
        for client in slow[5:]:
            client.sendall(LAST_REQUEST[:-1])
        assert tiny_server.request("POST", "/invocations", BODY, JSON)[0] == 200  # while the slow ones are not done
        for client in slow[:10]:
            client.sendall(LAST_REQUEST[-1:])
        assert all(client.recv(15).startswith(b"HTTP/1.1 200") for client in slow[:10])


@pytest.mark.parametrize("sent", [b"", LAST_REQUEST[:20], LAST_REQUEST[:-1]], ids=["nothing", "line", "body"])
def test_a_client_that_never_finishes_is_let_go(server_with_short_timeouts, sent):
    started = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        assert _raw(server_with_short_timeouts, sent) == b""
    assert 0.5 < time.monotonic() - started < 14  # and not the usual 15 s
    assert server_with_short_timeouts.request("GET", "/ping")[0] == 200


# -- helpers


def _send(server, case):
    """Send a case unchanged; return status, content type and body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(case["method"], case["path"], _body(case), case.get("headers", {}))
        reply = connection.getresponse()
        return reply.status, reply.headers["Content-Type"], reply.read()


def _body(case: dict[str, Any]) -> bytes | None:
    if "body_base64" in case:
        return base64.b64decode(case["body_base64"])
    if recipe := case.get("body_recipe"):
        body = (recipe.get("before", "") + recipe["repeat"] * recipe["times"] + recipe.get("after", "")).encode()
        return gzip.compress(body, 1) if recipe.get("gzip") else body
    return case["body"].encode() if "body" in case else None


def _error(path, content_type, reply):
    """Return code, message and field of an error response; check that it has exactly the form of its platform."""
    assert content_type == "application/json"
    assert len(reply) < MAX_ERROR_BYTES
    content = json.loads(reply)
    if path.startswith(("/v1/", "/v2/")):
        content = {"error": {"message": content["error"], **{key: content[key] for key in content if key != "error"}}}
    assert set(content) == {"error"}
    assert set(content["error"]) == {"code", "message", "field"}
    return content["error"]


def _is_one_sentence(message):
    return message.endswith(".") and "\n" not in message and not re.search(r"[.!?] [A-Z]", message)


def _descendants(pid):
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        yield child
        yield from _descendants(child)


def _peak_memory_kb(pid):
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1])


def _connection(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)


def _raw(server, sent):
    """Send bytes; return all received bytes until the server closes the connection."""
    with _connection(server) as client:
        client.sendall(sent)
        return b"".join(iter(lambda: client.recv(65536), b""))


def _raw_error(server, sent):
    """Send bytes; return status and error of the first response."""
    with _connection(server) as client:
        client.sendall(sent)
        reply = http.client.HTTPResponse(client)
        reply.begin()
        return reply.status, _error("", reply.headers["Content-Type"], reply.read())
