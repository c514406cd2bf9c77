"""The CI definitions call existing targets of make, on every supported version of Python."""

import re
import tomllib

import pytest
import yaml

from tests.conftest import ROOT

FILES = [".github/workflows/ci.yml", ".drone.yml", ".ci/run"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = {"3.11", "3.12", "3.13"}


@pytest.mark.parametrize("name", FILES)
def test_every_target_that_is_called_exists(name):
    called = re.findall(r"\bmake((?: [a-z-]+)+)", re.sub(r"#.*|install .*", "", (ROOT / name).read_text()))
    assert called
    assert {target for words in called for target in words.split()} <= TARGETS


def test_the_classifiers_are_the_tested_pythons():
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert {name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)} == PYTHONS


def test_github_tests_on_every_python():
    jobs = yaml.safe_load((ROOT / FILES[0]).read_text())["jobs"]
    assert set(jobs["tests"]["strategy"]["matrix"]["python"]) == PYTHONS


def test_drone_tests_on_every_python():
    steps = yaml.safe_load((ROOT / FILES[1]).read_text())["steps"]
    assert {re.search(r"python:(3\.\d+)", step["image"])[1] for step in steps} == PYTHONS


@pytest.mark.parametrize("name", FILES[:2])
def test_the_tests_and_the_linters_are_run(name):
    called = (ROOT / name).read_text()
    assert "make lint" in called
    assert "make test-all" in called


@pytest.mark.parametrize("target", ["coverage", "test-versions"])
@pytest.mark.parametrize("name", FILES[:2])
def test_coverage_and_the_lowest_and_newest_versions_are_checked_beside_the_tests(name, target):
    assert target in " ".join(re.findall(r"\bmake (.*)", (ROOT / name).read_text())).split()


@pytest.mark.parametrize("name", FILES)
def test_lines_are_counted(name):
    assert "make lines" in (ROOT / name).read_text()


def test_the_hooks_before_a_commit_run_the_programs_of_make_lint():
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    linters = set(re.findall(r"(?:-m |\.venv/bin/)([a-z-]+)", recipe))
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = {re.sub(r"^\.venv/bin/(python -m )?", "", hook["entry"]).split()[0] for hook in hooks}
    assert entries - {"bash"} == linters


def test_the_hooks_before_a_commit_name_programs_of_the_environment():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    programs = {hook["entry"].split()[0] for hook in hooks} - {"bash"}
    assert all((ROOT / program).exists() for program in programs)
