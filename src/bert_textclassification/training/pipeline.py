"""The training pipeline: labelled texts in, a model artifact out.

For example::

    artifact = train(TrainingConfig(data="mine.csv"), TrainingFolders.of_run(RunFolder("runs/mine")))

The command line and the SageMaker job call it; notebooks 01 to 03 run the same steps one by one.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from transformers import TrainerCallback

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.training.automatic_choices import decisions
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.issues import Issue
from bert_textclassification.training.data.splits import Splits, fingerprints
from bert_textclassification.training.data_quality.audit import audit, rows_table
from bert_textclassification.training.export.build import build_artifact
from bert_textclassification.training.fine_tuning import distributed
from bert_textclassification.training.fine_tuning.distillation import distil
from bert_textclassification.training.fine_tuning.distributed import Hosts
from bert_textclassification.training.fine_tuning.seeds import fine_tune_seeds
from bert_textclassification.training.modeling.fine_tuned import FineTuned
from bert_textclassification.training.prepare import load_splits
from bert_textclassification.training.runs import RunFolder


class TrainingFolders(NamedTuple):
    """The output folders of a training.

    Attributes:
        model: the artifact.
        output: the fine-tuned torch model in `fine_tuned`, and the rows with issues in `findings.csv`.
        checkpoints: checkpoints to resume an interrupted training.
    """

    model: Path
    output: Path
    checkpoints: Path

    @classmethod
    def of_run(cls, run: RunFolder) -> "TrainingFolders":
        """Return the folders of a run, the same as those of the notebooks."""
        return cls(run.model, run.root, run.checkpoints)


def train(
    config: TrainingConfig,
    folders: TrainingFolders,
    hosts: Hosts | None = None,
    callbacks: Callable[[], Sequence[TrainerCallback]] = tuple,
    log: TextIO | None = None,
) -> Artifact | None:
    """Read, check and split the data, fine-tune, and write the artifact; return None on all hosts but the first.

    The audit and the export, which only the first host runs, start after the process group is closed, so that no host
    waits for them.

    Args:
        config: the settings.
        folders: where to write.
        hosts: the hosts of the job, already joined; None for this host alone.
        callbacks: returns additional callbacks for each Trainer.
        log: stream for the decisions and warnings; None for stderr.

    Raises:
        UserError: the data or the settings cannot be used, or the connection to a host is lost.
    """
    hosts, log = hosts or Hosts(), log or sys.stderr
    splits = load_splits(config)
    hosts.require_same_data(fingerprints(splits))
    if hosts.is_first:
        print(*decisions(config, splits), sep="\n", file=log, flush=True)
        report_issues(splits, folders.output, log)
    fine_tuned = _fine_tuned(config, splits, folders, hosts, callbacks)
    distributed.leave()
    return _artifact(fine_tuned, splits, folders, log) if hosts.is_first else None


def _fine_tuned(
    config: TrainingConfig,
    splits: Splits,
    folders: TrainingFolders,
    hosts: Hosts,
    callbacks: Callable[[], Sequence[TrainerCallback]],
) -> FineTuned:
    checkpoints = folders.checkpoints / hosts.current
    work = folders.output if hosts.is_first else checkpoints / "model"
    fine_tuned = fine_tune_seeds(config, splits, work / "fine_tuned", checkpoints, callbacks())
    if config.student_layers:
        distil(fine_tuned, splits, checkpoints, callbacks())
    return fine_tuned


def _artifact(fine_tuned: FineTuned, splits: Splits, folders: TrainingFolders, log: TextIO) -> Artifact:
    audited = audit(splits, fine_tuned.config)
    report_issues(audited, folders.output, log, known=splits.issues)
    return build_artifact(fine_tuned, audited, folders.model)


def report_issues(splits: Splits, folder: Path, log: TextIO, known: Sequence[Issue] = ()) -> None:
    """Print each issue that is not in `known` as a warning; write the rows of all issues to `folder`/findings.csv."""
    for issue in splits.issues:
        if issue not in known:
            rows = f"{issue.count} found, {issue.dropped} dropped from train"
            print(f"warning: {issue.kind} ({rows}): {issue.message}", file=log, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    rows_table(splits).to_csv(folder / "findings.csv", index=False)
