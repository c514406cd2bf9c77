"""Shared fixtures: a tiny real BERT, trained once per session on a few shipped messages, so that no test mocks it."""

import copy
import functools
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never access a hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads would compete for the same cores

ROOT = Path(__file__).resolve().parent.parent
SHIPPED_DATA = ROOT / "local_test/test_dir/input/data"
PATIENCE_S = 600  # timeout of every wait; even a slow machine is faster
SLOW = {"container", "real_data", "aws"}  # markers and fixtures of slow tests


@pytest.hookimpl(tryfirst=True)  # before pytest deselects tests by `-m`
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, and run the notebooks first: one worker runs them all and takes longest."""
    for item in items:
        if SLOW & {*(mark.name for mark in item.iter_markers()), *item.fixturenames}:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip container tests without a Docker engine."""
    if item.get_closest_marker("container") and (reason := docker_problem()):
        pytest.skip(reason)


@functools.cache
def docker_problem() -> str | None:
    """Return why no container can run here, or None; the command may exist without an engine."""
    if shutil.which("docker") is None:
        return "the command docker is not installed"
    info = subprocess.run(["docker", "info"], capture_output=True, text=True)
    return f"no Docker engine answers: {info.stderr.strip().splitlines()[-1]}" if info.returncode else None


def wait_until(done: Callable[[], object], process: "subprocess.Popen[str] | None" = None) -> None:
    """Wait until `done` returns true; fail after PATIENCE_S, or if `process` has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout's tracked and new files, with the tests' environment as its `.venv`."""
    folder = tmp_path_factory.mktemp("checkout") / "a checkout"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
            shutil.copymode(ROOT / name, folder / name)
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith("installed"):
            (folder / ".venv" / path.name).symlink_to(path)
    # newer than their prerequisites, so that make installs nothing
    for name in ("installed", "installed-search", "installed-docs", "installed-test"):
        (folder / ".venv" / name).touch()
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with random weights and a word-piece vocabulary of the shipped messages."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-base")
    tokenizer = BertWordPieceTokenizer()
    tokenizer.train([str(SHIPPED_DATA / "train/train.csv")], vocab_size=800, show_progress=False)
    tokenizer.save(str(folder / "vocabulary.json"))
    BertTokenizerFast(tokenizer_file=str(folder / "vocabulary.json")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=800, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three splits: 160, 60 and 60 of the shipped messages, easy enough for a model of two layers.

    19 of 20 messages begin with words that reveal their label, so that training succeeds with every seed.
    """
    import pandas as pd

    folder = tmp_path_factory.mktemp("tiny-data")
    for split, rows in (("train", 160), ("validation", 60), ("test", 60)):
        frame = pd.read_csv(SHIPPED_DATA / split / f"{split}.csv").head(rows)
        urgent = (frame["label"] == "escalate") ^ (frame.index % 20 == 19)
        frame["text"] = urgent.map({True: "act now: ", False: "no hurry: "}) + frame["text"]
        frame.to_csv(folder / f"{split}.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def tiny_config(tiny_base: Path, tiny_data: Path):
    """Settings that train the tiny model in about a second."""
    from bert_textclassification.training.config import TrainingConfig

    return TrainingConfig.of(
        {
            "data": str(tiny_data),
            "base_model": str(tiny_base),
            "epochs": 12,
            "learning_rate": 5e-3,
            "batch_size": 16,
            "max_length": 64,
            "early_stopping_patience": 12,
            "precision": "fp32",
            "max_accuracy_loss": 100,
            "exit_layers": "none",
        }
    )


@pytest.fixture(scope="session")
def tiny_splits(tiny_config):
    from bert_textclassification.training.prepare import load_splits

    return load_splits(tiny_config)


@pytest.fixture(scope="session")
def tiny_fine_tuned(tiny_config, tiny_splits, tmp_path_factory: pytest.TempPathFactory):
    from bert_textclassification.training.fine_tuning.run import fine_tune

    return fine_tune(tiny_config, tiny_splits, tmp_path_factory.mktemp("tiny-fine-tuned"))


@pytest.fixture(scope="session")
def tiny_artifact(tiny_fine_tuned, tiny_splits, tmp_path_factory: pytest.TempPathFactory):
    """The artifact of the tiny model, read-only. Tests that modify it use `copied_artifact`."""
    from bert_textclassification.training.export.build import build_artifact

    return build_artifact(tiny_fine_tuned, tiny_splits, tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture
def copied_artifact(tiny_artifact, tmp_path: Path) -> Path:
    """A folder with a copy of the tiny artifact that a test may modify."""
    return Path(shutil.copytree(tiny_artifact.folder, tmp_path / "model"))


@pytest.fixture(scope="session")
def tiny_server(tiny_artifact) -> Iterator["LocalServer"]:  # noqa: F821
    """The running stack (nginx, gunicorn, Flask) with the tiny artifact."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed: run `make system-packages`")
    from bert_textclassification.benchmarks.local_server import LocalServer

    with LocalServer(ROOT / "container/serve", tiny_artifact.folder) as server:
        yield server


@pytest.fixture(scope="session")
def moto_address() -> Iterator[str]:
    """The address of a mock AWS server."""
    from botocore.loaders import JSONFileLoader
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:  # cache megabytes of JSON that every boto3 session reads
        patch.setattr(JSONFileLoader, "load_file", staticmethod(functools.cache(JSONFileLoader().load_file)))
        yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def aws(moto_address: str, monkeypatch: pytest.MonkeyPatch) -> "AwsCalls":
    """An empty AWS account; all boto3 calls are recorded."""
    import botocore.handlers

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_address)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    calls, handlers = AwsCalls(), botocore.handlers.BUILTIN_HANDLERS
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", [*handlers, ("before-parameter-build", calls.record)])
    urllib.request.urlopen(urllib.request.Request(f"{moto_address}/moto-api/reset", method="POST")).close()
    return calls


class AwsCalls(list[tuple[str, str, dict[str, Any]]]):
    """Service, operation and parameters of every call, in order."""

    def record(self, params: dict[str, Any], model: Any, **kwargs: Any) -> None:
        self.append((model.service_model.service_name, model.name, copy.deepcopy(params)))

    def requests(self, operation: str) -> list[dict[str, Any]]:
        return [request for _, name, request in self if name == operation]

    def request(self, operation: str) -> dict[str, Any]:
        (request,) = self.requests(operation)
        return request

    def operations(self) -> list[str]:
        return [name for _, name, _ in self]


@pytest.fixture(scope="session")
def serve_module():
    """The module behind `container/serve`."""
    from bert_textclassification.serving.stack import supervisor

    return supervisor
