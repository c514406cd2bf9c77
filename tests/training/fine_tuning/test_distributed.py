"""Several hosts: the process group, training equal to one host, common checkpoints, and lost hosts."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pandas as pd
import pytest

from bert_textclassification.errors import ConfigurationError, HostError
from bert_textclassification.training.fine_tuning import distributed, trainer
from bert_textclassification.training.fine_tuning.distributed import Hosts, wait_for_address
from bert_textclassification.training.modeling.base_models import find_base_model
from tests.conftest import PATIENCE_S, ROOT, wait_until
from tests.training.conftest import TINY, has_checkpoint, run_job

NAMES = ["127.0.0.1", "127.0.0.2"]  # two addresses of this machine


@pytest.fixture
def bases(base_dir, tmp_path):
    """The folders of two hosts, with the same data."""
    folders = [tmp_path / f"host-{number}" for number in (1, 2)]
    for base, name in zip(folders, NAMES, strict=True):
        shutil.copytree(base_dir / "input", base / "input")
        config = {"current_host": name, "hosts": NAMES, "network_interface_name": "eth9"}
        (base / "input/config/resourceconfig.json").write_text(json.dumps(config))
    return folders


@pytest.fixture(scope="module")
def hyperparameters(tiny_base):
    calm = {"dropout": "0", "epochs": "4", "learning_rate": "0.0001", "exit_layers": "none"}
    return {**TINY, **calm, "base_model": str(tiny_base)}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def start(base, hyperparameters, port, before=""):
    (base / "input/config/hyperparameters.json").write_text(json.dumps(hyperparameters))
    code = f"""
import sys
from bert_textclassification.training import pipeline
from bert_textclassification.training.fine_tuning import distributed
from bert_textclassification.training.sagemaker import job
distributed.PORT, distributed.LOST_AFTER_S = {port}, {PATIENCE_S}
{before}
sys.exit(job.main())
"""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"SAGEMAKER_BASE_DIR": str(base), "OMP_NUM_THREADS": "1"},
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def start_both(bases, hyperparameters, *before):
    """Start the job of each host; `before` is code that it runs first."""
    port = free_port()
    return [start(base, hyperparameters, port, code) for base, code in zip(bases, before or ("", ""), strict=True)]


def losses(base):
    record = json.loads((base / "output/data/fine_tuned/training.json").read_text())
    return [row["eval_loss"] for row in record["history"] if "eval_loss" in row]


@pytest.mark.slow
def test_two_hosts_train_like_one_and_the_first_writes_the_model(bases, base_dir, hyperparameters):
    jobs = start_both(bases, hyperparameters)
    outputs = [job.communicate(timeout=PATIENCE_S) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    assert (bases[0] / "model/manifest.json").exists()
    assert not (bases[1] / "model").exists()
    assert "test_accuracy=" in outputs[0][0]
    assert "=" not in outputs[1][0]
    assert run_job(base_dir, hyperparameters).returncode == 0
    assert losses(bases[0]) == pytest.approx(losses(base_dir), rel=0.1)


@pytest.mark.slow
def test_the_other_hosts_have_ended_while_the_first_audits(bases, hyperparameters, tmp_path):
    ended = tmp_path / "ended"
    patient = f"""
import pathlib, time
audit = pipeline.audit
def after_the_others(*given):
    while not pathlib.Path({str(ended)!r}).exists():
        time.sleep(0.1)
    return audit(*given)
pipeline.audit = after_the_others
"""
    first, second = start_both(bases, {**hyperparameters, "epochs": "1"}, patient, patient)
    try:
        outputs = second.communicate(timeout=PATIENCE_S)
    finally:
        ended.touch()
    outputs += first.communicate(timeout=PATIENCE_S)
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert (bases[0] / "output/data/findings.csv").exists()


@pytest.mark.slow
def test_a_lost_host_ends_the_job_with_a_clear_failure(bases, hyperparameters):
    jobs = start_both(bases, {**hyperparameters, "epochs": "100"})
    wait_until(lambda: has_checkpoint(bases[0]), jobs[0])
    jobs[1].kill()
    jobs[1].communicate()
    jobs[0].communicate(timeout=PATIENCE_S)
    assert jobs[0].returncode == 1
    assert "127.0.0.1 lost the connection to another host" in (bases[0] / "output/failure").read_text()


@pytest.mark.slow
def test_after_sigterm_both_resume_from_the_same_checkpoint(bases, hyperparameters):
    slow = {**hyperparameters, "epochs": "12"}
    jobs = start_both(bases, slow)
    wait_until(lambda: all(has_checkpoint(base) for base in bases), jobs[0])
    jobs[1].send_signal(signal.SIGTERM)  # one of them is enough
    outputs = [job.communicate(timeout=PATIENCE_S) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    jobs = start_both(bases, slow)
    outputs = [job.communicate(timeout=PATIENCE_S) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    assert (bases[0] / "model/manifest.json").exists()


@pytest.mark.slow
def test_both_stop_an_evaluation_and_repeat_it_after_the_restart(bases, hyperparameters):
    stopped = """
import os, signal
from bert_textclassification.training.fine_tuning.preemption import StopWithCheckpoint
stop_with_checkpoint = StopWithCheckpoint.on_step_end
def then_sigterm(self, args, state, control, **kwargs):
    stop_with_checkpoint(self, args, state, control, **kwargs)
    if state.global_step == 20:
        os.kill(os.getpid(), signal.SIGTERM)
StopWithCheckpoint.on_step_end = then_sigterm
"""
    jobs = start_both(bases, hyperparameters, "", stopped)
    outputs = [job.communicate(timeout=PATIENCE_S) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    assert outputs[0][0].count("eval_loss=") == 1  # after step 10
    jobs = start_both(bases, hyperparameters)
    outputs = [job.communicate(timeout=PATIENCE_S) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    assert outputs[0][0].count("eval_loss=") == 3
    assert len(losses(bases[0])) == 4


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "validation"])
def test_hosts_with_different_data_are_named(bases, hyperparameters, split):
    shard = bases[1] / f"input/data/{split}/part-0.csv"
    pd.read_csv(shard).head(50).to_csv(shard, index=False)
    jobs = start_both(bases, hyperparameters)
    outputs = [job.communicate(timeout=PATIENCE_S) for job in jobs]
    assert [job.returncode for job in jobs] == [1, 1], outputs
    failure = (bases[0] / "output/failure").read_text()
    assert f"127.0.0.1 and 127.0.0.2 have different texts in {split}; give every host all" in failure


def test_a_host_that_never_connects_is_named(bases, hyperparameters, monkeypatch):
    monkeypatch.setattr(distributed, "LOST_AFTER_S", 2.0)
    monkeypatch.setattr(distributed, "PORT", free_port())
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # so that the changes of `join` are undone
    with pytest.raises(HostError, match=r"not all of 127\.0\.0\.1, 127\.0\.0\.2 connected in 2 s"):
        Hosts.of(bases[0] / "input/config/resourceconfig.json").join()


def test_a_name_without_an_address_is_waited_for_and_then_named():
    started = time.monotonic()
    with pytest.raises(HostError, match=r"host algo-9\.invalid has no address after 1 s"):
        wait_for_address("algo-9.invalid", seconds=1)
    assert time.monotonic() - started >= 1


def test_without_a_resource_config_there_is_one_host(tmp_path):
    assert Hosts.of(tmp_path / "resourceconfig.json").is_first


@pytest.mark.parametrize("content", ["{", "[]", '{"hosts": ["algo-1"]}', '{"current_host": "b", "hosts": ["a"]}'])
def test_a_wrong_resource_config_is_rejected(tmp_path, content):
    path = tmp_path / "resourceconfig.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"resourceconfig\.json"):
        Hosts.of(path)


def test_a_batch_size_not_divisible_by_the_hosts_is_rejected(tiny_config, tiny_splits, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "count", lambda: 2)
    base, config = find_base_model(tiny_config.base_model), tiny_config.model_copy(update={"batch_size": 15})
    with pytest.raises(ConfigurationError, match="batch_size 15 is not divisible by the 2 hosts"):
        trainer.make(config, tiny_splits, base.classifier(0.1), base.tokenizer(), tmp_path, trainer.FineTuningTrainer)
