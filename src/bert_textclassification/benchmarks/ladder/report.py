"""Run the ladder, compare it with its targets, and publish it.

    bert-textclassification benchmark ladder --model runs/sst2/model --data test.csv

The results are written to `notebooks/results/ladder.json` with a figure, and printed as one JSON object in the last
line of stdout. If the machine is too noisy for a comparison, the command prints the table of the stages and the reason,
exits with status 1 and writes nothing.
"""

import json
from pathlib import Path
from typing import Any

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.benchmarks import plots
from bert_textclassification.benchmarks.ladder.run import climb
from bert_textclassification.benchmarks.ladder.serving_gains import (
    bulk_gain,
    bulk_gain_over_http,
    cache_gain,
    seconds_to_first_prediction,
)
from bert_textclassification.benchmarks.ladder.stages import ALL_CORES, EARLY, INT8
from bert_textclassification.benchmarks.ladder.tables import LADDER, stages_table, targets_table
from bert_textclassification.benchmarks.targets import Target
from bert_textclassification.errors import NoisyMachineError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.rows import read_rows, rows_of_split

TARGETS = (
    Target("int8_over_torch", "int8 over FP32 in torch, both unpadded, on one core", 5.5, is_lower_bound=True),
    Target("int8_agreement", "share of texts with the same label in int8 as in FP32", 0.985, is_lower_bound=True),
    Target("int8_loss_points", "accuracy that int8 loses on test, points", 0.5),
    Target("early_over_torch", "with the early exit, over FP32 in torch, unpadded", 8, is_lower_bound=True),
    Target("early_over_int8", "the early exit over int8 without it", 1.5, is_lower_bound=True),
    Target("early_loss_points", "accuracy that the early exit loses on test, points", 0.3),
    Target("ladder", "the default over BERT-base padded to 128, per core, no cache", 150, is_lower_bound=True),
    Target(
        "bulk", "10,000 different texts in bulk over one at a time, in process, same scores", 1.5, is_lower_bound=True
    ),
    Target("bulk_over_http", "the same in one request over a request each", 1.5, is_lower_bound=True),
    Target("all_cores", "what a core answers when all work in one process, over one alone", 0.95, is_lower_bound=True),
    Target("first_prediction_seconds", "artifact to first prediction, imports included, files cached, s", 0.5),
)


def measure(artifact: Artifact, texts: list[str], sample: int, rounds: int) -> dict[str, Any]:
    """Return the ladder, the gains of serving, and the targets with their verdicts; print the table of the stages.

    Raises:
        ArtifactError: the artifact lacks the native variant.
        NoisyMachineError: the rounds differ too much to compare the stages; their table is printed before.
    """
    ladder = climb(artifact, texts, sample, rounds)
    print(stages_table(ladder))
    if ladder["noise"]:
        raise NoisyMachineError(ladder["noise"])
    ladder |= {
        "bulk": bulk_gain(artifact, texts),
        "bulk_over_http": bulk_gain_over_http(artifact, texts),
        "first_prediction_seconds": seconds_to_first_prediction(artifact),
        "cache": cache_gain(artifact, texts, rounds),
    }
    return ladder | {"targets": judged(ladder, artifact)}


def judged(ladder: dict[str, Any], artifact: Artifact) -> list[dict[str, Any]]:
    """Return each target whose figure was measured, with the figure, its range over rounds, and a verdict."""
    measured = figures(ladder, artifact)
    return [
        {"meaning": target.meaning, "wanted": target.wanted(), **measured[target.figure]}
        | {"verdict": target.verdict(measured[target.figure]["value"])}
        for target in TARGETS
        if target.figure in measured
    ]


def figures(ladder: dict[str, Any], artifact: Artifact) -> dict[str, dict[str, float]]:
    """Return the figures of the targets: `value`, and `low` and `high` over the rounds if there are several."""
    rows = {row["name"]: row for row in ladder["stages"]}
    variants = artifact.manifest.variants
    test = {name: variant.accuracy["test"] for name, variant in variants.items()}
    values = {
        "int8_over_torch": rows[INT8]["speedup_over_torch"],
        "int8_agreement": {"value": variants[INT8].agreement["test"]},
        "int8_loss_points": {"value": 100 * (test["fp32"] - test[INT8])},
        "ladder": rows[ladder["default_variant"]]["speedup"],
        "bulk": ladder["bulk"],
        "bulk_over_http": ladder["bulk_over_http"],
        "all_cores": rows[ALL_CORES]["speedup_over_int8"],
        "first_prediction_seconds": ladder["first_prediction_seconds"],
    }
    if EARLY in rows:
        values |= {
            "early_over_torch": rows[EARLY]["speedup_over_torch"],
            "early_over_int8": rows[EARLY]["speedup_over_int8"],
            "early_loss_points": {"value": 100 * (test["fp32"] - test[EARLY])},
        }
    keys = ("value", "low", "high")
    return {name: {key: figure[key] for key in keys if key in figure} for name, figure in values.items()}


def run_ladder(model: Path, data: str, texts: int, rounds: int, output: Path) -> None:
    """Measure and publish the ladder; print the targets, and the results as JSON.

    Args:
        model: folder of the artifact.
        data: labelled texts: a file, or a folder with a test split.
        texts: texts per stage and round.
        rounds: number of rounds.
        output: folder of the results.

    Raises:
        UserError: the model or the data cannot be used.
    """
    ladder = measure(Artifact.load(model), test_texts(data), texts, rounds)
    publish(ladder, output)
    print(targets_table(ladder))
    print(json.dumps(ladder))


def test_texts(data: str) -> list[str]:
    """Return the texts of the test split of `data`, or all texts if it is a single file."""
    rows = read_rows(TrainingConfig.of({"data": data}))
    split = "test" if (rows["split"] == "test").any() else "train"
    texts: list[str] = rows_of_split(rows, split)["text"].tolist()
    return texts


def publish(ladder: dict[str, Any], folder: Path) -> None:
    """Write the results and their figure to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    plots.plot_ladder(ladder["stages"]).savefig(folder / "ladder.png", dpi=120)
    (folder / LADDER).write_text(json.dumps(ladder, indent=2) + "\n", encoding="utf-8")
