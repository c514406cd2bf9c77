"""Run a SageMaker training job on the tiny model as the platform does."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import PATIENCE_S, ROOT

TINY = {"epochs": "2", "batch_size": "16", "max_length": "64", "precision": "fp32", "max_accuracy_loss": "100"}


@pytest.fixture
def base_dir(tmp_path, tiny_data):
    """A base folder in SageMaker's layout with the tiny data as channels."""
    for split in ("train", "validation", "test"):
        channel = tmp_path / "input/data" / split
        channel.mkdir(parents=True)
        (channel / "part-0.csv").write_bytes((tiny_data / f"{split}.csv").read_bytes())
    (tmp_path / "input/config").mkdir()
    return tmp_path


def run_job(base_dir, hyperparameters):
    (base_dir / "input/config/hyperparameters.json").write_text(json.dumps(hyperparameters))
    return subprocess.run(
        [sys.executable, ROOT / "container/train"],
        env=os.environ | {"SAGEMAKER_BASE_DIR": str(base_dir), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip


def has_checkpoint(base):
    from bert_textclassification.training.fine_tuning.checkpoints import COMPLETE

    return any((base / "checkpoints").rglob(COMPLETE))
