"""The Makefile: arguments reach the commands unchanged, and each target installs its requirements."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_S, ROOT

ODD = 'it\'s "a" $HOME; $(touch touched) `touch touched` >touched & * #1'
PRINT_ARGUMENTS = "import json, sys\nprint(json.dumps(sys.argv[1:]))\n"


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A folder with the Makefile, and commands that only print their arguments."""
    for name in ("Makefile", "pyproject.toml", "container/constraints.txt", "tools/run.py", "tools/install.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    for name in ("bert_textclassification/__main__", "tools/publish"):
        module = (tmp_path / name).with_suffix(".py")
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(PRINT_ARGUMENTS)
    (tmp_path / "tools/documentation.py").touch()
    for name in ("nginx", "docker"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.with_suffix(".py").write_text(PRINT_ARGUMENTS)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$0.py" "$@"\n')  # no spaces are allowed after #!
        program.chmod(0o755)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    for name in ("installed", "installed-search", "installed-docs", "installed-test"):
        (tmp_path / ".venv" / name).touch()
    return tmp_path


def make(checkout: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment["PATH"] = f"{checkout / 'bin'}:{environment['PATH']}"
    command = ["make", "--no-print-directory", *words]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)


def arguments(checkout: Path, *words: str) -> list[str]:
    """Return the arguments of the command of the target."""
    done = make(checkout, *words)
    assert done.returncode == 0, done.stderr
    assert not (checkout / "touched").exists()
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("threshold_objective=precision>=0.95", ["threshold_objective=precision>=0.95"]),
        ("threshold_objective=cost false_negative_cost=10", ["threshold_objective=cost", "false_negative_cost=10"]),
        ('positive_label="needs an answer" epochs=3', ["positive_label=needs an answer", "epochs=3"]),
        ("'positive_label=needs an answer'", ["positive_label=needs an answer"]),
        ('positive_label="it\'s"', ["positive_label=it's"]),
        ("positive_label=$5", ["positive_label=$5"]),
        ("positive_label=$(touch touched)", ["positive_label=$(touch", "touched)"]),
        ("positive_label=${HOME", ["positive_label=${HOME"]),
        ("positive_label=$(shell touch touched)", ["positive_label=$(shell", "touch", "touched)"]),
        ("positive_label=`touch touched`", ["positive_label=`touch", "touched`"]),
        ("drop_issues=[repeat,html] text_column=*", ["drop_issues=[repeat,html]", "text_column=*"]),
        ("positive_label=a;touch touched", ["positive_label=a;touch", "touched"]),
        ("positive_label=#1 label_column=a&b|c<d", ["positive_label=#1", "label_column=a&b|c<d"]),
        ("positive_label=größer", ["positive_label=größer"]),
        ("", []),
    ],
)
def test_settings_reach_the_command_word_by_word_and_no_shell_reads_them(checkout, settings, expected):
    (checkout / "file-that-a-star-would-match").touch()
    found = arguments(checkout, "notebooks", "NAME=mine", "DATA=mine.csv", f"SETTINGS={settings}")
    assert found == ["notebooks", "--name", "mine", "--data", "mine.csv", *expected]


def test_settings_whose_quotes_do_not_pair_are_told_in_one_sentence(checkout):
    done = make(checkout, "notebooks", "SETTINGS=positive_label=it's")
    assert done.returncode != 0
    assert "error: SETTINGS=positive_label=it's: No closing quotation; close every quote." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("target", "variable", "before"),
    [
        ("notebooks", "NAME", "--name"),
        ("notebooks", "DATA", "--data"),
        ("search", "NAME", "--name"),
        ("search", "DATA", "--data"),
        ("search", "SPACE", "--space"),
        ("search", "TRIALS", "--trials"),
        ("load", "MODEL", "--model"),
        ("load", "DATA", "--data"),
        ("benchmark", "MODEL", "--model"),
        ("benchmark", "DATA", "--data"),
        ("benchmark-training", "NAME", "--name"),
        ("benchmark-training", "DATA", "--data"),
    ],
)
def test_a_name_or_path_reaches_the_command_as_one_word(checkout, target, variable, before):
    found = arguments(checkout, target, f"{variable}={ODD}")
    assert found[found.index(before) + 1] == ODD


def test_the_name_of_what_is_published_is_one_word(checkout):
    assert arguments(checkout, "publish", f"NAME={ODD}") == [ODD]


def test_the_model_of_the_server_may_have_any_name(checkout):
    assert arguments(checkout, "serve", f"MODEL={ODD}") == ["serve", "--model", ODD, "--port", "8080"]


def test_the_name_of_the_image_is_one_word(checkout):
    (checkout / "container/wheels").mkdir()
    (checkout / "container/wheels/torch-1.whl").touch()
    found = arguments(checkout, "image", f"IMAGE={ODD}")
    assert found[found.index("--tag") + 1] == f"{ODD}:latest"


@pytest.mark.parametrize("target", ["notebooks", "search", "load", "benchmark", "benchmark-training"])
def test_every_target_with_settings_takes_more_words_for_its_command(checkout, target):
    assert arguments(checkout, target, "SETTINGS=a=1 b=2")[-2:] == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("target", "extras"),
    [
        ("demo", ["notebooks"]),
        ("notebooks", ["notebooks"]),
        ("serve", ["notebooks"]),
        ("search", ["notebooks", "notebooks search"]),
        ("docs", ["notebooks", "notebooks docs"]),
        ("test", ["notebooks", "notebooks dev"]),
        ("test-all", ["notebooks", "notebooks dev"]),
        ("lint", ["notebooks", "notebooks dev"]),
    ],
)
def test_a_target_installs_only_what_it_runs(checkout, target, extras):
    shutil.rmtree(checkout / ".venv")
    planned = make(checkout, "--dry-run", target).stdout
    assert re.findall(r"tools/install\.py (.*)", planned) == extras


def test_help_describes_every_target_that_a_person_calls():
    written = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)", written, re.MULTILINE)[1].split())
    printed = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    assert {line.split()[0] for line in printed.splitlines()} == phony
    assert all(len(line.split()) > 2 for line in printed.splitlines())
