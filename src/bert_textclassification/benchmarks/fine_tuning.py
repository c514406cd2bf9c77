"""Compare the fine-tuning of this project with the Trainer's defaults: same data, steps, batch size and schedule.

    bert-textclassification benchmark training --data sms_spam.csv --name sms_spam epochs=2

Both run to the end, one after the other, once per seed. The results are written to
`notebooks/results/fine_tuning/<name>.json` and printed as one JSON object in the last line of stdout.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainingArguments

from bert_textclassification.benchmarks.targets import Target
from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.command_line_settings import parse_settings
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.display.tables import markdown_table, percent
from bert_textclassification.training.evaluation.inference import evaluate_splits
from bert_textclassification.training.evaluation.metrics import accuracy
from bert_textclassification.training.evaluation.thresholds import labels_of
from bert_textclassification.training.export.timing import machine, median_with_range
from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.fine_tuning.trainer import FineTuningTrainer
from bert_textclassification.training.modeling.fine_tuned import FineTuned
from bert_textclassification.training.prepare import load_splits
from bert_textclassification.training.settings.paths import RESULTS

OURS, DEFAULTS = "this project", "the Trainer's defaults"
FINE_TUNING = RESULTS / "fine_tuning"
TARGET = Target("gain", "speed of fine-tuning over the Trainer's defaults", 2, is_lower_bound=True)
_NEVER = 10**6
_DEFAULT_ARGUMENTS = ("bf16", "optim")


class DefaultTrainer(Trainer):
    """A Trainer with the library's defaults for the arguments that affect the speed."""

    def __init__(self, *, args: TrainingArguments, **others: Any) -> None:
        defaults = TrainingArguments(output_dir=str(args.output_dir), use_cpu=args.use_cpu)
        for name in _DEFAULT_ARGUMENTS:
            setattr(args, name, getattr(defaults, name))
        super().__init__(args=args, **others)


def compare(config: TrainingConfig, splits: Splits, seeds: int) -> dict[str, Any]:
    """Fine-tune with both and with `seeds` seeds; return seconds, steps and test accuracy of every run.

    Raises:
        ConfigurationError: a setting needs a feature that the plain Trainer does not have.
    """
    if config.r_drop or config.layerwise_lr_decay != 1:
        raise ConfigurationError(
            "The Trainer's defaults have no r_drop and no layerwise_lr_decay; leave both out to compare them."
        )
    runs = []
    for seed in range(seeds):
        seeded = config.model_copy(update={"seed": config.seed + seed, "early_stopping_patience": _NEVER})
        for name, kind in ((DEFAULTS, DefaultTrainer), (OURS, FineTuningTrainer)):
            with tempfile.TemporaryDirectory(prefix="fine-tuning-benchmark-") as folder:
                runs.append({"kind": name} | _run(fine_tune(seeded, splits, Path(folder), kind), splits))
    seconds = {name: [run["seconds"] for run in runs if run["kind"] == name] for name in (DEFAULTS, OURS)}
    gain = median_with_range([a / b for a, b in zip(seconds[DEFAULTS], seconds[OURS], strict=True)])
    return {
        "machine": machine(),
        "train_rows": len(splits.train),
        "config": config.model_dump(exclude={"data"}),
        "runs": runs,
        "gain": gain,
        "target": TARGET.line(gain["value"]),
    }


def _run(fine_tuned: FineTuned, splits: Splits) -> dict[str, Any]:
    evaluated = evaluate_splits(fine_tuned, fine_tuned.model(), splits)
    return {
        "seed": fine_tuned.config.seed,
        "steps": fine_tuned.facts["steps"],
        "seconds": fine_tuned.facts["train_seconds"],
        "precision": fine_tuned.facts["precision"],
        "accuracy": {name: accuracy(split.targets, labels_of(split.reference)) for name, split in evaluated.items()},
    }


def fine_tuning_table(results: dict[str, Any]) -> str:
    """Return a Markdown table with a row for each run of the comparison."""
    header = ["", "computed in", "steps", "seconds", "steps/s", "validation accuracy, %", "test accuracy, %"]
    rows = [
        [
            run["kind"],
            run["precision"],
            str(run["steps"]),
            f"{run['seconds']:.0f}",
            f"{run['steps'] / run['seconds']:.2f}",
            *(percent(run["accuracy"][split]) for split in ("validation", "test")),
        ]
        for run in results["runs"]
    ]
    return markdown_table(header, rows)


def run_comparison(name: str, data: str, seeds: int, settings: Sequence[str]) -> None:
    """Compare, write notebooks/results/fine_tuning/NAME.json, and print the table, the target and the results as JSON.

    Args:
        name: of the results file.
        data: labelled texts: a file or a folder.
        seeds: number of seeds, with a run of each kind per seed.
        settings: `name=value` pairs: fields of TrainingConfig.

    Raises:
        UserError: the data or a setting cannot be used.
    """
    config = TrainingConfig.of({"data": data} | parse_settings(list(settings)))
    results = compare(config, load_splits(config), seeds)
    FINE_TUNING.mkdir(parents=True, exist_ok=True)
    (FINE_TUNING / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(fine_tuning_table(results))
    print(results["target"])
    print(json.dumps(results))
