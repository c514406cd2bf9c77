"""The commands of README and docs are run, as they are written there.

`make notebooks` and `make search` get a tiny model, few texts and few trials besides, so that they take seconds.
Commands that need a Docker engine or a cloud are parsed, and the files, targets and options that they name exist.
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
# What makes a command of the README take seconds; its own settings win.
QUICK = {
    "batch_size": 16, "max_length": 32, "precision": "fp32", "max_accuracy_loss": 100,
    "exit_layers": "none", "epochs": 1,
}  # fmt: skip
QUICK_NOTEBOOKS = {
    "learning_rate": 0.005, "benchmark_texts": 5, "rounds": 1, "ladder_texts": 0, "requests": 10, "load_seconds": 0.3,
}  # fmt: skip
QUICK_SPACE = {"continuous": {"learning_rate": {"low": 0.001, "high": 0.01, "log": True}}}
# `make` of the shell, with the quick settings and more arguments.
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
    """Return the one command of the blocks that the pattern finds."""
    (found,) = [command for command in COMMANDS if re.search(pattern, command)]
    return found


def in_shell(checkout: Path, code: str, **environment: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=checkout, env=kept | environment, capture_output=True, text=True, timeout=5 * PATIENCE_S,
    )  # fmt: skip


def quickly(checkout: Path, base: Path, command: str, notebooks: int = 4, **more: str) -> subprocess.CompletedProcess:
    """Run a command of make with quick settings, up to the notebook of this number; `more` are variables of make."""
    values = QUICK | {"base_model": base} | (QUICK_NOTEBOOKS if "make notebooks" in command else {})
    given = re.findall(r"[\" ](\w+)=", command)  # a setting is given once
    settings = " ".join(shlex.quote(f"{name}={value}") for name, value in values.items() if name not in given)
    arguments = " ".join(shlex.quote(f"{name}={value}") for name, value in more.items())
    last = f"--last {notebooks}" if "make notebooks" in command else ""
    return in_shell(checkout, f"MORE=({arguments})\n{QUICK_MAKE}\n{command}", QUICK=settings, LAST=last)


# -- what every command names is there


@pytest.mark.parametrize("command", [*COMMANDS, *INLINE])
def test_every_command_is_one_that_a_shell_reads_and_names_what_exists(command):
    words = shlex.split(command.rpartition(" | ")[2], comments=True)
    assert subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0
    checks = {"make": of_make, "python": of_python, ".venv/bin/python": of_python, COMMAND: of_our_command}
    check = checks.get(words[0], of_a_program)
    check(words[1:] if check is not of_a_program else words)


def of_make(words: list[str]) -> None:
    target, *variables = words
    assert target in TARGETS
    assert {one.partition("=")[0] for one in variables} <= VARIABLES


def of_python(words: list[str]) -> None:
    assert words[0] == "-m"
    asked = subprocess.run([sys.executable, "-m", words[1], "--help"], cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    for word in words[2:]:
        assert word in asked.stdout or not word.startswith("-"), asked.stdout
        assert (ROOT / word).exists() or not word.startswith("ops/")


def of_our_command(words: list[str]) -> None:
    asked = subprocess.run([ROOT / COMMAND, words[0], "--help"], cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    assert all(word in asked.stdout for word in words if word.startswith("-")), asked.stdout


def of_a_program(words: list[str]) -> None:
    assert words[0] in CLOUDS | {"docker", "terraform", "curl"} or os.access(ROOT / words[0], os.X_OK)
    for path in re.findall(r"(?:^|[ =@])((?:local_test|ops|container)/[\w./-]+)", " ".join(words)):
        assert (ROOT / path).exists(), path


def test_the_start_is_two_commands_of_make():
    assert BLOCKS[0].splitlines() == ["make demo", "make test"]


# -- what is run


@pytest.fixture(scope="module")
def mine(checkout) -> Path:
    """The checkout with a file `mine.csv`, which has few texts, labelled spam and ham."""
    rows = pd.read_csv(SHIPPED_DATA / "train/train.csv").head(240)
    rows["label"] = rows["label"].map({"escalate": "spam", "routine": "ham"})
    rows.to_csv(checkout / "mine.csv", index=False)
    return checkout


@pytest.fixture(scope="module")
def address(checkout, tiny_artifact) -> Iterator[str]:
    """What `make serve` of the README serves: the tiny model in `runs/demo/model`, on a port that is free."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed: run `make system-packages`")
    shutil.copytree(tiny_artifact.folder, checkout / "runs/demo/model")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = only("^make serve").replace("8080", str(port))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    scratch = checkout / "scratch"
    scratch.mkdir()
    with (checkout / "serve.log").open("w") as log:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=checkout, env=kept | {"SCRATCH_DIR": str(scratch)},
            stdout=log, stderr=log,
        )  # fmt: skip
        wait_until(lambda: in_shell(checkout, f"curl --fail localhost:{port}/ping").returncode == 0, server)
        yield str(port)
        server.terminate()
        server.wait(PATIENCE_S)


@pytest.mark.slow
def test_a_run_on_own_data_ends_with_its_json_line(mine, tiny_base):
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
def test_a_bound_for_precision_reaches_the_model_and_no_file_is_made_of_it(mine, tiny_base):
    done = quickly(mine, tiny_base, only("threshold_objective=precision"), notebooks=3)
    assert done.returncode == 0, done.stderr[-3000:]
    assert Artifact.load(mine / "runs/mine/model").manifest.decision.objective.startswith("precision of at least 0.95")
    assert not list(mine.glob("=*"))


@pytest.mark.slow
def test_costs_and_several_seeds_reach_the_model(mine, tiny_base):
    done = quickly(mine, tiny_base, only("threshold_objective=cost"), notebooks=3)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = Artifact.load(mine / "runs/mine/model").manifest
    assert manifest.decision.objective.startswith("lowest cost")
    assert manifest.review


@pytest.mark.slow
def test_a_search_runs_and_leaves_its_best_settings(mine, tiny_base):
    (mine / "space.yaml").write_text(yaml.safe_dump(QUICK_SPACE))
    done = quickly(mine, tiny_base, only("^make search"), TRIALS="2", SPACE="space.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((mine / "runs/mine/search/best.json").read_text())


def test_the_served_model_answers_what_the_readme_asks(checkout, address):
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
