"""Results for people: the model card, the summary of a run, and its publication.

python -m bert_textclassification.training.report publish sst2    # runs/sst2 -> notebooks/results, README
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bert_textclassification.artifact import Manifest
from bert_textclassification.errors import UserError
from bert_textclassification.training import readme
from bert_textclassification.training.behaviour import behaviours_section
from bert_textclassification.training.readme import RESULTS
from bert_textclassification.training.run_folder import RunFolder
from bert_textclassification.training.slices import slices_section
from bert_textclassification.training.tables import int8_row, markdown_table, percent, with_interval

_PUBLISHED_FIGURES = ("accuracy_latency", "history")


def model_card(manifest: Manifest) -> str:
    """Return the model card: the manifest for people, as Markdown."""
    variants = [
        [
            name,
            variant.precision,
            f"{variant.size_bytes / 1e6:.1f}",
            *(percent(variant.accuracy[split]) for split in ("validation", "test")),
            percent(variant.agreement["test"]),
            f"{variant.largest_score_change['test']:.4f}",
            f"{variant.mean_layers['test']:.1f}" if variant.mean_layers else "all",
            "" if variant.milliseconds is None else f"{variant.milliseconds:.2f}",
            variant.verdict,
        ]
        for name, variant in manifest.variants.items()
    ]
    metrics = [
        [name, *(with_interval(manifest.metrics[split][name]) for split in ("validation", "test"))]
        for name in manifest.metrics["test"]
    ]
    not_built = "".join(f"\n- `{name}` was not made. {reason}" for name, reason in manifest.not_built.items())
    data = [[name, str(split.rows), str(split.positives)] for name, split in manifest.data.items()]
    findings = [[one.kind, str(one.count), str(one.dropped), one.message] for one in manifest.findings]
    negative, positive = manifest.labels
    warnings = "".join(f"> **Warning.** {warning}\n>\n" for warning in manifest.warnings).removesuffix(">\n")
    return f"""# Model card

{warnings}
Tells `{positive}` from `{negative}` in texts of up to {manifest.max_length} tokens. Made {manifest.created} from
{manifest.base_model.name} with seed {manifest.seed}.

## Quality of the default variant, `{manifest.default_variant}`

{manifest.default_reason}

{markdown_table(["metric, % (95 % interval)", "validation", "test"], metrics)}

{_comparisons(manifest)}{_seeds(manifest)}
## Decision

The positive class is `{positive}`; a text gets it from a score of {manifest.decision.threshold:.4g} on. Objective:
{manifest.decision.objective}. Chosen on {manifest.decision.chosen_on}; the table above says what it yields.
{_review(manifest)}
## Calibration

A score is the logistic function of the difference of the two logits, divided by a temperature, plus an offset. Both are
chosen so that scores can be read as probabilities{_scales(manifest)}.

{markdown_table(["", "calibration error before", "after", "log loss before", "after"], _calibration(manifest))}

## Where it is better and worse

{slices_section(manifest.slices)}

## Behaviour

{behaviours_section(manifest.behaviours)}

A failed case of invariance got another label after a change that should not matter, one of a direction moved the score
the wrong way or too little, one of minimum functionality got the wrong label.

## Variants

{
        markdown_table(
            [
                "variant",
                "precision",
                "MB",
                "validation accuracy, %",
                "test accuracy, %",
                "agreement with torch, %",
                "largest score change",
                "layers a text",
                "ms a text",
                "as the default",
            ],
            variants,
        )
    }
{not_built}

## Data

{markdown_table(["split", "rows", f"labelled {positive}"], data)}

### Known of the data

{markdown_table(["finding", "rows", "dropped from train", "what to do"], findings) if findings else "Nothing doubtful."}

## Limits

The numbers hold for texts like the ones above. Longer texts are cut, and the reply says so. The score is the
model's own estimate: read the worst mistakes in notebook 02 before acting on it without a person.
"""


def _comparisons(manifest: Manifest) -> str:
    variants = [one.compared for name, one in manifest.variants.items() if one.compared and one.precision != "fp32"]
    return "".join(f"- {one.sentence}\n" for one in (*manifest.comparisons.values(), *variants))


def _scales(manifest: Manifest) -> str:
    *early, last = manifest.exit_scales(manifest.default_variant)
    named = [(f"early exit {number}", scale) for number, scale in enumerate(early, 1)] + [("last layer", last)]
    return "".join(f"; {name}: {scale.temperature:.3g} and {scale.offset:+.3g}" for name, scale in named)


def _calibration(manifest: Manifest) -> list[list[str]]:
    names = ("error_before", "error_after", "log_loss_before", "log_loss_after")
    return [[split, *(f"{found[name]:.4f}" for name in names)] for split, found in manifest.calibration.items()]


def _review(manifest: Manifest) -> str:
    if manifest.decision.review_band is None:
        return ""
    low, high = manifest.decision.review_band
    found = manifest.review["test"]
    return (
        f"\nScores from {low:.3g} up to {high:.3g} are for a person to decide: on test the model decides "
        f"{found['coverage']:.1%} of the texts, {found['accuracy_decided']:.1%} of these right; a text costs "
        f"{found['cost_with_review']:.4f} on average, {found['cost_without_review']:.4f} without a person.\n"
    )


def _seeds(manifest: Manifest) -> str:
    if not manifest.seeds:
        return ""
    rows = [[name.replace("_", " "), with_interval(found)] for name, found in manifest.seeds.items()]
    return (
        f"\nThe same with {manifest.training['seeds']} seeds, of which the best on validation is served:\n\n"
        f"{markdown_table(['FP32, %', 'mean (95 % t-interval)'], rows)}\n"
    )


def summary_table(results: dict[str, Any]) -> str:
    """Return the outcome of a run as a table for a terminal."""
    timings = results["quantization_benchmark"]["table"]
    header = ["", "test accuracy", "agreement", "p50 ms", "p95 ms", "texts/s", "speed-up", "MB"]
    baseline = results["exploration"]["baseline_test"]["accuracy"]["value"]
    rows = [["TF-IDF + logistic regression", percent(baseline), *[""] * 6]]
    rows += [
        [
            name,
            percent(row["accuracy"]),
            percent(row["agreement"]),
            f"{row['p50_ms']:.2f}",
            f"{row['p95_ms']:.2f}",
            f"{row['texts_per_second']:.0f}",
            f"{row['speedup']:.2f}x",
            f"{row['size_mb']:.0f}",
        ]
        for name, row in timings.items()
    ]
    http = results["deployment"]["latency_ms"]
    rows.append(["over HTTP, default variant", "", "", f"{http['p50']:.2f}", f"{http['p95']:.2f}", "", "", ""])
    return "\n" + _aligned(header, rows) + f"\n\n{results['quantization_benchmark']['served']}\n"


def summary_line(run: RunFolder) -> dict[str, Any]:
    """Return the outcome of a run for programs.

    `fp32` is the fine-tuned torch model at each text's own length; `speedup_int8` is its time for the benchmark's
    texts over int8's, in the same rounds.
    """
    results = run.results()
    benchmark, deployment = results["quantization_benchmark"], results["deployment"]
    fp32, int8 = benchmark["table"]["torch fp32"], int8_row(benchmark["table"])
    balance = results["exploration"]["balance"]
    return {
        "train_rows": balance["train"]["rows"],
        "test_rows": balance["test"]["rows"],
        "accuracy_fp32": round(fp32["accuracy"], 4),
        "accuracy_int8": round(int8["accuracy"], 4),
        "agreement": round(int8["agreement"], 4),
        "p50_ms_fp32": round(fp32["p50_ms"], 3),
        "p50_ms_int8": round(int8["p50_ms"], 3),
        "speedup_int8": round(int8["speedup"], 2),
        "model_dir": str(run.model),
        "example_text": deployment["example"]["text"],
        "example_label": deployment["example"]["label"],
        "example_score": deployment["example"]["score"],
    }


def publish(name: str) -> None:
    """Copy the results and figures of `runs/<name>` to `notebooks/results/` and bring the README's table up to date."""
    run = RunFolder(Path("runs") / name)
    missing = {"exploration", "fine_tuning", "quantization_benchmark", "deployment"} - set(run.results())
    if missing:
        raise UserError(f"runs/{name} lacks the stages {', '.join(sorted(missing))}; run all four notebooks first.")
    RESULTS.mkdir(parents=True, exist_ok=True)
    results = run.results()
    del results["deployment"]["example"]  # a text of the data set, which may not be ours to publish
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for figure in _PUBLISHED_FIGURES:
        shutil.copyfile(run.figures / f"{figure}.png", RESULTS / f"{name}_{figure}.png")
    readme.update()


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [header, *rows]
    )


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "publish":
        sys.exit("usage: python -m bert_textclassification.training.report publish NAME")
    publish(sys.argv[2])
