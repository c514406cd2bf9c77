"""The compose file: as closed as the manifests of Kubernetes, and read by Docker's plugin where that is installed."""

import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

from bert_textclassification.serving.config import ServingConfig

FILE = ROOT / "ops/compose.yaml"
SERVICES = yaml.safe_load(FILE.read_text())["services"]


def test_compose_reads_the_file():
    command = ["docker", "compose", "--file", str(FILE), "--profile", "metrics", "config", "--quiet"]
    try:
        if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0:
            pytest.skip("the compose plugin of Docker is not installed")
    except FileNotFoundError:
        pytest.skip("Docker is not installed")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
