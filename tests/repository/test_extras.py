"""Each extra, installed alone from the wheel into a new environment, runs its commands."""

import importlib.util
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import PATIENCE_S, ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
NO_NETWORK = ("error sending request", "dns error", "failed to lookup", "Connection refused", "timed out")
# The environment variables of the files of ops/config.
SETTINGS = {
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "SAGEMAKER_ROLE": "arn:aws:iam::123456789012:role/sagemaker",
    "BUCKET": "texts",
    "TRAINING_IMAGE": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/tickets:1",
    "SERVING_IMAGE": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/tickets:1-serve",
    "MODEL_DATA": "s3://texts/job/output/model.tar.gz",
}


class Command(NamedTuple):
    """A command: its words after `python`, its exit status, and a part of its output."""

    words: str
    status: int
    output: str


def of_ops(*names: str) -> list[Command]:
    """Return the help and the plan of commands of `ops`."""
    return [
        command
        for name in names
        for command in (
            Command(f"-m ops.{name} --help", 0, "--yes"),
            Command(f"-m ops.{name}", 0, "Nothing was changed. Add --yes to do it."),
        )
    ]


def of_training(name: str) -> list[Command]:
    """Return the help of a command, and its error for a missing file."""
    return [
        Command(f"-m bert_textclassification {name} --help", 0, "Usage:"),
        Command(f"-m bert_textclassification {name} --name a --data nowhere.csv", 1, "nowhere.csv"),
    ]


PREDICTION = Command(
    '-c \'import bert_textclassification as b; print(len(b.Predictor.load("runs/demo/model").predict(["a"])))\'', 0, "1"
)
NO_MODEL = Command("container/serve", 2, "error: There is no model folder nowhere")
OBJECT_STORAGE = Command("-c 'import bert_textclassification.serving.download, obstore.store'", 0, "")
COMMANDS = {
    "serve": [
        PREDICTION,
        NO_MODEL,
        Command("tools/try_wheel.py", 0, "kernels for"),
        Command("-m bert_textclassification predict local_test/requests/messages.txt", 0, "\t0."),
        Command(
            "-m bert_textclassification train --data nowhere.csv", 1, "pip install 'bert-textclassification[train]'"
        ),
    ],
    "object-storage": [PREDICTION, NO_MODEL, OBJECT_STORAGE],
    "gcs": [OBJECT_STORAGE],
    "train": [
        PREDICTION,
        NO_MODEL,
        Command("container/train", 1, "give the path of your labelled texts"),
        *of_training("train"),
        *of_training("benchmark training"),
        Command("-m bert_textclassification benchmark load --model nowhere --data nowhere.csv", 1, "nowhere"),
        Command("-m bert_textclassification notebooks", 1, "pip install 'bert-textclassification[notebooks]'"),
    ],
    "notebooks": [*of_training("notebooks"), Command("-m jupyterlab --version", 0, "4.")],
    "search": of_training("search"),
    "docs": [Command("-m tools.docs_site", 0, "notebooks")],
    "cloud": [*of_ops("train", "tune", "endpoint", "transform", "gateway"), Command("-m ops.image --help", 0, "--yes")],
}


def test_every_extra_for_a_user_has_its_commands():
    assert COMMANDS.keys() == EXTRAS - {"dev"}


def test_every_data_file_is_in_the_wheel():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    src = ROOT / "src"
    packaged = {
        path
        for package, patterns in project["package-data"].items()
        for pattern in patterns
        for path in (src / package.replace(".", "/")).glob(pattern)
    }
    listed = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {ROOT / name for name in listed.stdout.splitlines()}
    assert {path for path in tracked - packaged if path.suffix not in (".py", ".pyi")} == set()


def uv(*words: str | Path) -> None:
    """Run uv with the configuration of pip; skip the test if the package index does not answer."""
    spec = importlib.util.spec_from_file_location("install", ROOT / "tools/install.py")
    install = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(install)
    done = subprocess.run(
        [sys.executable, "-m", "uv", *map(str, words)],
        env=install.uv_environment(install.pip_options(), os.environ),
        capture_output=True, text=True, timeout=5 * PATIENCE_S,
    )  # fmt: skip
    if done.returncode and any(sign in done.stderr for sign in NO_NETWORK):
        pytest.skip(f"the package index does not answer: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--quiet", "--wheel", "--out-dir", folder, checkout)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def with_a_model(checkout, tiny_artifact) -> Iterator[Path]:
    """The checkout, with the tiny model in the folder that `make demo` writes."""
    model = checkout / "runs/demo/model"
    model.parent.mkdir(parents=True, exist_ok=True)
    model.symlink_to(tiny_artifact.folder)
    yield checkout
    model.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("extra", sorted(COMMANDS))
def test_the_commands_of_an_extra_run_with_nothing_else_installed(extra, wheel, with_a_model, tmp_path):
    python = tmp_path / "venv/bin/python"
    uv("venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    requirement = f"bert-textclassification[{extra}] @ {wheel.as_uri()}"
    uv("pip", "install", "--quiet", "--python", python, "--constraint", ROOT / "container/constraints.txt", requirement)
    folders = {"MODEL_DIR": "nowhere", "SCRATCH_DIR": str(tmp_path), "SAGEMAKER_BASE_DIR": str(tmp_path)}
    for command in COMMANDS[extra]:
        done = subprocess.run(
            [python, *shlex.split(command.words)],
            cwd=with_a_model, env=os.environ | SETTINGS | folders, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        printed = done.stdout + done.stderr
        assert (done.returncode, command.output in printed, "Traceback" in printed) == (command.status, True, False), (
            printed
        )
