"""The batch run of the notebooks: wrong settings are refused before anything runs, a failure says how to go on."""

import json

import pytest
from conftest import ROOT

from bert_textclassification.training import pipeline
from bert_textclassification.training.config import TrainingConfig


@pytest.fixture(autouse=True)
def _in_a_copy_of_the_layout(tmp_path, monkeypatch):
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    (tmp_path / "container").symlink_to(ROOT / "container")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["epoch=3"], "no setting 'epoch', did you mean 'epochs'"),
        (["epochs=0"], "epochs=0: Input should be greater than 0"),
        (["benchmark_text=5"], "did you mean 'benchmark_texts'"),
        (["epochs"], "write name=value"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_runs(arguments, says, capsys, tmp_path):
    assert pipeline.main(["--name", "x", "--data", "nowhere.csv", *arguments]) == 1
    assert says in capsys.readouterr().err
    assert not list((tmp_path / "runs/x").glob("*.ipynb"))


@pytest.mark.parametrize("label", ["yes", "0", "1.50", "null", "2024-01-01", "a: b", "@home"])
def test_a_setting_that_is_a_text_is_taken_as_it_is_written(label):
    given = pipeline.parse_settings([f"positive_label={label}", f"label_column={label}"])
    assert given == {"positive_label": label, "label_column": label}
    assert TrainingConfig.of({"data": "d"} | given).positive_label == label


def test_other_settings_and_parameters_of_notebooks_have_the_type_they_are_written_in():
    pairs = ["epochs=2", "dropout=0.2", "drop=[repeat]", "class_weights=none", "requests=9", "serve_with=x", "flag=yes"]
    assert pipeline.parse_settings(pairs) == {
        "epochs": 2,
        "dropout": 0.2,
        "drop": ["repeat"],
        "class_weights": "none",
        "requests": 9,
        "serve_with": "x",
        "flag": True,
    }


def test_a_failed_stage_stops_the_run_and_leaves_the_annotated_notebook(tmp_path, capsys):
    data = tmp_path / "reviews.csv"
    data.write_text("text,label\nfine,good\n,bad\n")
    assert pipeline.main(["--name", "x", "--data", str(data)]) == 1
    captured = capsys.readouterr()
    assert "reviews.csv line 3: the text is empty" in captured.err
    assert "go on with --first 1" in captured.err.splitlines()[-1]
    assert captured.out == ""
    annotated = json.loads((tmp_path / "runs/x/01_exploration.ipynb").read_text())
    assert "An Exception was encountered" in json.dumps(annotated)
    assert not (tmp_path / "runs/x/02_fine_tuning.ipynb").exists()


def test_settings_reach_the_notebooks_that_declare_them():
    declared = {"run_dir", "data", "epochs", "settings"}
    values = {"run_dir": "r", "data": "d", "epochs": 2, "dropout": 0.2, "requests": 9}
    passed = pipeline._parameters(declared, values)
    assert passed == {"run_dir": "r", "data": "d", "epochs": 2, "settings": {"dropout": 0.2}}
