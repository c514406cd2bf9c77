"""The version: from the last tag, or a fallback without git."""

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from bert_textclassification import __version__
from tests.conftest import ROOT
from tests.repository.test_extras import uv

pytestmark = pytest.mark.slow


@pytest.fixture
def tree(tmp_path) -> Path:
    """A copy of the sources of the package, without git."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("*.egg-info", "*.so", "__pycache__"))
    return folder


def git(folder: Path, *words: str) -> None:
    settings = ("user.name=A", "user.email=a@example.com", "commit.gpgsign=false", "tag.gpgsign=false")
    options = [word for setting in settings for word in ("-c", setting)]
    subprocess.run(["git", "-C", folder, *options, *words], check=True, capture_output=True)


def built(folder: Path, *words: str) -> list[str]:
    """Build the package; return the names of the built files, without their endings."""
    out = folder.with_name("dist")
    uv("build", "--quiet", "--clear", "--out-dir", out, *words, folder)
    return sorted(path.name.removesuffix(".tar.gz").split("-cp3")[0] for path in out.iterdir() if path.name[0] == "b")


def test_the_package_has_the_installed_version():
    assert __version__ == version("bert-textclassification")


def test_a_tree_without_git_has_the_fallback(tree):
    assert built(tree, "--wheel") == ["bert_textclassification-0.dev0"]


def test_a_tag_is_the_version_of_the_sources_and_of_the_wheel_that_is_built_from_them(tree):
    for words in (["init"], ["add", "--all"], ["commit", "--message", "Release"], ["tag", "v1.2.3"]):
        git(tree, *words)
    assert built(tree) == ["bert_textclassification-1.2.3"] * 2
    git(tree, "commit", "--allow-empty", "--message", "Go on")
    assert built(tree, "--sdist") == ["bert_textclassification-1.2.4.dev1"]
