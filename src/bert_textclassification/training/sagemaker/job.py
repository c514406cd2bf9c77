"""A training job under the SageMaker contract: channels and hyperparameters in, a model artifact out.

The job reads `<base>/input/`. It writes the artifact to `<base>/model/`; the torch weights, the manifest and the rows
with data quality issues (`findings.csv`) to `<base>/output/data/`; checkpoints to `<base>/checkpoints/<host>/`; and the
reason of a failure to `<base>/output/failure`. The base is `/opt/ml`, or SAGEMAKER_BASE_DIR. The exit status is 0 when
the artifact is complete, and after SIGTERM; the next start then resumes from the last checkpoint. With several hosts,
the first one writes the model.
"""

import errno
import json
import shutil
import sys
import traceback
from typing import Any

from transformers import TrainerCallback

from bert_textclassification.artifact.store import MANIFEST
from bert_textclassification.errors import UserError
from bert_textclassification.training.config import SageMakerFolders
from bert_textclassification.training.fine_tuning import preemption
from bert_textclassification.training.fine_tuning.distributed import Hosts
from bert_textclassification.training.pipeline import TrainingFolders, train
from bert_textclassification.training.sagemaker.metric_log import print_logged, print_metrics

FAILURE_CHARACTERS = 1024  # the platform's limit


def main() -> int:
    """Run the job; return the exit status."""
    preemption.handle_sigterm()
    folders = SageMakerFolders()
    try:
        folders.failure.unlink(missing_ok=True)  # left by an earlier start
        _run(folders)
    except UserError as problem:
        return _failed(folders, f"{problem}")
    except Exception as problem:  # the platform shows the failure file, not the log
        traceback.print_exc()
        return _failed(folders, _describe(problem, folders))
    return 0


def _run(folders: SageMakerFolders) -> None:
    config, hosts = folders.training_config(), Hosts.of(folders.resource_config)
    hosts.join()
    with hosts.together():
        outputs = TrainingFolders(folders.model, folders.output, folders.checkpoints)
        artifact = train(config, outputs, hosts, lambda: [MetricLines()], log=sys.stdout)
    if artifact is not None:
        shutil.copyfile(artifact.folder / MANIFEST, folders.output / MANIFEST)
        print_metrics(artifact.manifest)
        print(artifact.manifest.default_reason)
        print(*(f"warning: {warning}" for warning in artifact.manifest.warnings), sep="\n")
        print(json.dumps({"model_dir": str(artifact.folder), "version": artifact.version}), flush=True)


class MetricLines(TrainerCallback):
    """Prints the metrics that the Trainer logs, on the first host only."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """Print the metrics among the logged values."""
        if state.is_world_process_zero:
            print_logged(logs)


def _describe(problem: Exception, folders: SageMakerFolders) -> str:
    description = f"{type(problem).__name__}: {problem}"
    # On a full disk, torch's writer fails with "unexpected pos", which does not mention the disk.
    if getattr(problem, "errno", None) == errno.ENOSPC or "No space left" in description or folders.are_full():
        return f"The disk is full ({description}); give the job a larger volume and start it again: it resumes."
    return f"Internal error, see the log: {description}"


def _failed(folders: SageMakerFolders, reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    folders.failure.parent.mkdir(parents=True, exist_ok=True)
    folders.failure.write_text(reason[:FAILURE_CHARACTERS], encoding="utf-8")
    return 1
