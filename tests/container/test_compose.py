"""The compose file has the restrictions of the Kubernetes manifests, and Docker's plugin starts it if installed."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable

import pytest
import yaml

from bert_textclassification import Predictor
from bert_textclassification.serving.config import ServingConfig
from tests.conftest import PATIENCE_S, ROOT
from tests.container.conftest import JSON

FILE = ROOT / "ops/compose.yaml"
SERVICES = yaml.safe_load(FILE.read_text())["services"]
Compose = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def compose(monkeypatch) -> Compose:
    """A function that runs a command of Docker's plugin on the file, in a separate project."""
    try:
        version = subprocess.run(["docker", "compose", "version"], capture_output=True)
    except FileNotFoundError:
        pytest.skip("Docker is not installed")
    if version.returncode != 0:
        pytest.skip("the compose plugin of Docker is not installed")
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", f"bert-textclassification-test-{os.getpid()}")

    def run(*words: str) -> subprocess.CompletedProcess:
        command = ["docker", "compose", "--file", str(FILE), "--project-directory", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)

    return run


def test_compose_reads_the_file_with_every_profile(compose):
    done = compose("--profile", "metrics", "config", "--quiet")
    assert done.returncode == 0, done.stderr


@pytest.mark.container
def test_compose_brings_up_a_server_that_answers_and_takes_it_away(compose, images, model, monkeypatch):
    for name, value in {"IMAGE": f"{images}:serve", "MODEL": str(model), "PORT": "0"}.items():  # 0: one that is free
        monkeypatch.setenv(name, value)
    try:
        up = compose("up", "--detach", "--wait", "--wait-timeout", str(PATIENCE_S))
        assert up.returncode == 0, up.stderr
        address = compose("port", "serve", "8080").stdout.strip()
        url, body = f"http://{address}/invocations", json.dumps(["my card was stolen"]).encode()
        with urllib.request.urlopen(urllib.request.Request(url, body, JSON)) as reply:
            (answer,) = json.load(reply)["predictions"]
        (expected,) = Predictor.load(model).predict(["my card was stolen"])
        assert (answer["label"], answer["score"]) == (expected.label, expected.score)
    finally:
        down = compose("down", "--volumes")
    assert down.returncode == 0, down.stderr
    assert compose("ps", "--all", "--quiet").stdout == ""


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith(("127.0.0.1:", "${ADDRESS:-127.0.0.1}:")) for port in service["ports"])


def test_the_server_is_killed_only_after_it_has_drained():
    assert int(SERVICES["serve"]["stop_grace_period"].removesuffix("s")) > ServingConfig.of().drain_timeout_s


def test_the_health_check_tells_a_server_that_answers_from_one_that_does_not(tiny_server):
    _, _, option, code = SERVICES["serve"]["healthcheck"]["test"]

    def status(port):
        command = [sys.executable, option, code.replace(":8080", f":{port}")]
        return subprocess.run(command, capture_output=True).returncode

    assert status(tiny_server.port) == 0
    assert status(1) != 0
