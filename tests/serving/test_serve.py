"""The running stack (nginx, gunicorn, Flask), started as in the container: responses, limits and shutdown."""

import csv
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from bert_textclassification.benchmarks.local_server import LocalServer
from bert_textclassification.errors import UserError
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.predictor import Predictor
from tests.conftest import PATIENCE_S, ROOT, wait_until

SERVE = ROOT / "container/serve"
JSON, CSV = {"Content-Type": "application/json"}, {"Content-Type": "text/csv"}
TEXTS = ["My boiler is leaking gas!", "hello", "a, b\nand c", "the rent is due " * 60]

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: run `make system-packages`")


def test_ping_answers_which_model_is_served(tiny_server, tiny_artifact):
    status, reply = tiny_server.request("GET", "/ping")
    assert (status, json.loads(reply)["model"]["version"]) == (200, tiny_artifact.version)


def test_json_over_http_gives_exactly_what_the_predictor_gives(tiny_server, tiny_artifact):
    predictions = tiny_server.predict(TEXTS, all_scores=True, raw_logits=True)
    for over_http, direct in zip(predictions, Predictor(tiny_artifact).predict(TEXTS), strict=True):
        assert (over_http["label"], over_http["score"]) == (direct.label, direct.score)
        assert (over_http["scores"], tuple(over_http["logits"])) == (direct.scores, direct.logits)
        assert (over_http["tokens"], over_http["truncated"]) == (direct.tokens, direct.truncated)


def test_csv_over_http_gives_exactly_what_the_predictor_gives(tiny_server, tiny_artifact):
    written = io.StringIO(newline="")
    csv.writer(written).writerows([text] for text in TEXTS)
    status, reply = tiny_server.request("POST", "/invocations", written.getvalue().encode(), CSV)
    answers = [(label, float(score)) for label, score in csv.reader(io.StringIO(reply.decode()))]
    assert status == 200
    assert answers == [(prediction.label, prediction.score) for prediction in Predictor(tiny_artifact).predict(TEXTS)]


def test_a_refused_request_is_a_user_error_with_the_reason(tiny_server):
    with pytest.raises(UserError, match=r"answered 400: .*empty_text.*instances\[1\]"):
        tiny_server.predict(["hello", ""])


def test_a_body_over_the_limit_is_refused_by_nginx_as_json(tiny_server):
    status, reply = tiny_server.request("POST", "/invocations", b'["hello"]'.ljust(6 * 1024 * 1024 + 1), JSON)
    error = json.loads(reply)["error"]
    assert (status, error["code"], error["field"]) == (413, "body_too_large", None)
    assert "6291456 bytes" in error["message"]


def test_a_body_of_just_the_limit_is_answered(tiny_server):
    body = b'["hello"]'.ljust(6 * 1024 * 1024)
    assert tiny_server.request("POST", "/invocations", body, JSON)[0] == 200


@pytest.mark.parametrize("path", ["/nowhere", "/ping/", "/invocations/../nowhere"])
def test_an_unknown_path_is_not_found_as_json(tiny_server, path):
    status, reply = tiny_server.request("GET", path)
    assert (status, json.loads(reply)["error"]["code"]) == (404, "not_found")


def test_no_reply_tells_a_version(tiny_server):
    with urllib.request.urlopen(f"{tiny_server.url}/ping", timeout=PATIENCE_S) as reply:
        assert reply.headers["Server"] == "nginx"
        assert reply.headers["Content-Type"] == "application/json"
    refused = _raw(tiny_server, b"POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 7000000\r\n\r\n")
    assert b"413" in refused.partition(b"\r\n")[0]
    assert b"nginx/" not in refused
    assert b"gunicorn" not in refused


def test_the_log_has_one_whole_json_line_per_request_and_none_for_a_ping_that_was_answered(tiny_server):
    path = f"/asked-{time.monotonic_ns()}"
    tiny_server.request("GET", "/ping")
    tiny_server.request("GET", path)
    wait_until(lambda: path in tiny_server.log())  # nginx logs after the response
    requests = [json.loads(line) for line in tiny_server.log().splitlines() if line[0] == "{"]  # not nginx's errors
    assert [line["status"] for line in requests if line.get("path") == path] == [404]
    assert ("/ping", 200) not in {(line.get("path"), line.get("status")) for line in requests}


def test_a_request_in_flight_at_sigterm_is_answered_and_the_stack_ends_with_0(tiny_artifact):
    body = b'{"instances": ["hello"]}'
    head = f"POST /invocations HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    with LocalServer(SERVE, tiny_artifact.folder) as server:
        with _connection(server) as client:
            client.sendall(head.encode())
            assert client.recv(100).startswith(b"HTTP/1.1 100")  # nginx has accepted the request
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not _listens(server))
            client.sendall(body)
            reply = b"".join(iter(lambda: client.recv(4096), b""))
        assert reply.startswith(b"HTTP/1.1 200")
        assert b'"predictions":[{"label"' in reply
        assert server.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in server.log()


@pytest.mark.parametrize("victim", ["gunicorn", "nginx"])
def test_the_stack_ends_with_an_error_when_one_half_is_killed(tiny_artifact, victim):
    with LocalServer(SERVE, tiny_artifact.folder) as server:
        os.kill(_child(server, victim), signal.SIGKILL)
        assert server.process.wait(PATIENCE_S) == 1
        assert "ended with -9; stopping" in server.log()
        assert not _listens(server)


def test_a_model_that_does_not_match_its_hash_ends_the_stack_with_the_reason(copied_artifact, tmp_path):
    path = copied_artifact / "int8.safetensors"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    done = _serve(copied_artifact, tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "int8.safetensors does not match the SHA-256 in the manifest" in done.stderr


def test_a_missing_model_ends_with_2_and_one_sentence(tmp_path):
    done = _serve(tmp_path / "nowhere", tmp_path)
    expected = f"error: There is no model folder {tmp_path}/nowhere; train a model or set MODEL_DIR to one.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


@pytest.mark.parametrize(("name", "value"), [("SERVING_WORKERS", "0"), ("MODEL_VARIANT", "int4")])
def test_a_wrong_setting_ends_with_2_and_one_sentence(tiny_artifact, tmp_path, name, value):
    done = _serve(tiny_artifact.folder, tmp_path, **{name: value})
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert value in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_misspelt_variable_gives_a_warning_at_the_start(tmp_path):
    done = _serve(tmp_path / "nowhere", tmp_path, CSV_COLUM="2")
    assert done.stderr.splitlines()[0] == "warning: there is no setting CSV_COLUM; did you mean CSV_COLUMN?"


def test_nginx_is_found_where_ordinary_users_do_not_look_for_programs(serve_module, monkeypatch, tmp_path):
    here = Path(serve_module.nginx())
    if here.parent not in (Path("/usr/sbin"), Path("/usr/local/sbin")):
        pytest.skip(f"nginx is in {here.parent}")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(serve_module.nginx()) == here


def test_settings_of_gunicorn_in_the_shell_are_left_out(serve_module, monkeypatch):
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--bind=0.0.0.0:1 --workers=2")
    assert "GUNICORN_CMD_ARGS" not in serve_module.environment(ServingConfig.of())


@pytest.mark.slow
def test_all_workers_serve_the_variant_that_was_measured_on_another_kind_of_processor(copied_artifact):
    path = copied_artifact / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["measured_on"] = {"name": "A Processor", "kind": "of_tomorrow"}
    path.write_text(json.dumps(manifest))
    with LocalServer(SERVE, copied_artifact, SERVING_WORKERS="2") as server:
        served = {json.loads(server.request("GET", "/ping")[1])["model"]["variant"] for _ in range(20)}
        log = server.log()
    assert len(served) == 1
    assert log.count("Measured on this machine") == 1
    assert log.count(f"Serving {served.pop()}, as MODEL_VARIANT says.") == 2


def test_a_worker_that_cannot_start_says_why_without_a_trace(copied_artifact, tmp_path):
    (copied_artifact / "tokenizer.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", "import bert_textclassification.serving.wsgi"],
        env=os.environ | {"MODEL_DIR": str(copied_artifact)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "tokenizer.json has 2 bytes" in done.stderr


def test_a_server_that_does_not_start_says_why(tmp_path):
    with pytest.raises(UserError, match="did not get ready; the end of its log: error: There is no model folder"):
        LocalServer(SERVE, tmp_path / "nowhere").start()


def _serve(model_dir, scratch, **settings):
    """Run the stack until it ends by itself."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings |= {"MODEL_DIR": str(model_dir), "SCRATCH_DIR": str(scratch), "PORT": str(port)}
    return subprocess.run(
        [sys.executable, SERVE], env=os.environ | settings, capture_output=True, text=True, timeout=PATIENCE_S
    )


def _connection(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)


def _raw(server, request):
    with _connection(server) as client:
        client.sendall(request)
        return client.recv(4096)


def _listens(server):
    try:
        _connection(server).close()
    except ConnectionError:
        return False
    return True


def _child(server, name):
    """Return the process id of the child of `container/serve` with `name` in its command line."""
    parent = server.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (pid,) = [int(child) for child in children if name in Path(f"/proc/{child}/cmdline").read_text()]
    return pid
