"""Interruptions: a stopped, killed or damaged fine-tuning resumes and ends like an uninterrupted one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import TrainerCallback

from bert_textclassification.training.fine_tuning import preemption
from bert_textclassification.training.fine_tuning import run as fine_tuning
from bert_textclassification.training.fine_tuning.checkpoints import COMPLETE, Checkpoints, is_complete, mark_complete
from bert_textclassification.training.fine_tuning.run import fine_tune, made_from
from bert_textclassification.training.modeling.base_models import find_base_model
from tests.conftest import PATIENCE_S, ROOT, wait_until
from tests.training.conftest import TINY, has_checkpoint, run_job

pytestmark = pytest.mark.slow

STOPPED_AT = 47  # of 60 steps; in the middle of an epoch, between two evaluations


class Killed(Exception):
    """Simulates the end of a process."""


def lose(*arguments):
    """Simulates work in progress when the process is lost."""
    raise Killed


class KillAt(TrainerCallback):
    """Ends the training after a step, like a lost process."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Killed


@pytest.fixture(scope="module")
def config(tiny_config):
    """Dropout and two evaluations per epoch, so that there is state that an interruption could lose."""
    return tiny_config.model_copy(update={"evaluations_per_epoch": 2, "epochs": 6, "learning_rate": 1e-3})


@pytest.fixture(scope="module")
def uninterrupted(config, tiny_splits, tmp_path_factory):
    return fine_tune(config, tiny_splits, tmp_path_factory.mktemp("uninterrupted"))


def interrupted(config, splits, root, step=STOPPED_AT):
    with pytest.raises(Killed):
        fine_tune(config, splits, root / "model", checkpoints=root / "checkpoints", callbacks=[KillAt(step)])


def resumed(config, splits, root):
    return fine_tune(config, splits, root / "model", checkpoints=root / "checkpoints")


def curve(fine_tuned, name):
    return {row["step"]: row[name] for row in fine_tuned.history if name in row}


def same(first, second):
    weights, others = (load_file(model.folder / "model.safetensors") for model in (first, second))
    return all(np.allclose(weights[name], others[name], atol=1e-6) for name in weights)


def test_a_killed_run_resumes_from_its_checkpoint_and_ends_like_an_uninterrupted_one(
    config, tiny_splits, uninterrupted, tmp_path
):
    interrupted(config, tiny_splits, tmp_path)
    seen = []
    model = fine_tune(
        config, tiny_splits, tmp_path / "model", checkpoints=tmp_path / "checkpoints", callbacks=[Steps(seen)]
    )
    assert 40 < seen[0] <= STOPPED_AT  # not from the beginning
    assert curve(model, "eval_loss") == pytest.approx(curve(uninterrupted, "eval_loss"), abs=1e-5)
    assert same(model, uninterrupted)
    assert model.facts["best_step"] == uninterrupted.facts["best_step"]


class AskAfter(TrainerCallback):
    """Requests a stop after a step like SIGTERM, before its evaluation, in every start; records evaluations."""

    def __init__(self, step):
        self.step, self.evaluated = step, []

    def on_step_end(self, args, state, control, **kwargs):
        preemption._request.requested = state.global_step == self.step

    on_train_begin = on_step_end

    def on_evaluate(self, args, state, control, **kwargs):
        self.evaluated.append(state.global_step)


@pytest.mark.parametrize("step", ["best", 45, 60])
def test_sigterm_stops_an_evaluation_and_the_next_start_repeats_it(
    config, tiny_splits, uninterrupted, tmp_path, monkeypatch, step
):
    step = uninterrupted.facts["best_step"] if step == "best" else step
    first, second = AskAfter(step), AskAfter(None)
    for _ in range(2):  # the second start is stopped in the repeated evaluation
        monkeypatch.setattr(preemption, "_request", preemption._StopRequest())
        with pytest.raises(SystemExit):
            fine_tune(config, tiny_splits, tmp_path / "model", checkpoints=tmp_path / "checkpoints", callbacks=[first])
    monkeypatch.setattr(preemption, "_request", preemption._StopRequest())
    model = fine_tune(config, tiny_splits, tmp_path / "model", checkpoints=tmp_path / "checkpoints", callbacks=[second])
    assert first.evaluated == list(range(5, step, 5))
    assert second.evaluated == list(range(step, 61, 5))
    assert curve(model, "eval_loss") == pytest.approx(curve(uninterrupted, "eval_loss"), abs=1e-5)
    assert model.facts["best_step"] == uninterrupted.facts["best_step"]
    assert same(model, uninterrupted)


class Steps(TrainerCallback):
    """Records the steps."""

    def __init__(self, seen):
        self.seen = seen

    def on_step_end(self, args, state, control, **kwargs):
        self.seen.append(state.global_step)


@pytest.fixture(scope="module")
def stuck(tiny_config):
    """A run without improvement: the third evaluation, after step 30, is the last."""
    return tiny_config.model_copy(update={"learning_rate": 1e-9, "epochs": 50, "early_stopping_patience": 2})


def test_an_interruption_between_two_evaluations_does_not_postpone_early_stopping(stuck, tiny_splits, tmp_path):
    interrupted(stuck, tiny_splits, tmp_path, step=25)
    assert resumed(stuck, tiny_splits, tmp_path).facts["steps"] == 30


def test_a_run_lost_after_early_stopping_is_not_trained_further(stuck, tiny_splits, tmp_path, monkeypatch):
    seen = []
    with monkeypatch.context() as lost:
        lost.setattr(fine_tuning, "save_classifier", lose)
        with pytest.raises(Killed):
            resumed(stuck, tiny_splits, tmp_path)
    model = fine_tune(
        stuck, tiny_splits, tmp_path / "model", checkpoints=tmp_path / "checkpoints", callbacks=[Steps(seen)]
    )
    assert seen == []
    assert model.facts["steps"] == 30
    assert model.facts["best_step"] in (10, 20, 30)  # they are equal within noise


def only_folder(root):
    (folder,) = (root / "checkpoints").iterdir()
    return folder


@pytest.mark.parametrize("damage", ["unmarked", "cut off", "lost"])
def test_a_half_written_checkpoint_is_skipped(config, tiny_splits, uninterrupted, tmp_path, damage):
    interrupted(config, tiny_splits, tmp_path)
    last = max(only_folder(tmp_path).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    if damage == "unmarked":
        (last / COMPLETE).unlink()
    elif damage == "lost":
        (last / "optimizer.pt").unlink()
    else:
        (last / "model.safetensors").write_bytes((last / "model.safetensors").read_bytes()[:1000])
    assert same(resumed(config, tiny_splits, tmp_path), uninterrupted)


def test_without_a_usable_checkpoint_training_starts_again(config, tiny_splits, uninterrupted, tmp_path):
    interrupted(config, tiny_splits, tmp_path)
    *earlier, last = sorted(only_folder(tmp_path).iterdir(), key=lambda path: int(path.name.split("-")[1]))
    for path in earlier:
        shutil.rmtree(path)
    state = json.loads((last / "trainer_state.json").read_text())
    (last / "trainer_state.json").write_text(json.dumps(state | {"best_global_step": 1}))  # which does not exist
    mark_complete(last)
    assert same(resumed(config, tiny_splits, tmp_path), uninterrupted)


def test_other_settings_or_data_never_resume_this_run(config, tiny_splits, tmp_path):
    interrupted(config, tiny_splits, tmp_path)
    other = config.model_copy(update={"learning_rate": 2e-3, "epochs": 1.0})
    seen = []
    fine_tune(other, tiny_splits, tmp_path / "model", checkpoints=tmp_path / "checkpoints", callbacks=[Steps(seen)])
    assert seen[0] == 1
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_a_finished_run_is_not_trained_again(config, tiny_splits, tmp_path):
    short = config.model_copy(update={"epochs": 0.5})
    first = resumed(short, tiny_splits, tmp_path)
    shutil.rmtree(tmp_path / "model")
    decided = short.model_copy(update={"threshold_objective": "f1"})
    again = fine_tune(
        decided, tiny_splits, tmp_path / "model", checkpoints=tmp_path / "checkpoints", callbacks=[KillAt(1)]
    )
    assert again.facts == first.facts
    assert again.config.threshold_objective == "f1"
    assert not list(only_folder(tmp_path).glob("checkpoint-*"))


def identity_of(config, splits):
    base = find_base_model(config.base_model)
    return made_from(base.classifier(0.1, config.exit_layers), base, config, splits)


def test_settings_of_later_stages_do_not_restart_training(config, tiny_splits):
    for later in (
        {"threshold_objective": "f1"},
        {"review_cost": 0.1},
        {"student_layers": 1},
        {"behavioral_tests": "a.yaml"},
    ):
        assert identity_of(config.model_copy(update=later), tiny_splits) == identity_of(config, tiny_splits)
    assert identity_of(config.model_copy(update={"epochs": 7}), tiny_splits) != identity_of(config, tiny_splits)


def test_a_checkpoint_whose_best_is_lost_is_not_resumed(config, tiny_splits, tmp_path):
    interrupted(config, tiny_splits, tmp_path)
    checkpoints = Checkpoints.of(tmp_path / "checkpoints", identity_of(config, tiny_splits))
    best = json.loads((checkpoints.latest() / "trainer_state.json").read_text())["best_global_step"]
    shutil.rmtree(checkpoints.folder / f"checkpoint-{best}")
    assert checkpoints.latest() is None or checkpoints.latest().name != f"checkpoint-{STOPPED_AT}"


def test_a_folder_is_complete_when_all_its_files_are_there(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "file").write_text("content")
    assert not is_complete(folder)
    mark_complete(folder)
    assert is_complete(folder)
    (folder / "file").write_text("conten")
    assert not is_complete(folder)


def checkpoint(root, step, best):
    folder = root / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))
    mark_complete(folder)
    return folder


def test_when_the_last_checkpoint_is_damaged_the_one_before_has_its_best(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step, best in ((5, 5), (10, 10), (15, 10), (20, 10), (25, 25)):
        last = checkpoint(tmp_path, step, best)
        checkpoints.prune()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-20", "checkpoint-25"]
    (last / COMPLETE).unlink()
    assert checkpoints.latest() == tmp_path / "checkpoint-20"


def test_unusable_checkpoints_are_deleted(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoint(tmp_path, 5, best=5)
    checkpoint(tmp_path, 40, best=30)  # which does not exist
    assert checkpoints.latest() == tmp_path / "checkpoint-5"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]


def test_other_files_with_a_similar_name_are_ignored(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for name in ("checkpoint-20", "checkpoint-abc", "checkpoint-", "checkpoint-\N{SUPERSCRIPT TWO}"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text("{}")
        mark_complete(tmp_path / name)
    for name in ("checkpoint-200.complete.json", "checkpoint-300"):
        (tmp_path / name).write_text("{}")
    assert checkpoints.latest() == tmp_path / "checkpoint-20"


def test_a_process_lost_while_it_marks_a_folder_leaves_nothing_beside_it(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint-20"
    folder.mkdir()
    with monkeypatch.context() as lost:
        lost.setattr(Path, "replace", lose)
        with pytest.raises(Killed):
            mark_complete(folder)
    assert list(tmp_path.iterdir()) == [folder]
    assert not is_complete(folder)
    mark_complete(folder)
    assert is_complete(folder)


# -- the job, as a process


def start_job(base, hyperparameters):
    (base / "input/config/hyperparameters.json").write_text(json.dumps(hyperparameters))
    return subprocess.Popen(
        [sys.executable, ROOT / "container/train"],
        env=os.environ | {"SAGEMAKER_BASE_DIR": str(base), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


LONG = {**TINY, "epochs": "15", "early_stopping_patience": "100", "learning_rate": "0.0001", "exit_layers": "none"}


@pytest.fixture(scope="module")
def hyperparameters(tiny_base):
    return {**LONG, "base_model": str(tiny_base)}


def test_sigterm_writes_a_checkpoint_and_the_next_start_ends_the_same(base_dir, hyperparameters, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(base_dir / "input", whole / "input")
    job = start_job(base_dir, hyperparameters)
    wait_until(lambda: has_checkpoint(base_dir), job)
    job.send_signal(signal.SIGTERM)
    _, errors = job.communicate(timeout=PATIENCE_S)
    assert job.returncode == 0, errors
    assert "stopped by SIGTERM" in errors
    assert "Traceback" not in errors
    assert not (base_dir / "model/manifest.json").exists()
    assert not (base_dir / "output/failure").exists()
    for base in (base_dir, whole):
        done = run_job(base, hyperparameters)
        assert done.returncode == 0, done.stderr
    records = [json.loads((base / "output/data/fine_tuned/training.json").read_text()) for base in (base_dir, whole)]
    first, second = (
        {row["step"]: row["eval_loss"] for row in record["history"] if "eval_loss" in row} for record in records
    )
    assert first == pytest.approx(second, abs=1e-5)


def test_sigterm_before_training_ends_the_job_immediately(base_dir, hyperparameters):
    job = start_job(base_dir, hyperparameters)
    time.sleep(1)  # any time before the first checkpoint, 15 epochs before the end
    job.send_signal(signal.SIGTERM)
    _, errors = job.communicate(timeout=PATIENCE_S)
    assert job.returncode in (0, -signal.SIGTERM), errors  # -SIGTERM while Python starts
    assert "Traceback" not in errors


def test_a_killed_job_resumes(base_dir, hyperparameters):
    job = start_job(base_dir, hyperparameters)
    wait_until(lambda: has_checkpoint(base_dir), job)
    job.kill()
    job.communicate()
    done = run_job(base_dir, hyperparameters)
    assert done.returncode == 0, done.stderr
    assert (base_dir / "model/manifest.json").exists()
