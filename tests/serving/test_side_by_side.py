"""Several servers on one machine, in any shell and environment, do not interfere and report errors clearly."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from bert_textclassification.benchmarks.local_server import LocalServer
from bert_textclassification.errors import ConfigurationError
from tests.conftest import ROOT

SERVE = ROOT / "container/serve"
JSON = {"Content-Type": "application/json"}
AT_ONCE = 8
LIMIT_S = 300  # a timeout; the usual time is 1 to 2 s

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: run `make system-packages`")


def names(server):
    """Return the model names in the responses to concurrent requests, which use several connections."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        replies = list(pool.map(lambda _: server.request("GET", "/v1/models"), range(5 * AT_ONCE)))
    return {reply if status != 200 else json.loads(reply)["models"][0] for status, reply in replies}


# -- two servers on one machine


def test_two_servers_with_one_scratch_folder_answer_each_for_itself_also_when_the_other_ends(tiny_artifact, tmp_path):
    settings = {"SCRATCH_DIR": str(tmp_path)}
    with LocalServer(SERVE, tiny_artifact.folder, MODEL_NAME="first", **settings) as first:
        with LocalServer(SERVE, tiny_artifact.folder, MODEL_NAME="second", **settings) as second:
            assert names(first) == {"first"}
            assert names(second) == {"second"}
            assert len(list(tmp_path.glob("server-*/metrics"))) == 2
        assert names(first) == {"first"}
    assert list(tmp_path.iterdir()) == []


def test_a_second_server_on_the_port_is_refused_in_one_sentence_and_the_first_continues(tiny_artifact, tmp_path):
    with LocalServer(SERVE, tiny_artifact.folder, SCRATCH_DIR=str(tmp_path)) as first:
        done = serve(tiny_artifact.folder, PORT=str(first.port), SCRATCH_DIR=str(tmp_path))
        expected = (
            f"error: Port {first.port} is in use by another program; stop that one, or set PORT to a free port.\n"
        )
        assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)
        assert names(first) == {"model"}
        assert len(list(tmp_path.iterdir())) == 1


def test_a_port_that_another_program_has_over_ipv6_is_refused(serve_module):
    needs_ipv6()
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", 0))
        other.listen()
        with pytest.raises(ConfigurationError, match="is in use"):
            serve_module.listening_addresses(other.getsockname()[1])


@pytest.mark.slow
def test_a_server_started_after_one_was_killed_removes_what_that_one_left(tiny_artifact, tmp_path):
    killed = LocalServer(SERVE, tiny_artifact.folder, SCRATCH_DIR=str(tmp_path)).start()
    (abandoned,) = tmp_path.glob("server-*")
    for pid in [*processes(killed.process.pid), killed.process.pid]:
        os.kill(pid, signal.SIGKILL)
    killed.process.wait()
    with LocalServer(SERVE, tiny_artifact.folder, SCRATCH_DIR=str(tmp_path)) as server:
        assert names(server) == {"model"}
        assert not abandoned.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.slow
def test_each_signal_that_ends_it_leaves_nothing_behind(tiny_artifact, tmp_path, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the tests run under nohup, and so would the server")
    with LocalServer(SERVE, tiny_artifact.folder, SCRATCH_DIR=str(tmp_path)) as server:
        started = processes(server.process.pid)
        server.process.send_signal(number)
        assert server.process.wait(LIMIT_S) == 0
        assert list(tmp_path.iterdir()) == []
        assert not any(os.path.exists(f"/proc/{pid}") for pid in started)


@pytest.mark.parametrize("folder", ["a b", 'a"b', "$HOME", "a;{b}", "ü"])
@pytest.mark.slow
def test_any_name_of_a_scratch_folder_will_do(tiny_artifact, tmp_path, folder):
    (tmp_path / folder).mkdir()
    with LocalServer(SERVE, tiny_artifact.folder, SCRATCH_DIR=str(tmp_path / folder)) as server:
        assert (
            server.request("POST", "/invocations", b'["hello"]'.ljust(2_000_000), JSON)[0] == 200
        )  # buffered in a file


def test_a_long_temporary_folder_is_refused_in_one_sentence(tiny_artifact, tmp_path):
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    done = serve(tiny_artifact.folder, SCRATCH_DIR="", TMPDIR=str(folder))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "set SCRATCH_DIR to a shorter path" in done.stderr


# -- IPv6


def test_it_answers_over_ipv6_as_over_ipv4(tiny_server):
    needs_ipv6()
    with contextlib.closing(http.client.HTTPConnection("::1", tiny_server.port, timeout=60)) as connection:
        connection.request("GET", "/ping")
        assert connection.getresponse().status == 200


def test_a_machine_without_ipv6_is_served_over_ipv4_alone(serve_module, monkeypatch):
    unknown = 44  # an unassigned address family: the kernel rejects it like AF_INET6 without IPv6
    monkeypatch.setattr(socket, "AF_INET6", unknown)
    port = free_port()
    assert serve_module.listening_addresses(port) == [str(port)]


# -- standard output


@pytest.mark.parametrize("kind", ["socket", "pipe", "file"])
@pytest.mark.slow
def test_every_line_of_the_log_comes_out_whole_whatever_the_output_is(tiny_artifact, tmp_path, kind):
    if kind == "file":
        ours = theirs = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    else:
        ours, theirs = [end.detach() for end in socket.socketpair()] if kind == "socket" else os.pipe()
    received = []
    reader = threading.Thread(target=lambda: received.append(read_all(ours)))
    with running(tiny_artifact.folder, theirs, LOG_TEXTS="true", SERVING_WORKERS="2", CACHE_SIZE="0") as port:
        if kind != "file":
            os.close(theirs)
            reader.start()
        texts = {uuid.uuid4().hex: f"number {number} " + "boiler " * (number % 5 * 2000) for number in range(60)}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            assert set(pool.map(lambda item: ask(port, *item), texts.items())) == {200}
    if kind == "file":
        os.lseek(ours, 0, os.SEEK_SET)
        received.append(read_all(ours))
    else:
        reader.join(LIMIT_S)
    os.close(ours)
    lines = [json.loads(line) for line in received[0].splitlines()]
    assert {line["request_id"]: line["text"] for line in lines if "text" in line} == texts
    assert sorted(line["request_id"] for line in lines if line.get("path") == "/invocations") == sorted(texts)


@pytest.mark.slow
def test_an_output_that_nobody_reads_any_more_or_that_is_closed_costs_no_answer(tiny_artifact):
    ours, theirs = os.pipe()
    os.close(ours)
    with running(tiny_artifact.folder, theirs) as port:
        assert [ask(port, "a", "hello") for _ in range(3)] == [200] * 3
    os.close(theirs)
    with running(tiny_artifact.folder, theirs, closed=True) as port:
        assert ask(port, "a", "hello") == 200


# -- the shell of the caller


def test_a_local_server_ignores_the_proxy_and_the_settings_of_the_shell(tiny_artifact, monkeypatch):
    elsewhere = {
        "http_proxy": "http://127.0.0.1:1",
        "all_proxy": "http://127.0.0.1:1",
        "API_TOKEN": "a token of 16 characters or more",
        "MODEL_VARIANT": "none",
        "MODEL_NAME": "other",
        "SAGEMAKER_BIND_TO_PORT": "1",
        "AIP_HTTP_PORT": "2",
        "AIP_HEALTH_ROUTE": "/health",
        "SERVING_WORKERS": "many",
        "MAX_TEXTS": "1",
        "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:1",
    }
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name, value in elsewhere.items():
        monkeypatch.setenv(name, value)
    with LocalServer(SERVE, tiny_artifact.folder, MAX_QUEUE="7") as server:
        assert len(server.predict(["hello", "bye"])) == 2
        assert names(server) == {"model"}


# -- a model that cannot be read


def test_a_model_that_is_a_file_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "model").write_text("not a folder")
    done = serve(tmp_path / "model")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert str(tmp_path / "model") in done.stderr


# -- helpers


def needs_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def environment(model_dir, **settings):
    return os.environ | {"MODEL_DIR": str(model_dir), "PORT": str(free_port())} | settings


def serve(model_dir, **settings):
    """Run the stack until it ends by itself."""
    return subprocess.run(
        [sys.executable, SERVE],
        env=environment(model_dir, **settings),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


@contextlib.contextmanager
def running(model_dir, output, closed=False, **settings):
    """Run the stack with `output` as its standard output, or with a closed one; yield its port."""
    variables = environment(model_dir, **settings)
    close = (lambda: os.close(1)) if closed else None
    server = subprocess.Popen(
        [sys.executable, SERVE],
        env=variables,
        stdout=None if closed else output,
        stderr=None if closed else output,
        preexec_fn=close,
    )
    try:
        while True:
            assert server.poll() is None
            with contextlib.suppress(ConnectionError):
                if request(int(variables["PORT"]), "GET", "/ping") == 200:
                    break
        yield int(variables["PORT"])
    finally:
        server.terminate()
        assert server.wait(LIMIT_S) == 0


def request(port, method, path, body=None, headers=None):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)) as connection:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        reply.read()
        return reply.status


def ask(port, request_id, text):
    return request(port, "POST", "/invocations", json.dumps([text]).encode(), JSON | {"X-Request-Id": request_id})


def read_all(descriptor):
    return b"".join(iter(lambda: os.read(descriptor, 65536), b""))


def processes(pid):
    """Return the ids of all processes below `pid`."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = [int(child) for child in file.read().split()]
    return [pid for child in children for pid in (child, *processes(child))]
