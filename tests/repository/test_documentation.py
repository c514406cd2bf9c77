"""The README tells the truth: its tree is the files, its table is the results, its commands exist."""

import re
import subprocess

import pytest

from bert_textclassification import __version__
from tests.conftest import ROOT
from tools import readme

README = (ROOT / "README.md").read_text(encoding="utf-8")


def tracked_files() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in done.stdout.splitlines() if (ROOT / path).exists()]


def tree_of_the_readme() -> set[str]:
    """Return the paths that the tree names; a line's depth is its indentation by four."""
    block = readme.generated_block(README, "tree")
    paths, parents = set(), []
    for line in block.splitlines():
        found = re.match(r"( *)([\w.\-]+/?)(?:\s|$)", line)
        if found is None or line.startswith("```"):
            continue
        depth = len(found.group(1)) // 4
        parents = [*parents[:depth], found.group(2)]
        paths.add("".join(parents))
    return paths


def test_every_path_of_the_tree_exists():
    missing = {path for path in tree_of_the_readme() if not (ROOT / path).exists()}
    assert not missing


def test_every_package_and_top_level_entry_is_in_the_tree():
    tree = tree_of_the_readme()
    files = tracked_files()
    top = {path.split("/")[0] + ("/" if "/" in path else "") for path in files}
    packages = {path.removesuffix("__init__.py") for path in files if re.match(r"src/.+/__init__\.py$", path)}
    modules = {
        path
        for path in files
        if re.match(r"(notebooks/[^/]+\.ipynb|container/[^/]+|ops/[^/]+\.py|local_test/[^/]+\.sh)$", path)
    }
    named = top | packages | modules
    wanted = {path for path in named if not path.startswith(".") and not path.endswith("__init__.py")}
    assert not wanted - tree


@pytest.mark.parametrize("name", readme.blocks())
def test_every_made_part_of_the_readme_is_up_to_date(name):
    assert readme.generated_block(README, name) == readme.blocks()[name]


def test_every_test_that_the_readme_names_exists():
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", README):
        assert f"def {name}(" in (ROOT / path).read_text() if name else (ROOT / path).exists(), (path, name)


def test_the_commands_of_the_readme_are_targets_of_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^(?:\$ )?make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_the_changelog_has_this_version():
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("named", ["py" + "pi.org", "python" + "hosted", f"{ROOT}/", f"{ROOT.parent}/shared"])
def test_no_registry_host_or_machine_path_is_committed(named):
    texts = {path: (ROOT / path).read_bytes().decode("utf-8", "ignore") for path in tracked_files()}
    assert [path for path, text in texts.items() if named in text] == []


def test_nothing_over_one_megabyte_is_committed():
    assert [path for path in tracked_files() if (ROOT / path).stat().st_size > 1_000_000] == []
