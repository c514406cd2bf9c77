"""The command line: commands, their output, and their errors."""

import json
import signal
import subprocess
import sys

import pytest

from bert_textclassification import Predictor, __version__, cli
from tests.conftest import PATIENCE_S, SHIPPED_DATA

COMMANDS = (
    ["train"], ["evaluate"], ["predict"], ["serve"], ["export"], ["notebooks"], ["search"], ["capacity"],
    ["benchmark", "ladder"], ["benchmark", "load"], ["benchmark", "training"],
)  # fmt: skip
LIFT = "the lift is stuck with my mother inside"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_shows_an_example(command, capsys):
    assert cli.main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert f"bert-textclassification {' '.join(command)}" in " ".join(shown.split())


def test_every_command_is_tested():
    commands = {name for name in cli.cli.commands if name != "benchmark"}
    assert commands | {f"benchmark {name}" for name in cli.benchmark.commands} == {" ".join(each) for each in COMMANDS}


def test_the_version_is_that_of_the_package(capsys):
    assert cli.main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], "No such command 'trian'"),
        (["train"], "Missing option '--data'"),
        (["search"], "Missing option '--data'"),
        (["serve", "--port", "80800"], "80800 is not in the range"),
        (["predict", "nowhere.txt"], "'nowhere.txt' does not exist"),
        (["predict", "--threshold", "high"], "'high' is not a valid float"),
        (["notebooks", "--first", "5"], "5 is not in the range"),
    ],
)
def test_a_wrong_option_is_exit_status_2(arguments, says, capsys):
    assert cli.main(arguments) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "--data", "nowhere.csv"], "There is no file or folder nowhere.csv"),
        (["train", "--data", "nowhere.csv", "epoch=3"], "'epoch'"),
        (["train", "--data", "nowhere.csv", "epochs"], "'epochs' is not a setting; write name=value."),
        (["evaluate", "--model", "nowhere", "--data", "nowhere.csv"], "There is no model folder nowhere"),
        (["export", "--name", "nobody"], "has no fine-tuned model"),
        (["capacity", "--model", "nowhere", "--data", "x.csv", "--utilisation", "60"], "utilisation=60"),
        (["benchmark", "load", "--model", "nowhere", "--data", "x.csv"], "There is no model folder nowhere"),
    ],
)
def test_an_error_is_one_sentence_and_exit_status_1(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 1
    shown = capsys.readouterr()
    assert says in shown.err.splitlines()[-1]
    assert shown.out == ""


def run(*arguments: str, **given) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "bert_textclassification", *arguments]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, **given)


def test_standard_input_is_one_text_a_line(tiny_artifact):
    done = run("predict", "--model", str(tiny_artifact.folder), input=f"{LIFT}\nthank you\n".encode())
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    expected = Predictor.load(tiny_artifact.folder).predict([LIFT, "thank you"])
    assert [(label, float(score)) for label, score in lines] == [
        (prediction.label, prediction.score) for prediction in expected
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("messages.csv", f'id,text\n1,"{LIFT}"\n2,"thank you, all"\n'),
        ("messages.jsonl", json.dumps(LIFT) + "\n" + json.dumps({"text": "thank you, all"}) + "\n"),
        ("messages.json", json.dumps({"instances": [LIFT, "thank you, all"]})),
        ("messages.txt", f"{LIFT}\nthank you, all\n"),
        ("messages", f"\ufeff{LIFT}\r\nthank you, all"),
    ],
)
def test_a_file_is_read_by_its_suffix_and_answered_in_its_format(tiny_artifact, tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    column = ["--column", "text"] if name.endswith(".csv") else []
    done = run("predict", "--model", str(tiny_artifact.folder), str(path), *column)
    assert (done.returncode, done.stderr) == (0, b"")
    expected = Predictor.load(tiny_artifact.folder).predict([LIFT, "thank you, all"])
    replies = {
        ".csv": lambda text: [line.split(",")[0] for line in text.splitlines()],
        ".jsonl": lambda text: [json.loads(line)["label"] for line in text.splitlines()],
        ".json": lambda text: [prediction["label"] for prediction in json.loads(text)["predictions"]],
    }
    labels = replies.get(path.suffix, lambda text: [line.split("\t")[0] for line in text.splitlines()])
    assert labels(done.stdout.decode()) == [prediction.label for prediction in expected]


def test_an_invalid_record_gets_an_error_line(tiny_artifact, tmp_path):
    path = tmp_path / "messages.jsonl"
    path.write_text('"one"\n17\n"three"\n')
    done = run("predict", "--model", str(tiny_artifact.folder), str(path))
    assert done.returncode == 1
    assert done.stderr.decode() == "1 records were rejected; each has an error line.\n"
    assert ["error" in json.loads(line) for line in done.stdout.splitlines()] == [False, True, False]


def test_the_threshold_is_the_callers(tiny_artifact):
    folder = str(tiny_artifact.folder)
    labels = {run("predict", "--model", folder, "--threshold", t, input=b"one\n").stdout for t in ("0.001", "0.999")}
    assert len(labels) == 2


def test_a_model_is_evaluated_as_it_is_served(tiny_artifact, tiny_data, capsys):
    given = ["--model", str(tiny_artifact.folder), "--data", str(tiny_data)]
    assert cli.main(["evaluate", *given]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    variant = tiny_artifact.manifest.variants[tiny_artifact.manifest.default_variant]
    assert record["rows"] == 60
    assert record["metrics"]["average_precision"]["value"] == pytest.approx(variant.average_precision["test"])
    assert record["log_loss"] == pytest.approx(variant.log_loss["test"], abs=1e-6)
    assert record["metrics"]["accuracy"]["low"] <= record["metrics"]["accuracy"]["value"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("text,label\nfine,good\n", "line 2: the label 'good' is not a label of the model"),
        ("text,label\nfine,routine\n", "has no row labelled 'escalate'"),
    ],
)
def test_other_labels_than_the_models_are_refused(tiny_artifact, tmp_path, capsys, content, says):
    path = tmp_path / "other.csv"
    path.write_text(content)
    assert cli.main(["evaluate", "--model", str(tiny_artifact.folder), "--data", str(path)]) == 1
    assert says in capsys.readouterr().err


@pytest.fixture
def settings(tiny_base) -> list[str]:
    return [f"base_model={tiny_base}", "epochs=2", "batch_size=16", "max_length=64", "precision=fp32"]


@pytest.mark.slow
def test_train_makes_an_artifact_that_predicts_and_export_makes_it_again(
    settings, tiny_data, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--data", str(tiny_data), *settings]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert first["model_dir"] == str(tmp_path / "runs/mine/model")
    assert not (tmp_path / "runs/mine/checkpoints").exists()
    assert cli.main(["export"]) == 0
    second = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert second["test_accuracy"] == first["test_accuracy"]
    assert Predictor.load("runs/mine/model").predict([LIFT])[0].label in ("routine", "escalate")


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_and_the_printed_command_resumes(settings, tiny_data, tmp_path):
    long = [*settings, "epochs=40", "early_stopping_patience=100", "exit_layers=none"]
    long.remove("epochs=2")
    command = [sys.executable, "-m", "bert_textclassification", "train", "--data", str(tiny_data), *long]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stderr:
        if "loss=" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 130, rest
    assert "Training was interrupted; resume it with:" in rest
    assert list((tmp_path / "runs/mine/checkpoints").rglob("checkpoint-*"))
    again = rest.splitlines()[-1]
    done = subprocess.run(["bash", "-c", again], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["model_dir"] == str(tmp_path / "runs/mine/model")


@pytest.mark.slow
def test_capacity_is_planned_from_a_measurement(tiny_artifact, capsys):
    given = ["--model", str(tiny_artifact.folder), "--data", str(SHIPPED_DATA), "--seconds", "0.3"]
    assert cli.main(["capacity", *given, "--requests-per-day", "1000000"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["requests_per_day"] == 1e6
    assert all(row["instances"] >= 1 for row in record["plan"].values())
