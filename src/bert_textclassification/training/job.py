"""One training job under the SageMaker contract: channels and hyperparameters in, a model artifact out.

Reads `<base>/input/`, writes the artifact to `<base>/model/`, the torch weights, `results.json` and the doubtful rows
(`findings.csv`) to `<base>/output/data/`, and the reason of a failure to `<base>/output/failure`. The base is
`/opt/ml`, or SAGEMAKER_BASE_DIR. Exit status 0 only when the artifact is complete.
"""

import json
import shutil
import sys
import traceback
from pathlib import Path

from bert_textclassification.artifact import Artifact
from bert_textclassification.errors import UserError
from bert_textclassification.training.audit import audit, rows_table
from bert_textclassification.training.config import SageMakerFolders, TrainingConfig
from bert_textclassification.training.data import Splits, load_splits
from bert_textclassification.training.distillation import distil
from bert_textclassification.training.fine_tuning import fine_tune
from bert_textclassification.training.quantization import build_artifact

FAILURE_CHARACTERS = 1024  # the platform shows no more


def main() -> int:
    """Run the job; return the exit status."""
    folders = SageMakerFolders()
    try:
        artifact = train(folders.training_config(), folders)
    except UserError as problem:
        return _failed(folders, f"{problem}")
    except Exception as problem:  # the platform shows the failure file, not the log
        traceback.print_exc()
        return _failed(folders, f"Internal error, see the log: {type(problem).__name__}: {problem}")
    print_metrics(artifact)
    return 0


def train(config: TrainingConfig, folders: SageMakerFolders) -> Artifact:
    """Fine-tune, quantize and write the artifact.

    Raises:
        UserError: the data or the settings cannot be used.
    """
    splits = audit(load_splits(config), config)
    report_findings(splits, folders.output)
    fine_tuned = fine_tune(config, splits, folders.output / "fine_tuned")
    if config.student_layers:
        distil(fine_tuned, splits)
    artifact = build_artifact(fine_tuned, splits, folders.model)
    shutil.copyfile(folders.model / "manifest.json", folders.output / "manifest.json")
    return artifact


def report_findings(splits: Splits, folder: Path) -> None:
    """Print each finding as a warning and write all their rows to `findings.csv` in `folder`."""
    for finding in splits.findings:
        rows = f"{finding.count} found, {finding.dropped} dropped from train"
        print(f"warning: {finding.kind} ({rows}): {finding.message}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    rows_table(splits).to_csv(folder / "findings.csv", index=False)


def print_metrics(artifact: Artifact) -> None:
    """Print one `split_metric=value` a line for the platform's regular expressions, then the choice of variant."""
    for split, metrics in artifact.manifest.metrics.items():
        for name, metric in metrics.items():
            print(f"{split}_{name}={metric['value']:.6f}")
    print(artifact.manifest.default_reason)
    print(json.dumps({"model_dir": str(artifact.folder), "version": artifact.version}), flush=True)


def _failed(folders: SageMakerFolders, reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    folders.failure.parent.mkdir(parents=True, exist_ok=True)
    folders.failure.write_text(reason[:FAILURE_CHARACTERS], encoding="utf-8")
    return 1
