"""The batch run of the notebooks: mistakes are rejected before it starts, and an interruption prints how to resume."""

import ast
import json
import os
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import papermill
import pytest

from bert_textclassification import cli
from bert_textclassification.training.command_line_settings import parse_settings
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.modeling.record import write_record
from bert_textclassification.training.notebooks import pipeline
from bert_textclassification.training.runs import RunFolder
from bert_textclassification.training.settings.notebook_parameters import NotebookParameters
from tests.conftest import ROOT, SHIPPED_DATA


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["epoch=3"], "no setting 'epoch', did you mean 'epochs'"),
        (["epochs=0"], "epochs=0: Input should be greater than 0"),
        (["benchmark_text=5"], "did you mean 'benchmark_texts'"),
        (["epochs"], "write name=value"),
        (["epochs=2", "epochs=3"], "epochs is given twice"),
        (["data=other.csv"], "data is not a setting; give it as --data"),
        (["run_dir=other"], "run_dir is not a setting; give it as --name"),
        (["drop_issues=[repeat"], "drop_issues='[repeat' cannot be read"),
        (["requests=many"], "requests='many': Input should be a valid integer"),
        (["rounds=0"], "rounds=0: Input should be greater than or equal to 1"),
        (["utilisation=60"], "utilisation=60: Input should be less than 1"),
        (["requests_per_day=-1"], "requests_per_day=-1: Input should be greater than 0"),
        (["prices=nowhere.yaml"], "nowhere.yaml cannot be read"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_runs(arguments, says, capsys, tmp_path):
    assert cli.main(["notebooks", "--name", "x", "--data", "nowhere.csv", *arguments]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_image_to_serve_with_is_refused_where_no_docker_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["notebooks", "--data", "nowhere.csv", "serve_with=container/sreve"]) == 1
    assert "serve_with='container/sreve' is not a file, and there is no docker command" in capsys.readouterr().err


def test_steps_in_the_wrong_order_are_refused(capsys):
    assert cli.main(["notebooks", "--first", "3", "--last", "2"]) == 1
    assert "--first 3 comes after --last 2" in capsys.readouterr().err


@pytest.mark.parametrize("label", ["yes", "0", "1.50", "null", "2024-01-01", "a: b", "@home"])
def test_a_setting_that_is_a_text_is_taken_as_it_is_written(label):
    given = parse_settings([f"positive_label={label}", f"label_column={label}"])
    assert given == {"positive_label": label, "label_column": label}
    assert TrainingConfig.of({"data": "d"} | given).positive_label == label


def test_other_settings_and_parameters_of_notebooks_have_the_type_they_are_written_in():
    pairs = [
        "epochs=2",
        "dropout=0.2",
        "drop_issues=[repeat]",
        "class_weights=none",
        "requests=9",
        "serve_with=x",
        "flag=yes",
    ]
    assert parse_settings([*pairs, "learning_rate=1e-4", "seed=010", "target=1"]) == {
        "epochs": 2,
        "dropout": 0.2,
        "drop_issues": ["repeat"],
        "class_weights": "none",
        "requests": 9,
        "serve_with": "x",
        "flag": True,
        "learning_rate": 0.0001,
        "seed": 10,
        "target": "1",
    }


def test_away_from_the_repository_it_says_where_to_run_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "_SOURCES", tmp_path / "notebooks")
    assert cli.main(["notebooks", "--name", "x", "--data", "nowhere.csv"]) == 1
    assert "run this in a clone of the repository" in capsys.readouterr().err


@pytest.mark.parametrize("written", ["precision>=0.95", "recall>=.9", "cost"])
def test_an_objective_of_the_threshold_arrives_whole(written):
    given = parse_settings([f"threshold_objective={written}"])
    assert TrainingConfig.of({"data": "d"} | given).threshold_objective == written


def test_parameters_of_the_notebooks_have_the_type_of_their_default():
    given = parse_settings(["requests_per_day=1e9", "load_seconds=1", "threads=2"])
    values = pipeline.notebook_values("d", given)
    assert (values["requests_per_day"], values["load_seconds"], values["threads"]) == (1e9, 1.0, 2)


def test_every_parameter_of_a_notebook_is_known_with_its_default():
    known = {name: field.default for name, field in NotebookParameters.model_fields.items()}
    found = {}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        parameters = papermill.inspect_notebook(str(path)).items()
        found |= {name: ast.literal_eval(one["default"]) for name, one in parameters}
    own = {name: value for name, value in found.items() if name not in {*TrainingConfig.model_fields, "run_dir"}}
    del own["settings"]
    assert own == known
    training = {name: value for name, value in found.items() if name in TrainingConfig.model_fields}
    assert TrainingConfig.of(training | {"data": "d"}) == TrainingConfig(data="d")


def test_paths_are_relative_to_where_the_user_stands(tmp_path):
    (tmp_path / "models/mybert").mkdir(parents=True)
    (tmp_path / "mine.csv").touch()
    (tmp_path / "prices.yaml").write_text((ROOT / "ops/config/prices.yaml").read_text())
    given = {"base_model": "models/mybert", "prices": "prices.yaml", "behavioral_tests": "tests.yaml"}
    values = pipeline.notebook_values("mine.csv", given)
    assert values["base_model"] == str(tmp_path / "models/mybert")
    assert (values["data"], values["prices"]) == (str(tmp_path / "mine.csv"), str(tmp_path / "prices.yaml"))
    assert values["behavioral_tests"] == str(tmp_path / "tests.yaml")
    assert values["serve_with"] == str(ROOT / "container/serve")


@pytest.mark.slow
def test_a_failed_stage_stops_the_run_and_leaves_the_annotated_notebook(tmp_path, capsys):
    data = tmp_path / "reviews.csv"
    data.write_text("text,label\nfine,good\n,bad\n")
    assert (
        cli.main(
            ["notebooks", "--name", "x", "--data", "reviews.csv", "--last", "3", "threshold_objective=precision>=0.9"]
        )
        == 1
    )
    captured = capsys.readouterr()
    assert "reviews.csv line 3: the text is empty" in captured.err
    assert "The executed copy is runs/x/01_exploration.ipynb." in captured.err
    again = ["notebooks", "--name", "x", "--data", "reviews.csv", "--first", "1", "--last", "3"]
    assert shlex.split(captured.err.splitlines()[-1])[1:] == [*again, "threshold_objective=precision>=0.9"]
    assert captured.out == ""
    annotated = json.loads((tmp_path / "runs/x/01_exploration.ipynb").read_text())
    assert "An Exception was encountered" in json.dumps(annotated)
    assert not (tmp_path / "runs/x/02_fine_tuning.ipynb").exists()


@pytest.mark.slow
def test_the_command_that_goes_on_goes_on(tmp_path, capsys):
    data = tmp_path / "my reviews.csv"
    data.write_text("text,label\nfine,good\n,bad\n")
    cli.main(["notebooks", "--data", "my reviews.csv", "text_column=the text"])
    again = capsys.readouterr().err.splitlines()[-1]
    done = subprocess.run(["bash", "-c", again], capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, again)


def test_an_interruption_says_how_to_go_on(tiny_data):
    given = ["notebooks", "--name", "x", "--data", str(tiny_data)]
    command = [sys.executable, "-m", "bert_textclassification", *given]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell has a job in the background ignore it
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    while "== 1 of 4" not in (line := run.stderr.readline()):
        assert line, "the run ended before its first notebook"
    run.send_signal(signal.SIGINT)
    out, err = run.communicate()
    assert (run.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "01_exploration was interrupted; resume with:" in err
    assert shlex.split(err.splitlines()[-1])[1:] == [*given, "--first", "1"]


def test_settings_reach_the_notebooks_that_declare_them():
    declared = {"run_dir", "data", "epochs", "settings"}
    values = {"run_dir": "r", "data": "d", "epochs": 2, "dropout": 0.2, "requests": 9}
    passed = pipeline._parameters(declared, values)
    assert passed == {"run_dir": "r", "data": "d", "epochs": 2, "settings": {"dropout": 0.2}}


@pytest.mark.slow
def test_a_run_of_the_first_stages_ends_with_their_summary(tiny_base, tiny_data, capsys):
    settings = ["epochs=1", "learning_rate=5e-3", "batch_size=16", "precision=fp32", "exit_layers=none"]
    asked = ["--name", "x", "--data", str(tiny_data), f"base_model={os.path.relpath(tiny_base)}", *settings]
    assert cli.main(["notebooks", *asked, "--last", "2"]) == 0
    *table, line = capsys.readouterr().out.splitlines()
    results = RunFolder(Path("runs/x")).results()
    accuracy = results["fine_tuning"]["test"]["accuracy"]["value"]
    assert json.loads(line) == {"train_rows": 160, "test_rows": 60, "accuracy_fp32": round(accuracy, 4)}
    assert f"{100 * accuracy:.2f}" in "\n".join(table)
    assert "TF-IDF" in "\n".join(table)
    assert results["fine_tuning"]["facts"]["base_model"]["name"] == tiny_base.name
    assert str(tiny_base) not in json.dumps(results)


@pytest.fixture
def trained(tmp_path, tiny_data):
    """A run whose fine-tuned model was made with these settings."""
    config = TrainingConfig.of({"data": str(tiny_data), "epochs": 1, "max_length": 128})
    folder = tmp_path / "runs/x/fine_tuned"
    folder.mkdir(parents=True)
    write_record(folder, config, [], {})
    return config


@pytest.mark.parametrize("first", ["3", "4"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["threshold_objective=precision>=0.95"],
            "threshold_objective is 'precision>=0.95', but the fine-tuned",
        ),
        (["epochs=2"], "epochs is 2.0, but the fine-tuned model has 1.0; use --first 2 to fine-tune again."),
        (["epochs=1", "positive_label=spam"], "positive_label is 'spam', but the fine-tuned model has None"),
        (["--data", str(SHIPPED_DATA)], f"data is {str(SHIPPED_DATA)!r}, but the fine-tuned model has"),
    ],
)
def test_a_setting_that_would_change_nothing_is_refused(trained, first, arguments, says, capsys):
    assert cli.main(["notebooks", "--name", "x", "--first", first, *arguments]) == 1
    assert says in capsys.readouterr().err


def test_the_same_settings_may_be_given_again(trained, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(pipeline, "run_notebook", lambda number, values, run: ran.append((number, values["data"])))
    asked = ["epochs=1", "max_length=128", "requests=9"]
    assert cli.main(["notebooks", "--name", "x", "--first", "3", "--last", "3", *asked]) == 0
    assert ran == [(3, trained.data)]
    assert cli.main(["notebooks", "--name", "x", "--first", "3", "--last", "3", "--data", trained.data, *asked]) == 0


def test_data_that_are_not_there_are_refused_before_anything_runs(capsys, tmp_path):
    assert cli.main(["notebooks", "--name", "x", "--data", "nowhere.csv"]) == 1
    assert "There is no file or folder" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
