"""The commands of README and docs run as they are written.

`make notebooks` and `make search` get a tiny model, few texts and few trials, so that they take seconds. For commands
that need a Docker engine or a cloud, the tests check syntax and that their files, targets and options exist.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from bert_textclassification.artifact.store import Artifact
from tests.conftest import PATIENCE_S, ROOT, SHIPPED_DATA, wait_until

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z0-9]+) \?=", MAKEFILE, re.MULTILINE))
FENCES = re.findall(r"^```([^`\n]*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
BLOCKS = [block.strip() for language, block in FENCES if language in ("", "sh", "bash")]
COMMAND = ".venv/bin/bert-textclassification"
CLOUDS = {"az", "aws", "gcloud", "kubectl"}  # the vendors' tools
PROGRAMS = (
    r"make [a-z]|docker |curl |terraform |python -m |\.venv/bin/[\w-]+ |local_test/\w+\.sh|container/serve|echo |"
    rf"(?:{'|'.join(sorted(CLOUDS))}) "
)
COMMANDS = list(dict.fromkeys(line for block in BLOCKS for line in block.splitlines() if re.match(PROGRAMS, line)))
INLINE = sorted(set(re.findall(rf"`((?:{PROGRAMS})[^`]*)`", TEXT)))
# Settings for commands of the README that make them fast; those of the command have priority.
QUICK = {
    "batch_size": 16, "max_length": 32, "precision": "fp32", "max_accuracy_loss": 100,
    "exit_layers": "none", "epochs": 1,
}  # fmt: skip
QUICK_NOTEBOOKS = {
    "learning_rate": 0.005, "benchmark_texts": 5, "rounds": 1, "ladder_texts": 0, "requests": 10, "load_seconds": 0.3,
}  # fmt: skip
QUICK_SPACE = {"continuous": {"learning_rate": {"low": 0.001, "high": 0.01, "log": True}}}
# A shell function `make` that adds the quick settings and more arguments.
QUICK_MAKE = """
make() {
    local word words=() settings="$QUICK"
    for word; do
        case $word in SETTINGS=*) settings+=" ${word#SETTINGS=}" ;; *) words+=("$word") ;; esac
    done
    command make --no-print-directory "${words[@]}" "SETTINGS=$settings $LAST" "${MORE[@]}"
}
"""


def only(pattern: str) -> str:
    """Return the only command of the blocks that matches the pattern."""
    (command,) = [command for command in COMMANDS if re.search(pattern, command)]
    return command


def in_shell(checkout: Path, code: str, **environment: str) -> subprocess.CompletedProcess:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=checkout, env=variables | environment, capture_output=True, text=True, timeout=5 * PATIENCE_S,
    )  # fmt: skip


def quickly(checkout: Path, base: Path, command: str, notebooks: int = 4, **more: str) -> subprocess.CompletedProcess:
    """Run a command of make with quick settings up to this notebook; `more` are variables of make."""
    values = QUICK | {"base_model": base} | (QUICK_NOTEBOOKS if "make notebooks" in command else {})
    given = re.findall(r"[\" ](\w+)=", command)  # no setting may occur twice
    settings = " ".join(shlex.quote(f"{name}={value}") for name, value in values.items() if name not in given)
    arguments = " ".join(shlex.quote(f"{name}={value}") for name, value in more.items())
    last = f"--last {notebooks}" if "make notebooks" in command else ""
    return in_shell(checkout, f"MORE=({arguments})\n{QUICK_MAKE}\n{command}", QUICK=settings, LAST=last)


# -- everything that a command names exists


@pytest.mark.parametrize("command", [*COMMANDS, *INLINE])
def test_every_command_is_valid_shell_and_names_existing_things(command):
    words = shlex.split(command.rpartition(" | ")[2], comments=True)
    assert subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0
    checks = {"make": of_make, "python": of_python, ".venv/bin/python": of_python, COMMAND: of_our_command}
    check = checks.get(words[0], of_a_program)
    check(words[1:] if check is not of_a_program else words)


def of_make(words: list[str]) -> None:
    target, *variables = words
    assert target in TARGETS
    assert {variable.partition("=")[0] for variable in variables} <= VARIABLES


def of_python(words: list[str]) -> None:
    assert words[0] == "-m"
    usage = subprocess.run([sys.executable, "-m", words[1], "--help"], cwd=ROOT, capture_output=True, text=True)
    assert usage.returncode == 0, usage.stderr
    for word in words[2:]:
        assert word in usage.stdout or not word.startswith("-"), usage.stdout
        assert (ROOT / word).exists() or not word.startswith("ops/")


def of_our_command(words: list[str]) -> None:
    usage = subprocess.run([ROOT / COMMAND, words[0], "--help"], cwd=ROOT, capture_output=True, text=True)
    assert usage.returncode == 0, usage.stderr
    assert all(word in usage.stdout for word in words if word.startswith("-")), usage.stdout


def of_a_program(words: list[str]) -> None:
    assert words[0] in CLOUDS | {"docker", "terraform", "curl"} or os.access(ROOT / words[0], os.X_OK)
    for path in re.findall(r"(?:^|[ =@])((?:local_test|ops|container)/[\w./-]+)", " ".join(words)):
        assert (ROOT / path).exists(), path


def test_the_start_is_two_commands_of_make():
    assert BLOCKS[0].splitlines() == ["make demo", "make test"]


# -- commands that the tests run


@pytest.fixture(scope="module")
def mine(checkout) -> Path:
    """The checkout with a small file `mine.csv`, with the labels spam and ham."""
    rows = pd.read_csv(SHIPPED_DATA / "train/train.csv").head(240)
    rows["label"] = rows["label"].map({"escalate": "spam", "routine": "ham"})
    rows.to_csv(checkout / "mine.csv", index=False)
    return checkout


@pytest.fixture(scope="module")
def address(checkout, tiny_artifact) -> Iterator[str]:
    """The port of a server that `make serve` of the README starts, with the tiny model in `runs/demo/model`."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed: run `make system-packages`")
    shutil.copytree(tiny_artifact.folder, checkout / "runs/demo/model")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = only("^make serve").replace("8080", str(port))
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    scratch = checkout / "scratch"
    scratch.mkdir()
    with (checkout / "serve.log").open("w") as log:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=checkout, env=variables | {"SCRATCH_DIR": str(scratch)},
            stdout=log, stderr=log,
        )  # fmt: skip
        wait_until(lambda: in_shell(checkout, f"curl --fail localhost:{port}/ping").returncode == 0, server)
        yield str(port)
        server.terminate()
        server.wait(PATIENCE_S)


@pytest.mark.slow
def test_a_run_on_user_data_ends_with_a_json_line(mine, tiny_base):
    done = quickly(mine, tiny_base, only("^make notebooks.*positive_label=spam"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["model_dir"] == str(mine / "runs/mine/model")
    assert Artifact.load(mine / "runs/mine/model").manifest.labels[1] == "spam"
    assert (mine / "runs/mine/04_deployment.ipynb").exists()


@pytest.mark.slow
def test_the_first_commands_train_evaluate_and_predict(mine, tiny_base):
    block = next(block for block in BLOCKS if "bert-textclassification train" in block)
    train, evaluate, predict = block.splitlines()[:3]
    values = QUICK | {"base_model": tiny_base}
    settings = " ".join(shlex.quote(f"{name}={value}") for name, value in values.items() if name != "epochs")
    done = in_shell(mine, f"{train} {settings}\n{evaluate}\n{predict}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-2])["rows"] == 240
    assert done.stdout.splitlines()[-1].split("\t")[0] in ("spam", "ham")


@pytest.mark.slow
def test_a_bound_for_precision_reaches_the_model_and_the_shell_redirects_nothing(mine, tiny_base):
    done = quickly(mine, tiny_base, only("threshold_objective=precision"), notebooks=3)
    assert done.returncode == 0, done.stderr[-3000:]
    assert Artifact.load(mine / "runs/mine/model").manifest.decision.objective.endswith(
        "with precision of at least 0.95"
    )
    assert not list(mine.glob("=*"))


@pytest.mark.slow
def test_costs_and_several_seeds_reach_the_model(mine, tiny_base):
    done = quickly(mine, tiny_base, only("threshold_objective=cost"), notebooks=3)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = Artifact.load(mine / "runs/mine/model").manifest
    assert manifest.decision.objective.startswith("lowest cost")
    assert manifest.review


@pytest.mark.slow
def test_a_search_writes_its_best_settings(mine, tiny_base):
    (mine / "space.yaml").write_text(yaml.safe_dump(QUICK_SPACE))
    done = quickly(mine, tiny_base, only("^make search"), TRIALS="2", SPACE="space.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((mine / "runs/mine/search/best.json").read_text())


def test_the_served_model_answers_the_request_of_the_readme(checkout, address):
    done = in_shell(checkout, only("my card was stolen").replace("8080", address))
    assert done.returncode == 0, done.stderr
    (prediction,) = json.loads(done.stdout)["predictions"]
    assert prediction["label"] in ("escalate", "routine")


def test_the_served_model_answers_a_file(checkout, address):
    done = in_shell(checkout, only("text/csv").replace("8080", address))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6


def test_the_served_model_shows_its_documentation(checkout, address):
    done = in_shell(checkout, only("/docs").replace("8080", address))
    assert "openapi" in done.stdout.lower()


def test_the_model_answers_in_python(checkout, address):
    (code,) = {block for language, block in FENCES if language == "python"}
    done = subprocess.run(
        [sys.executable, "-c", code.replace("predictor.predict", "print(predictor.predict", 1).rstrip() + ")"],
        cwd=checkout, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.stdout.strip() in ("escalate", "routine"), done.stderr
