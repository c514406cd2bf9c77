"""The images: both are built from this tree, and both commands run in them."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT

from bert_textclassification import Predictor
from bert_textclassification.artifact import Artifact

pytestmark = pytest.mark.container
IMAGE = "bert-textclassification-test"  # never a tag that somebody uses


def docker(*arguments: str | Path, timeout: int = 300) -> subprocess.CompletedProcess:
    command = ["docker", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def images() -> str:
    if shutil.which("docker") is None or docker("info").returncode != 0:
        pytest.skip("no Docker engine answers")
    built = subprocess.run(["make", "image", f"IMAGE={IMAGE}"], cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return IMAGE


def readable(folder: Path) -> Path:
    """Let the unprivileged user of the image read `folder`."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@pytest.fixture
def server(images, copied_artifact):
    """The serve image with the tiny artifact mounted read-only; its port and the container's id."""
    started = docker(
        "run", "--detach", "--publish", "127.0.0.1::8080",
        "--volume", f"{readable(copied_artifact)}:/opt/ml/model:ro", f"{images}:serve",
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    container = started.stdout.strip()
    port = docker("port", container, "8080").stdout.strip().rpartition(":")[2]
    yield f"http://127.0.0.1:{port}", container
    docker("rm", "--force", container)


def wait_until_ready(url: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/ping", timeout=2) as reply:
                assert reply.status == 200
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError("the container did not get ready")


def test_the_serve_image_has_no_training_and_no_root(images):
    listed = docker("run", "--rm", f"{images}:serve", "python", "-c", _WHAT_IS_THERE)
    there = json.loads(listed.stdout)
    assert there == {"torch": False, "transformers": False, "pandas": False, "training": False, "user": 10001}


def test_the_serve_image_answers_as_the_predictor_does(server, copied_artifact):
    url, _ = server
    wait_until_ready(url)
    text = "smoke is coming out of the dryer"
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps({"instances": [text]}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        (answer,) = json.load(reply)["predictions"]
    (expected,) = Predictor.load(copied_artifact).predict([text])
    assert (answer["label"], answer["score"]) == (expected.label, expected.score)


def test_a_stopped_container_ends_with_status_0(server):
    url, container = server
    wait_until_ready(url)
    docker("stop", "--time", "20", container)
    status = docker("inspect", "--format", "{{.State.ExitCode}}", container).stdout.strip()
    assert status == "0"


def test_the_full_image_trains_an_artifact(images, tiny_data, tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / "input/data" / split).mkdir(parents=True)
        shutil.copy(tiny_data / f"{split}.csv", tmp_path / "input/data" / split)
    (tmp_path / "input/config").mkdir()
    (tmp_path / "input/config/hyperparameters.json").write_text('{"epochs": "1", "batch_size": "16"}')
    done = docker("run", "--rm", "--network", "none", "--volume", f"{tmp_path}:/opt/ml", f"{images}:latest", "train")
    assert done.returncode == 0, done.stderr
    artifact = Artifact.load(tmp_path / "model")
    assert artifact.manifest.base_model.name == "sentence-transformers/all-MiniLM-L6-v2"
    assert "validation_accuracy=" in done.stdout


def test_a_refused_job_ends_with_status_1_and_a_failure_file(images, tmp_path):
    (tmp_path / "input/data/train").mkdir(parents=True)
    done = docker("run", "--rm", "--volume", f"{tmp_path}:/opt/ml", f"{images}:latest", "train")
    assert done.returncode == 1
    assert "/opt/ml/input/data holds no training data" in (tmp_path / "output/failure").read_text()


_WHAT_IS_THERE = """
import importlib.util, json, os
has = lambda name: importlib.util.find_spec(name) is not None
names = {name: has(name) for name in ("torch", "transformers", "pandas")}
print(json.dumps({**names, "training": has("bert_textclassification.training"), "user": os.getuid()}))
"""
