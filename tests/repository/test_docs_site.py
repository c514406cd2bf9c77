"""The documentation as a web site: it builds without a warning and shows the outputs of a run."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from bert_textclassification.errors import UserError
from tests.conftest import PATIENCE_S, ROOT
from tools.docs_site import NOTEBOOKS, PAGES, copy_notebooks

NAMES = sorted(path.name for path in (ROOT / NOTEBOOKS).glob("*.ipynb"))


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A folder with the notebooks of this repository, as working directory."""
    (tmp_path / NOTEBOOKS).mkdir()
    (tmp_path / PAGES).mkdir(parents=True)
    for name in NAMES:
        (tmp_path / NOTEBOOKS / name).write_bytes((ROOT / NOTEBOOKS / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def execute(folder: Path, name: str, output: str) -> None:
    """Write the notebook with an output in its first code cell into the folder of a run."""
    notebook = nbformat.read(ROOT / NOTEBOOKS / name, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.outputs = [nbformat.v4.new_output("stream", text=output)]
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / name)


def test_without_a_run_the_notebooks_are_shown_without_outputs(repository):
    sentence = copy_notebooks(None)
    assert (
        sentence
        == "runs/demo has no executed notebooks, so they are shown without outputs; run make demo to create them."
    )
    assert sorted(path.name for path in (repository / PAGES).iterdir()) == NAMES


def test_a_run_is_shown_and_its_missing_notebooks_are_named(repository):
    execute(repository / "runs/mine", NAMES[0], "2,178 texts")
    (repository / PAGES / "of_an_earlier_build.ipynb").touch()
    sentence = copy_notebooks("mine")
    assert sentence == f"The notebooks show the outputs of runs/mine, except {', '.join(n[:-6] for n in NAMES[1:])}."
    assert "2,178 texts" in (repository / PAGES / NAMES[0]).read_text()
    assert sorted(path.name for path in (repository / PAGES).iterdir()) == NAMES


def test_a_run_without_notebooks_is_rejected(repository):
    with pytest.raises(UserError, match=r"runs/mine has no executed notebooks; run make notebooks NAME=mine first\."):
        copy_notebooks("mine")


@pytest.mark.slow
def test_the_site_builds_without_a_warning(checkout, tmp_path):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    execute(checkout / "runs/for_the_site", NAMES[0], "2,178 texts")
    done = subprocess.run(
        [sys.executable, "-m", "tools.docs_site", "--run", "for_the_site", "--output", str(tmp_path / "docs")],
        cwd=checkout, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=5 * PATIENCE_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert "2,178 texts" in (tmp_path / "docs/notebooks/01_exploration.html").read_text()
    assert (
        "bert_textclassification.serving.predictor.Predictor.predict"
        in (tmp_path / "docs/reference/python.html").read_text()
    )
    assert 'href="notebooks/04_deployment.html"' in (tmp_path / "docs/index.html").read_text()
