"""The training job under SageMaker's contract, run as the platform runs it: `container/train` as a process."""

import json
import re

import pandas as pd
import pytest

from bert_textclassification import Predictor
from tests.training.conftest import TINY, run_job


def test_a_job_writes_an_artifact_that_answers(base_dir, tiny_base):
    done = run_job(base_dir, {**TINY, "base_model": str(tiny_base), "_tuning_objective_metric": "x"})
    assert done.returncode == 0, done.stderr
    (prediction,) = Predictor.load(base_dir / "model").predict(["the gas hob will not turn off"])
    assert prediction.label in ("escalate", "routine")
    assert not (base_dir / "output/failure").exists()
    assert (base_dir / "output/data/fine_tuned/model.safetensors").exists()


@pytest.mark.slow
def test_a_job_as_the_sagemaker_sdk_starts_it_by_default(base_dir, tiny_base):
    channels = base_dir / "input/data"
    for split in ("train", "validation", "test"):
        (channels / "training" / split).mkdir(parents=True)
        (channels / split / "part-0.csv").rename(channels / "training" / split / "part-0.csv")
        (channels / split).rmdir()
    (channels / "training-manifest").write_text("[]")
    added = {"sagemaker_program": '"train.py"', "sagemaker_region": '"eu-central-1"', "sagemaker_job_name": '"a"'}
    done = run_job(base_dir, {**TINY, "base_model": str(tiny_base), **added})
    assert done.returncode == 0, done.stderr
    positive, unread = done.stdout.splitlines()[:2]
    assert re.match(
        r"Positive label: '\w+', negative: '\w+' \(the names do not tell: the rarer one in train; ", positive
    )
    assert unread == "Not read as labelled texts: training-manifest."


@pytest.mark.slow
def test_metrics_are_one_a_line_for_regular_expressions(base_dir, tiny_base):
    done = run_job(base_dir, {**TINY, "base_model": str(tiny_base)})
    metrics = dict(re.findall(r"^(\w+)=([0-9.]+)$", done.stdout, re.MULTILINE))
    manifest = json.loads((base_dir / "model/manifest.json").read_text())
    assert float(metrics["validation_f1"]) == pytest.approx(manifest["metrics"]["validation"]["f1"]["value"], abs=1e-6)
    assert {"validation_accuracy", "test_accuracy", "test_roc_auc"} <= set(metrics)


@pytest.mark.slow
def test_findings_are_warned_of_and_left_with_their_rows(base_dir, tiny_base):
    with (base_dir / "input/data/train/part-0.csv").open("a") as file:
        file.write("smoke &amp; sparks,escalate\n")
    done = run_job(base_dir, {**TINY, "base_model": str(tiny_base), "drop_issues": '["repeat", "html"]'})
    warning = "warning: html (1 found, 1 dropped from train): Texts hold HTML"
    assert done.stdout.count(warning) == 1
    assert done.stdout.index("The selection metric is accuracy: the rarer label") < done.stdout.index(warning)
    assert done.stdout.index(warning) < done.stdout.index("eval_loss=")
    rows = pd.read_csv(base_dir / "output/data/findings.csv").set_index("kind")
    assert rows.loc["html", ["text", "note"]].tolist() == ["smoke &amp; sparks", "&amp;"]
    findings = json.loads((base_dir / "model/manifest.json").read_text())["findings"]
    assert {"html": 1}.items() <= {finding["kind"]: finding["dropped"] for finding in findings}.items()


@pytest.mark.slow
def test_wrong_settings_are_all_in_the_failure_file(base_dir):
    done = run_job(base_dir, {"epoch": "3", "batch_size": "none"})
    failure = (base_dir / "output/failure").read_text()
    assert done.returncode == 1
    assert "there is no 'epoch', did you mean 'epochs'" in failure
    assert "batch_size='none'" in failure
    assert len(failure) <= 1024


@pytest.mark.slow
def test_bad_data_is_named_by_file_and_line_in_the_failure_file(base_dir):
    (base_dir / "input/data/train/part-1.csv").write_text("text,label\nall good,routine\n  ,routine\n")
    done = run_job(base_dir, {})
    assert done.returncode == 1
    assert "part-1.csv line 3: the text is empty" in (base_dir / "output/failure").read_text()
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_internal_error_is_told_apart_from_the_users(base_dir, tiny_base):
    (base_dir / "model").write_text("a file where the folder should be")
    done = run_job(base_dir, {**TINY, "base_model": str(tiny_base)})
    assert done.returncode == 1
    assert (base_dir / "output/failure").read_text().startswith("Internal error, see the log: FileExistsError")
    assert "Traceback" in done.stderr
