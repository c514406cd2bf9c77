"""One training job under the SageMaker contract: channels and hyperparameters in, a model artifact out.

Reads `<base>/input/`, writes the artifact to `<base>/model/`, the torch weights, the manifest and the doubtful rows
(`findings.csv`) to `<base>/output/data/`, checkpoints to `<base>/checkpoints/<host>/`, and the reason of a failure to
`<base>/output/failure`. The base is `/opt/ml`, or SAGEMAKER_BASE_DIR. Exit status 0 when the artifact is complete, or
after SIGTERM: then the next start goes on from the last checkpoint. Of several hosts the first one writes the model.
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

FAILURE_CHARACTERS = 1024  # the platform shows no more


def main() -> int:
    """Run the job; return the exit status."""
    preemption.handle_sigterm()
    folders = SageMakerFolders()
    try:
        folders.failure.unlink(missing_ok=True)  # of the start before
        _run(folders)
    except UserError as problem:
        return _failed(folders, f"{problem}")
    except Exception as problem:  # the platform shows the failure file, not the log
        traceback.print_exc()
        return _failed(folders, _in_words(problem, folders))
    return 0


def _run(folders: SageMakerFolders) -> None:
    config, own = folders.training_config(), Hosts.of(folders.resource_config)
    own.join()
    with own.together():
        where = TrainingFolders(folders.model, folders.output, folders.checkpoints)
        artifact = train(config, where, own, lambda: [MetricLines()], log=sys.stdout)
    if artifact is not None:
        shutil.copyfile(artifact.folder / MANIFEST, folders.output / MANIFEST)
        print_metrics(artifact.manifest)
        print(artifact.manifest.default_reason)
        print(*(f"warning: {warning}" for warning in artifact.manifest.warnings), sep="\n")
        print(json.dumps({"model_dir": str(artifact.folder), "version": artifact.version}), flush=True)


class MetricLines(TrainerCallback):
    """Prints what the Trainer logs, on the first host."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """Print the metrics among the logged values."""
        if state.is_world_process_zero:
            print_logged(logs)


def _in_words(problem: Exception, folders: SageMakerFolders) -> str:
    words = f"{type(problem).__name__}: {problem}"
    # torch says nothing of the disk: its writer fails with "unexpected pos" of a file.
    if getattr(problem, "errno", None) == errno.ENOSPC or "No space left" in words or folders.are_full():
        return f"The disk is full ({words}); give the job a larger volume and start it again: it goes on."
    return f"Internal error, see the log: {words}"


def _failed(folders: SageMakerFolders, reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    folders.failure.parent.mkdir(parents=True, exist_ok=True)
    folders.failure.write_text(reason[:FAILURE_CHARACTERS], encoding="utf-8")
    return 1
