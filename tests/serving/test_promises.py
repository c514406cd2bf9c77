"""The server under load, on SIGTERM and after crashes of its processes; its token, log and metrics."""

import collections
import contextlib
import gzip
import http.client
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families

from bert_textclassification.benchmarks.local_server import LocalServer
from bert_textclassification.serving.predictor import Predictor
from tests.conftest import PATIENCE_S, ROOT, wait_until

SERVE = ROOT / "container/serve"
JSON = {"Content-Type": "application/json"}
HELLO = b'["hello"]'
TOKEN = "a token of 16 characters or more"  # noqa: S105 - of a server that lives for seconds
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
AUTHORIZED = JSON | {"Authorization": f"Bearer {TOKEN}"}
IN_TIME_S = 15  # limit for a rejection after one second; a slow machine needs time to read megabytes
NGINX_LIMITS = ("client_max_body_size", "proxy_read_timeout", "proxy_send_timeout")

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: run `make system-packages`")


@pytest.fixture(scope="module")
def narrow_server(tiny_artifact) -> Iterator[LocalServer]:
    """A server with one core, a queue of one request and no cache."""
    settings = {"SERVING_WORKERS": "1", "SERVING_THREADS": "1", "MAX_QUEUE": "1", "CACHE_SIZE": "0"}
    with LocalServer(SERVE, tiny_artifact.folder, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def guarded_server(tiny_artifact) -> Iterator[LocalServer]:
    """A server with a token, a deadline of one second, logged texts and a slow variant."""
    settings = {"API_TOKEN": TOKEN, "REQUEST_TIMEOUT_S": "1", "LOG_TEXTS": "true", "SERVING_WORKERS": "1"}
    settings["MODEL_VARIANT"] = "fp32"
    with LocalServer(SERVE, tiny_artifact.folder, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def two_workers(tiny_artifact) -> Iterator[LocalServer]:
    """A server with two workers, no cache and a small body limit."""
    settings = {"SERVING_WORKERS": "2", "CACHE_SIZE": "0", "MAX_BODY_BYTES": "100000"}
    with LocalServer(SERVE, tiny_artifact.folder, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def watched_server(tiny_artifact) -> Iterator[tuple[LocalServer, list[int]]]:
    """A server, and the statuses of all requests to /ping during its start."""
    server, statuses = LocalServer(SERVE, tiny_artifact.folder), []
    with contextlib.ExitStack() as stack:
        with _threads(lambda: statuses.append(_status_or_closed(server)), count=1, pause_s=0.001):
            stack.enter_context(server)
            wait_until(lambda: 200 in statuses)
        yield server, statuses


# -- starting and stopping


def test_the_port_is_closed_until_the_model_has_answered_then_ping_is_200(watched_server):
    _, statuses = watched_server
    opened = statuses.index(200)
    assert opened > 10
    assert set(statuses[:opened]) == {None}
    assert set(statuses[opened:]) == {200}


def test_sigterm_under_load_loses_no_accepted_request_and_ends_with_0(watched_server):
    server, _ = watched_server
    received: dict[str, int] = {}
    with _threads(lambda: _ask_on_one_connection(server, received), count=8):
        wait_until(lambda: len(received) > 200)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
    answered = {line["request_id"]: line["status"] for line in _log(server) if line["path"] == "/invocations"}
    assert answered == received
    assert set(received.values()) == {200}


# -- overload, deadline, clients that have gone


def test_overload_is_refused_at_once_with_retry_after_and_ping_goes_on(narrow_server):
    replies: list[tuple[int, float, str | None]] = []
    with _threads(lambda: replies.append(_timed(narrow_server, _texts(300))), count=12, once=True) as threads:
        while any(thread.is_alive() for thread in threads):
            assert _ask(narrow_server, "GET", "/ping").status == 200
    refused = [reply for reply in replies if reply[0] != 200]
    assert 5 <= len(refused) <= 10
    assert {(status, retry_after) for status, _, retry_after in refused} == {(503, "1")}
    answered = [reply for reply in replies if reply[0] == 200]
    assert max(seconds for _, seconds, _ in refused) < max(seconds for _, seconds, _ in answered)


def test_a_request_whose_client_has_gone_is_not_computed(narrow_server):
    before = _metrics(narrow_server)
    with contextlib.ExitStack() as stack:
        while _timed(narrow_server, HELLO)[0] == 200:  # until two requests of several seconds each are admitted
            stack.enter_context(_sent_and_not_read(narrow_server, _texts(10_000, words=40)))
    wait_until(lambda: (_metrics(narrow_server) - before)[_requests_total(499)] == 2)
    increase = _metrics(narrow_server) - before
    assert (
        increase[ANSWERED] == increase[_requests_total(200)]
    )  # of one text each: those that were sent before both were inside
    assert _timed(narrow_server, HELLO)[0] == 200


def test_a_request_over_its_deadline_gets_503_in_time_and_the_server_is_free_at_once(guarded_server):
    status, seconds, _ = _timed(guarded_server, _texts(10_000), AUTHORIZED)
    assert status == 503
    assert 0.9 < seconds < IN_TIME_S
    assert _timed(guarded_server, HELLO, AUTHORIZED)[0] == 200  # within its own second


def test_the_deadline_holds_while_long_texts_are_tokenised(guarded_server):
    body = json.dumps(["!" * 99_000 + str(number) for number in range(50)]).encode()
    status, seconds, _ = _timed(guarded_server, body, AUTHORIZED)
    assert (status, seconds < IN_TIME_S) == (503, True)


# -- load and crashes


@pytest.mark.parametrize(("variant", "tolerance"), [("int8", 0), ("fp32", 1e-6)])
def test_scores_under_load_are_those_of_each_text_alone(tiny_artifact, two_workers, variant, tolerance):
    texts = [f"the boiler {'leaks and ' * (number % 9)}number {number}" for number in range(64)]
    alone = Predictor(tiny_artifact, variant)
    expected = [alone.predict([text])[0].scores["escalate"] for text in texts]
    with contextlib.ExitStack() as stack:
        server = two_workers
        if variant != "int8":
            server = stack.enter_context(
                LocalServer(SERVE, tiny_artifact.folder, MODEL_VARIANT=variant, CACHE_SIZE="0")
            )
        results: list[list[float]] = []
        with _threads(lambda: results.append(_scores(server, texts)), count=8, once=True):
            pass
    assert len(results) == 8
    assert all(scores == pytest.approx(expected, rel=0, abs=tolerance) for scores in results)


def test_metrics_are_summed_over_workers_and_equal_what_was_sent(two_workers):
    before = _metrics(two_workers)
    tokens: list[int] = []
    with _threads(
        lambda: tokens.extend(prediction["tokens"] for prediction in two_workers.predict(["a", "b c", "d"])), count=8
    ):
        wait_until(lambda: len(tokens) > 300)
    assert _timed(two_workers, b"[]")[0] == 400
    increase = _metrics(two_workers) - before
    assert (increase[ANSWERED], increase["text_tokens_sum", ()]) == (len(tokens), sum(tokens))
    assert (increase[_requests_total(200)], increase[_requests_total(400)]) == (len(tokens) / 3, 1)
    assert increase["score_count", ()] == increase["text_tokens_bucket", (("le", "+Inf"),)] == len(tokens)
    assert all(_texts_answered_by(two_workers, pid) > 0 for pid in _worker_pids(two_workers))


def test_a_worker_killed_under_load_fails_no_request_and_is_replaced(two_workers):
    statuses: collections.Counter[int] = collections.Counter()
    before = _worker_pids(two_workers)
    with _threads(
        lambda: statuses.update([_ask(two_workers, "POST", "/invocations", _texts(5), JSON).status]), count=8
    ):
        wait_until(lambda: statuses[200] > 50)
        os.kill(min(before), signal.SIGKILL)
        wait_until(lambda: len(_worker_pids(two_workers) - before) == 1)
        at_replacement = statuses.total()
        wait_until(lambda: statuses.total() > at_replacement + 50)
    assert set(statuses) == {200}
    assert len(_worker_pids(two_workers)) == 2


def test_the_only_worker_killed_again_and_again_is_waited_for_by_the_next_request(narrow_server):
    for _ in range(3):  # nginx keeps connections to each dead worker
        assert _ask(narrow_server, "POST", "/invocations", HELLO, JSON).status == 200
        (killed,) = _worker_pids(narrow_server)
        os.kill(killed, signal.SIGKILL)
        assert _ask(narrow_server, "POST", "/invocations", HELLO, JSON).status == 200
        assert killed not in _worker_pids(narrow_server)


# -- what replies and logs tell


def test_a_request_id_comes_back_and_is_in_the_log(tiny_server):
    given = f"trace:{uuid.uuid4()}/1+2=3"
    reply = _ask(tiny_server, "POST", "/invocations", HELLO, JSON | {"X-Request-Id": given})
    assert reply.headers["X-Request-Id"] == given
    assert [line["status"] for line in _logged(tiny_server, request_id=given)] == [200]


@pytest.mark.parametrize("bad", ["", "two words", 'a"b', "a" * 129, "caf\xe9", "a{b}"])
def test_a_bad_or_missing_request_id_is_replaced_on_the_way_in_and_out(tiny_server, bad):
    reply = _ask(tiny_server, "GET", f"/asked-{uuid.uuid4()}", headers={"X-Request-Id": bad})
    assert re.fullmatch("[0-9a-f]{32}", reply.headers["X-Request-Id"])
    logged = _logged(tiny_server, request_id=reply.headers["X-Request-Id"])
    assert [line["status"] for line in logged] == [404]


@pytest.mark.parametrize(
    ("status", "method", "path", "body"),
    [
        (200, "GET", "/ping", None),
        (200, "POST", "/invocations", HELLO),
        (200, "GET", "/docs", None),
        (404, "GET", "/nowhere", None),
        (405, "TRACE", "/ping", None),
        (413, "POST", "/invocations", b" " * 6_300_000),
    ],
)
def test_every_reply_has_the_security_headers_and_tells_no_version(tiny_server, status, method, path, body):
    reply = _ask(tiny_server, method, path, body, JSON)
    assert reply.status == status
    assert {name: reply.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert reply.headers["Server"] == "nginx"
    assert [name for name in reply.headers if name in ("Via", "X-Powered-By") or name.startswith("X-Log")] == []
    assert not re.search(rb"(nginx|gunicorn|werkzeug|flask|python)/\d", reply.body, re.IGNORECASE)


def test_the_log_has_one_line_a_request_with_its_texts_and_tokens_but_never_a_text(tiny_server):
    marker = {"X-Request-Id": uuid.uuid4().hex}
    secret = f"unheard{uuid.uuid4().hex}"
    answers = json.loads(
        _ask(tiny_server, "POST", "/invocations", json.dumps([secret, "b"]).encode(), JSON | marker).body
    )
    (line,) = _logged(tiny_server, request_id=marker["X-Request-Id"])
    assert (line["method"], line["path"], line["status"], line["texts"]) == ("POST", "/invocations", 200, 2)
    assert line["tokens"] == sum(answer["tokens"] for answer in answers["predictions"])
    assert 0 <= line["queue_seconds"] <= line["seconds"] < PATIENCE_S
    assert secret not in tiny_server.log()


def test_texts_are_logged_with_their_request_id_only_when_asked_for(guarded_server):
    text, given = f'a "quoted"\ntext {uuid.uuid4()}', uuid.uuid4().hex
    headers = AUTHORIZED | {"X-Request-Id": given}
    assert _ask(guarded_server, "POST", "/invocations", json.dumps([text]).encode(), headers).status == 200
    (line,) = _logged(guarded_server, text=text)
    assert (line["request_id"], line["level"]) == (given, "info")


@pytest.mark.parametrize(
    "given", [None, "", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer caf\xe9"]
)
def test_without_the_token_nothing_but_health_answers(guarded_server, given):
    headers = JSON if given is None else JSON | {"Authorization": given}
    for path in ("/invocations", "/v1/models/model:predict", "/v2/models/model/infer", "/metrics", "/docs", "/nowhere"):
        refused = _ask(guarded_server, "POST", path, HELLO, headers)
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert all(_ask(guarded_server, "GET", path).status == 200 for path in ("/ping", "/readyz", "/v2/health/ready"))


def test_with_the_token_it_answers_and_never_logs_the_token(guarded_server):
    assert _ask(guarded_server, "POST", "/invocations", HELLO, AUTHORIZED).status == 200
    assert TOKEN not in guarded_server.log()


def test_a_text_asked_again_is_remembered_and_counted_as_such(tiny_server):
    body, before = json.dumps([f"remember {uuid.uuid4()}"]).encode(), _metrics(tiny_server)
    first, second = (_ask(tiny_server, "POST", "/invocations", body, JSON).body for _ in range(2))
    assert first == second
    assert (_metrics(tiny_server) - before)["cache_hits_total", ()] == 1


def test_a_gzip_request_is_answered_like_the_plain_one(tiny_server):
    plain = json.dumps(["My boiler is leaking gas!"] * 50).encode()
    zipped = _ask(tiny_server, "POST", "/invocations", gzip.compress(plain), JSON | {"Content-Encoding": "gzip"})
    assert zipped.body == _ask(tiny_server, "POST", "/invocations", plain, JSON).body


def test_nginx_and_the_application_agree_on_limits_and_timeouts(two_workers):
    written = (_folder(two_workers) / "nginx.conf").read_text()
    assert not re.search(r"^[^#]*\$\{", written, re.MULTILINE)
    limits = [int(re.search(rf"\b{name} (\d+)s?;", written)[1]) for name in NGINX_LIMITS]
    assert limits == [100_000, 57, 57]  # nginx times out 2 s after the application
    zipped = gzip.compress(b" " * 100_001)
    assert _ask(two_workers, "POST", "/invocations", b" " * 100_001, JSON).status == 413
    assert _ask(two_workers, "POST", "/invocations", zipped, JSON | {"Content-Encoding": "gzip"}).status == 413


def test_the_largest_answer_within_the_limits_arrives_whole(tiny_server):
    body = json.dumps(
        {"instances": ["hello"] * 10_000, "parameters": {"all_scores": True, "raw_logits": True}}
    ).encode()
    reply = _ask(tiny_server, "POST", "/invocations", body, JSON)
    assert len(json.loads(reply.body)["predictions"]) == 10_000


# -- helpers

ANSWERED = ("text_tokens_count", ())
Reply = collections.namedtuple("Reply", "status headers body")


class Samples(dict[tuple[str, tuple[tuple[str, str], ...]], float]):
    """Values of metrics by name and labels; the default is 0."""

    def __missing__(self, key: object) -> float:
        return 0.0

    def __sub__(self, other: "Samples") -> "Samples":
        return Samples({key: value - other[key] for key, value in self.items()})


@contextlib.contextmanager
def _threads(
    work: Callable[[], object], count: int, *, once: bool = False, pause_s: float = 0
) -> Iterator[list[threading.Thread]]:
    """Run the work in `count` threads, repeatedly during the context, or once each."""
    stop, problems = threading.Event(), []

    def repeat() -> None:
        try:
            while not stop.is_set():
                work()
                if once:
                    break
                time.sleep(pause_s)
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=repeat) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        if not once:
            stop.set()
        for thread in threads:
            thread.join()
    assert problems == []


def _ask(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return Reply(reply.status, dict(reply.headers), reply.read())


def _timed(server, body, headers=JSON):
    """Send a request; return its status, its seconds and the header Retry-After."""
    started = time.monotonic()
    reply = _ask(server, "POST", "/invocations", body, headers)
    return reply.status, time.monotonic() - started, reply.headers.get("Retry-After")


def _status_or_closed(server):
    """Return the status of /ping; None while nothing listens."""
    try:
        return _ask(server, "GET", "/ping").status
    except ConnectionRefusedError:
        return None


def _ask_on_one_connection(server, received):
    """Send requests on one connection, reopened when nginx closes it; record the statuses by request id."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    with contextlib.closing(connection), contextlib.suppress(ConnectionRefusedError):
        for _ in range(100):
            request_id = uuid.uuid4().hex
            try:
                connection.request("POST", "/invocations", HELLO, JSON | {"X-Request-Id": request_id})
                reply = connection.getresponse()
                reply.read()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                connection.close()  # nginx closed the idle connection: the request was not accepted
                continue
            received[request_id] = reply.status


def _sent_and_not_read(server, body):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
    connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return connection


def _texts(count, words=60):
    """Return a JSON body of texts that were not sent before."""
    marker = uuid.uuid4().hex[:8]
    return json.dumps([f"{marker} {number} " + "boiler " * words for number in range(count)]).encode()


def _scores(server, texts):
    """Send half of the texts one by one and half together; return the positive score of each."""
    half = len(texts) // 2
    answers = [server.predict([text], all_scores=True)[0] for text in texts[:half]]
    return [answer["scores"]["escalate"] for answer in answers + server.predict(texts[half:], all_scores=True)]


def _metrics(server):
    families = text_string_to_metric_families(_ask(server, "GET", "/metrics").body.decode())
    samples = [sample for family in families for sample in family.samples]
    return Samples(
        {
            (sample.name.removeprefix("textclassifier_"), tuple(sorted(sample.labels.items()))): sample.value
            for sample in samples
        }
    )


def _requests_total(status):
    return "requests_total", (("method", "POST"), ("route", "/invocations"), ("status", str(status)))


def _log(server):
    """Return the JSON lines of the log: all except nginx's error messages."""
    return [
        {"path": None, "request_id": None} | json.loads(line) for line in server.log().splitlines() if line[0] == "{"
    ]


def _logged(server, **fields):
    """Wait for and return the lines of the log with these fields: nginx logs after the response."""

    def lines():
        return [line for line in _log(server) if fields.items() <= line.items()]

    wait_until(lines)
    return lines()


def _folder(server):
    """Return the private folder of the server."""
    variables = Path(f"/proc/{server.process.pid}/environ").read_text().split("\0")
    scratch = Path(next(variable for variable in variables if variable.startswith("SCRATCH_DIR=")).partition("=")[2])
    (folder,) = scratch.glob("server-*")
    return folder


def _children(pid):
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def _worker_pids(server):
    """Return the ids of the gunicorn workers: the children of its main process."""
    masters = [pid for pid in _children(server.process.pid) if "gunicorn" in Path(f"/proc/{pid}/cmdline").read_text()]
    return {worker for master in masters for worker in _children(master)}


def _texts_answered_by(server, pid):
    """Return the number of texts in a worker's own metrics file."""
    values = MmapedDict.read_all_values_from_file(_folder(server) / f"metrics/histogram_{pid}.db")
    return sum(value for key, value, *_ in values if "textclassifier_text_tokens_bucket" in key)
