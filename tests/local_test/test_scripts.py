"""The scripts of local_test pass shellcheck, and work with the running stack and the images."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bert_textclassification import Predictor
from bert_textclassification.artifact.store import Artifact
from tests.conftest import PATIENCE_S, ROOT, wait_until
from tests.container.conftest import BASE, TINY, laid_out

SCRIPTS = sorted((ROOT / "local_test").glob("*.sh"))
REQUESTS = ROOT / "local_test/requests"


def run(script: str, *words: str | Path, **environment: str) -> subprocess.CompletedProcess:
    command = [ROOT / "local_test" / script, *map(str, words)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.fixture
def requests(tiny_artifact, tmp_path) -> Path:
    """The shipped requests, with the tiny model's labels."""
    folder = Path(shutil.copytree(REQUESTS, tmp_path / "requests"))
    texts = (folder / "messages.txt").read_text().splitlines()
    labels = [prediction.label for prediction in Predictor(tiny_artifact).predict(texts)]
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    return folder


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing_and_a_failure_stops_the_script(script):
    checked = subprocess.run([Path(sys.executable).with_name("shellcheck"), script], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert "\nset -euo pipefail\n" in script.read_text()
    assert os.access(script, os.X_OK)


def test_predict_checks_the_answers_in_every_content_type_and_protocol(tiny_server, requests):
    done = run("predict.sh", tiny_server.url, requests)
    assert done.returncode == 0, done.stdout + done.stderr
    checked = [line.removeprefix("ok      ") for line in done.stdout.splitlines()]
    assert checked[:7] == ["JSON", "JSON Lines", "CSV", "plain text", "KServe v1", "Open Inference v2", "gzip"]
    assert len(checked) == 7 + 3 + 4 + 1


def test_predict_ignores_the_proxy_settings_of_the_shell(tiny_server, requests):
    elsewhere = {"http_proxy": "http://127.0.0.1:1", "all_proxy": "http://127.0.0.1:1", "no_proxy": "example.com"}
    done = run("predict.sh", tiny_server.url, requests, **elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr


def test_predict_fails_with_the_difference_when_an_answer_is_another(tiny_server, requests):
    labels = (requests / "labels.txt").read_text()
    (requests / "labels.txt").write_text(labels.replace(labels.split()[0], "other", 1))
    done = run("predict.sh", tiny_server.url, requests)
    assert done.returncode == 1
    assert f"        -other\n        +{labels.split()[0]}\n" in done.stdout
    assert done.stderr == "error: 7 of the checks failed; see above.\n"


def test_predict_fails_with_the_reply_when_the_status_is_another(tiny_server, requests):
    (requests / "messages.csv").write_text('text\n"never closed')
    done = run("predict.sh", tiny_server.url, requests)
    assert done.returncode == 1
    assert "FAILED  CSV" in done.stdout
    assert "+400" in done.stdout
    assert "invalid_csv" in done.stdout


def test_predict_fails_when_what_should_be_refused_is_answered(tiny_server, requests):
    shutil.copyfile(requests / "messages.json", requests / "400_invalid_json.json")
    done = run("predict.sh", tiny_server.url, requests)
    assert (done.returncode, done.stderr) == (1, "error: 1 of the checks failed; see above.\n")


def test_without_a_server_predict_says_so():
    done = run("predict.sh", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "error: http://127.0.0.1:1/ping answered 000, not 200; start a server" in done.stderr


def test_the_requests_that_ship_hold_the_same_messages():
    labels = (REQUESTS / "labels.txt").read_text().splitlines()
    assert len(labels) == len((REQUESTS / "messages.txt").read_text().splitlines())
    assert set(labels) == {"escalate", "routine"}


def test_serving_without_a_model_fails_with_one_sentence(tmp_path):
    done = run("serve-local.sh", "no-image", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"there is no model in {tmp_path}; train one with" in done.stderr


@pytest.mark.parametrize("script", ["build_and_push.sh", "sagemaker_training.sh", "sagemaker_hyperparameter.sh"])
def test_the_scripts_of_the_cloud_explain_themselves(script):
    done = run(script, "--help", PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert "--yes" in done.stdout


def test_the_scripts_of_the_cloud_end_with_the_status_of_the_command(tmp_path):
    done = run("build_and_push.sh", "--config", tmp_path / "none.yaml", PYTHON=sys.executable)
    assert done.returncode == 1
    assert "none.yaml cannot be read" in done.stderr


@pytest.mark.container
def test_a_model_is_trained_with_the_script(images, tiny_base, tiny_data, tmp_path):
    folder = laid_out(tmp_path / "ml", tiny_data, TINY | {"base_model": f"/opt/ml/input{BASE}"})
    shutil.copytree(tiny_base, folder / f"input{BASE}")
    trained = run("train-local.sh", f"{images}:latest", folder)
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.endswith("serve it with local_test/serve-local.sh.\n")
    assert Artifact.load(folder / "model").manifest.training["epochs"] == 3


@pytest.mark.container
def test_the_served_model_passes_predict_and_ends_on_sigterm(images, model, requests):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [ROOT / "local_test/serve-local.sh", f"{images}:serve", str(model)]
    with subprocess.Popen(command, env=os.environ | {"PORT": str(port)}, stdout=subprocess.DEVNULL) as server:
        wait_until(lambda: b"200" in ping(port))
        done = run("predict.sh", f"http://127.0.0.1:{port}", requests)
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 0
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.container
def test_a_job_without_data_ends_with_its_status(images, tmp_path):
    (tmp_path / "input/data/train").mkdir(parents=True)
    done = run("train-local.sh", f"{images}:latest", tmp_path)
    assert done.returncode == 1
    assert "holds no training data" in done.stderr


def ping(port: int) -> bytes:
    command = ["curl", "--silent", "--max-time", "2", "--include", f"http://127.0.0.1:{port}/ping"]
    return subprocess.run(command, capture_output=True).stdout
