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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.errors import UserError
from bert_textclassification.training.config import SageMakerFolders, TrainingConfig
from bert_textclassification.training.data.issues import Finding
from bert_textclassification.training.data.splits import Splits, fingerprints
from bert_textclassification.training.data_quality.audit import audit, rows_table
from bert_textclassification.training.decisions import decisions
from bert_textclassification.training.export.build import build_artifact
from bert_textclassification.training.fine_tuning import distributed, preemption
from bert_textclassification.training.fine_tuning.distillation import distil
from bert_textclassification.training.fine_tuning.distributed import Hosts
from bert_textclassification.training.fine_tuning.seeds import fine_tune_seeds
from bert_textclassification.training.modeling.fine_tuned import FineTuned
from bert_textclassification.training.prepare import load_splits
from bert_textclassification.training.sagemaker.metric_log import print_logged, print_metrics

FAILURE_CHARACTERS = 1024  # the platform shows no more


def main() -> int:
    """Run the job; return the exit status."""
    preemption.heed_sigterm()
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
        artifact = train(config, folders, own)
    if artifact is not None:
        print_metrics(artifact.manifest)
        print(artifact.manifest.default_reason)
        print(json.dumps({"model_dir": str(artifact.folder), "version": artifact.version}), flush=True)


def train(config: TrainingConfig, folders: SageMakerFolders, own: Hosts) -> Artifact | None:
    """Fine-tune, audit, quantize and write the artifact; only the first host does more than fine-tune.

    What takes time there, the audit and the artifact, comes after the hosts have parted: none waits long for another.

    Raises:
        UserError: the data or the settings cannot be used, or a host is lost.
    """
    splits = load_splits(config)
    own.require_same_data(fingerprints(splits))
    if own.is_first:
        print(*decisions(config, splits), sep="\n", flush=True)
        report_findings(splits, folders.output)
    fine_tuned = _fine_tuned(config, splits, folders, own)
    distributed.part()
    return _artifact(fine_tuned, splits, folders) if own.is_first else None


def _fine_tuned(config: TrainingConfig, splits: Splits, folders: SageMakerFolders, own: Hosts) -> FineTuned:
    checkpoints = folders.checkpoints / own.own
    work = folders.output if own.is_first else checkpoints / "model"
    fine_tuned = fine_tune_seeds(config, splits, work / "fine_tuned", checkpoints, [MetricLines()])
    if config.student_layers:
        distil(fine_tuned, splits, checkpoints, [MetricLines()])
    return fine_tuned


class MetricLines(TrainerCallback):
    """Prints what the Trainer logs, on the first host."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """Print the metrics among the logged values."""
        if state.is_world_process_zero:
            print_logged(logs)


def _artifact(fine_tuned: FineTuned, splits: Splits, folders: SageMakerFolders) -> Artifact:
    audited = audit(splits, fine_tuned.config)
    report_findings(audited, folders.output, known=splits.findings)
    artifact = build_artifact(fine_tuned, audited, folders.model)
    shutil.copyfile(folders.model / "manifest.json", folders.output / "manifest.json")
    return artifact


def report_findings(splits: Splits, folder: Path, known: Sequence[Finding] = ()) -> None:
    """Print each finding that is not `known` as a warning and write the rows of all to `findings.csv` in `folder`."""
    for finding in splits.findings:
        if finding not in known:
            rows = f"{finding.count} found, {finding.dropped} dropped from train"
            print(f"warning: {finding.kind} ({rows}): {finding.message}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    rows_table(splits).to_csv(folder / "findings.csv", index=False)


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
