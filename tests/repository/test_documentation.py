"""README and docs match the repository: the file tree, the tables of results, links and commands."""

import re
import subprocess
from pathlib import Path

import pytest

from bert_textclassification import __version__
from tests.conftest import ROOT
from tools import documentation

PAGES = {
    path.relative_to(ROOT): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(ROOT.glob("docs/**/*.md")))
}
TEXT = "\n".join(PAGES.values())
ARCHITECTURE = PAGES[Path("docs/explanation/architecture.md")]


def tracked_files() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in done.stdout.splitlines() if (ROOT / path).exists()]


def documented_tree() -> set[str]:
    """Return the paths in the documented tree, which is indented by four spaces a level."""
    block = documentation.generated_block(ARCHITECTURE, "tree")
    paths, parents = set(), []
    for line in block.splitlines():
        entry = re.match(r"( *)([\w.\-]+/?)(?:\s|$)", line)
        if entry is None or line.startswith("```"):
            continue
        depth = len(entry.group(1)) // 4
        parents = [*parents[:depth], entry.group(2)]
        paths.add("".join(parents))
    return paths


def test_every_path_of_the_tree_exists():
    missing = {path for path in documented_tree() if not (ROOT / path).exists()}
    assert not missing


def test_every_package_and_top_level_entry_is_in_the_tree():
    tree = documented_tree()
    files = tracked_files()
    top = {path.split("/")[0] + ("/" if "/" in path else "") for path in files}
    packages = {path.removesuffix("__init__.py") for path in files if re.match(r"src/.+/__init__\.py$", path)}
    modules = {
        path
        for path in files
        if re.match(r"(notebooks/[^/]+\.ipynb|container/[^/]+|ops/[^/]+\.py|local_test/[^/]+\.sh)$", path)
    }
    paths = top | packages | modules
    required = {path for path in paths if not path.startswith(".") and not path.endswith("__init__.py")}
    assert not required - tree


def test_every_generated_part_is_up_to_date():
    assert documentation.outdated() == []


def test_the_readme_is_short_and_begins_with_commands():
    lines = PAGES[Path("README.md")].splitlines()
    assert len(lines) <= 150
    assert {"make demo", "make test"} <= set(lines[:25])


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if re.match(r"https?://", target):
            continue
        name, _, heading = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        assert not heading or heading in anchors(path), target


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index_and_the_readme():
    for path in PAGES:
        if path.parts[0] == "docs" and path.name != "index.md":
            assert f"({path.relative_to('docs')})" in PAGES[Path("docs/index.md")], path
            assert f"({path})" in PAGES[Path("README.md")], path


@pytest.mark.parametrize("name", ["container/nginx.conf", "container/gunicorn.conf.py", "ops/config/prices.yaml"])
def test_a_packaged_file_is_a_link_and_not_a_copy_elsewhere(name):
    assert (ROOT / name).is_symlink()
    assert (ROOT / name).resolve().is_relative_to(ROOT / "src")


def test_every_test_that_the_documentation_names_exists():
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT):
        assert f"def {name}(" in (ROOT / path).read_text() if name else (ROOT / path).exists(), (path, name)


def test_the_documented_commands_are_targets_of_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^(?:\$ )?make ([a-z-]+)", TEXT, re.MULTILINE)) <= targets


def test_the_changelog_has_this_version():
    heading = "Unreleased" if "dev" in __version__ else __version__
    assert f"## {heading}\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("forbidden", ["py" + "pi.org", "python" + "hosted", f"{ROOT}/", f"{ROOT.parent}/shared"])
def test_no_registry_host_or_machine_path_is_committed(forbidden):
    texts = {path: (ROOT / path).read_bytes().decode("utf-8", "ignore") for path in tracked_files()}
    assert [path for path, text in texts.items() if forbidden in text] == []


def test_nothing_over_one_megabyte_is_committed():
    assert [path for path in tracked_files() if (ROOT / path).stat().st_size > 1_000_000] == []
