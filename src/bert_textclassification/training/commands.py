"""The commands `train` and `export`, in the folder of a run."""

import json
from collections.abc import Sequence
from pathlib import Path

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.training.command_line_settings import parse_settings
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data_quality.audit import audit
from bert_textclassification.training.display.command_text import command_line
from bert_textclassification.training.export.build import build_artifact, variants_table
from bert_textclassification.training.fine_tuning import preemption
from bert_textclassification.training.modeling.fine_tuned import FineTuned
from bert_textclassification.training.pipeline import TrainingFolders, train
from bert_textclassification.training.prepare import load_splits
from bert_textclassification.training.runs import RunFolder


def run_training(name: str, data: str, settings: Sequence[str]) -> None:
    """Train in runs/NAME and print the variants of the artifact; the last line is one JSON object.

    Raises:
        UserError: the data or a setting cannot be used.
        KeyboardInterrupt: training was interrupted; the message has the command that resumes it.
    """
    config = TrainingConfig.of({"data": data} | parse_settings(list(settings)))
    run = RunFolder(Path("runs") / name)
    preemption.handle_sigterm()
    preemption.handle_ctrl_c()
    try:
        artifact = train(config, TrainingFolders.of_run(run))
    except KeyboardInterrupt:
        resume = command_line(["train", "--data", data, "--name", name, *settings])
        raise KeyboardInterrupt(f"Training was interrupted; resume it with:\n{resume}") from None
    if artifact is not None:
        run.forget_checkpoints()
        print(_report(artifact))


def run_export(name: str, data: str | None) -> None:
    """Make the artifact of runs/NAME/fine_tuned again and print its variants; the last line is one JSON object.

    Raises:
        UserError: there is no fine-tuned model, or it was not fine-tuned on `data`.
    """
    run = RunFolder(Path("runs") / name)
    fine_tuned = FineTuned.load(run.fine_tuned)
    config = fine_tuned.config if data is None else fine_tuned.config.model_copy(update={"data": data})
    print(_report(build_artifact(fine_tuned, audit(load_splits(config), config), run.model)))


def _report(artifact: Artifact) -> str:
    manifest = artifact.manifest
    default = manifest.variants[manifest.default_variant]
    record = {
        "model_dir": str(artifact.folder),
        "version": artifact.version,
        "variant": manifest.default_variant,
        "test_accuracy": default.accuracy["test"],
        "milliseconds": default.milliseconds,
    }
    table = variants_table(artifact).to_string(float_format="{:.4g}".format)
    warnings = "".join(f"warning: {warning}\n" for warning in manifest.warnings)
    return f"{table}\n\n{manifest.default_reason}\n{warnings}{json.dumps(record)}"
