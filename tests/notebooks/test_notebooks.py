"""The notebooks: house rules, a whole run with the tiny model, strict nbval on what it left, defaults as by hand."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from bert_textclassification import Predictor
from bert_textclassification.training.runs import RunFolder
from tests.conftest import PATIENCE_S, ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def parameters_cell(path: Path) -> str:
    (cell,) = [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    return cell.source


def test_there_are_the_four_notebooks():
    expected = ["01_exploration", "02_fine_tuning", "03_quantization_benchmark", "04_deployment"]
    assert [path.stem for path in NOTEBOOKS] == expected


@by_name
def test_no_outputs_are_committed(path):
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells(path))


@by_name
def test_parameters_are_literals_with_a_comment_each(path):
    source = parameters_cell(path)
    for statement in ast.parse(source).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)
    assert all(re.search(r"  # \w", line) for line in source.splitlines())


@by_name
def test_code_is_short_and_defines_nothing(path):
    cells = [cell for cell in code_cells(path) if "parameters" not in cell.metadata.get("tags", [])]
    lines = [line for cell in cells for line in cell.source.splitlines() if line.strip()]
    assert not [line for line in lines if re.match(r"\s*(def |class |!|%)|.*(sys\.path|pip install)", line)]
    assert len([line for line in lines if not re.match(r"(from|import) ", line)]) <= 42


@by_name
def test_it_starts_with_a_title_and_purpose(path):
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \d · \w+", first.source)


@pytest.fixture(scope="module")
def tiny_run(tiny_base, tiny_data, tmp_path_factory) -> tuple[RunFolder, str]:
    """The pipeline as `make notebooks` runs it, with the tiny model; the run folder and what stdout got."""
    name = f"test-{tmp_path_factory.mktemp('run').name}-{os.getpid()}"
    settings = {
        "base_model": tiny_base, "epochs": 4, "learning_rate": 5e-3, "batch_size": 16, "precision": "fp32",
        "max_accuracy_loss": 100, "benchmark_texts": 10, "ladder_texts": 0, "exit_layers": "none",
        "requests": 20, "load_seconds": 0.3,
    }  # fmt: skip
    command = [sys.executable, "-m", "bert_textclassification", "notebooks", "--name", name, "--data", tiny_data]
    done = subprocess.run(
        [*map(str, command), *(f"{key}={value}" for key, value in settings.items())],
        cwd=ROOT, capture_output=True, text=True, timeout=5 * PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    run = RunFolder(ROOT / "runs" / name)
    yield run, done.stdout
    shutil.rmtree(run.root)


@pytest.mark.slow
def test_a_run_ends_with_one_json_line_read_from_what_it_made(tiny_run):
    run, stdout = tiny_run
    line = json.loads(stdout.splitlines()[-1])
    manifest = json.loads((run.model / "manifest.json").read_text())
    assert (line["train_rows"], line["test_rows"]) == (160, 60)
    assert line["accuracy_fp32"] == pytest.approx(manifest["variants"]["fp32"]["accuracy"]["test"], abs=1e-4)
    assert line["accuracy_int8"] == pytest.approx(manifest["variants"]["int8"]["accuracy"]["test"], abs=1e-4)
    assert line["agreement"] == pytest.approx(manifest["variants"]["int8"]["agreement"]["test"], abs=1e-4)
    assert line["p50_ms_fp32"] > 0
    assert line["p50_ms_int8"] > 0
    assert line["speedup_int8"] > 0
    assert line["model_dir"] == str(run.model)
    assert line["served_variant"] == manifest["default_variant"]
    assert line["accuracy_served"] == pytest.approx(manifest["metrics"]["test"]["accuracy"]["value"], abs=1e-4)


@pytest.mark.slow
def test_a_run_starts_with_what_the_models_are_judged_by(tiny_run):
    run, _ = tiny_run
    manifest = json.loads((run.model / "manifest.json").read_text())
    for name in ("01_exploration", "02_fine_tuning"):
        assert manifest["judging"]["sentence"] in json.dumps(json.loads((run.root / f"{name}.ipynb").read_text()))


@pytest.mark.slow
def test_the_score_is_the_same_in_the_notebook_over_http_and_in_python(tiny_run):
    run, stdout = tiny_run
    line = json.loads(stdout.splitlines()[-1])
    (prediction,) = Predictor.load(run.model).predict([line["example_text"]])
    assert (prediction.label, prediction.score) == (line["example_label"], line["example_score"])
    assert run.results()["deployment"]["largest_score_difference"] == 0


@pytest.mark.slow
def test_a_run_leaves_figures_and_a_packed_artifact(tiny_run):
    run, _ = tiny_run
    names = {
        "lengths", "history", "confusion", "slices", "accuracy_latency", "http_latency", "reliability", "coverage",
        "waiting",
    }  # fmt: skip
    assert {path.stem for path in run.figures.glob("*.png")} == names
    assert run.archive.stat().st_size > 1000


@pytest.mark.slow
def test_executed_notebooks_show_one_line_of_each_bar_and_no_warnings(tiny_run):
    run, _ = tiny_run
    shown = [
        (path.stem, output.text)
        for path in (run.root / notebook.name for notebook in NOTEBOOKS)
        for cell in code_cells(path)
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert any("fine-tuning" in text for _, text in shown)
    for notebook, text in shown:
        lines = text.replace("\r\n", "\n").strip().splitlines()
        assert all(re.match(r"[\w -]+: 100%\|", line) for line in lines), (notebook, text)
        assert len({line.split(":")[0] for line in lines}) == len(lines), (notebook, text)


@pytest.mark.slow
def test_executed_notebooks_repeat_exactly(tiny_run):
    run, _ = tiny_run
    executed = [run.root / path.name for path in NOTEBOOKS]
    done = nbval("--nbval", executed)
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"\d+ passed", done.stdout)


@pytest.mark.slow
def test_each_notebook_runs_by_hand_with_its_defaults():
    done = nbval("--nbval-lax", NOTEBOOKS)
    assert done.returncode == 0, done.stdout[-4000:]
    results = RunFolder(ROOT / "runs/notebooks").results()
    baseline = results["exploration"]["baseline_test"]["accuracy"]["value"]
    assert results["fine_tuning"]["test"]["accuracy"]["value"] > baseline
    assert set(results) == {"exploration", "fine_tuning", "quantization_benchmark", "deployment"}


def nbval(how: str, notebooks: list[Path]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "default", how, "--nbval-current-env"]
    return subprocess.run(
        [*command, *map(str, notebooks)], cwd=ROOT, capture_output=True, text=True, timeout=10 * PATIENCE_S
    )
