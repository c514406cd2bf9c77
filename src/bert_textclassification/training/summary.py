"""Summarise the completed stages of a run: as text for a terminal and as JSON for programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bert_textclassification.artifact.manifest import PASSED
from bert_textclassification.training.display.tables import FIGURES, figure, int8_row, percent

_HEADER = (
    "", "accuracy", "av. precision", "log loss", "cal. error", "agreement", "p50 ms", "p95 ms", "texts/s", "speed-up",
    "MB",
)  # fmt: skip
_NOT_WHEN_CHOSEN = "when the artifact was made, it was slower or the difference was within the measured spread"


def summary_table(results: dict[str, Any]) -> str:
    """Return a table for a terminal: the test metrics and the speed measured by the completed stages."""
    rows, sentence = [], ""
    if "exploration" in results:
        rows.append(["TF-IDF + logistic regression", *_shares(results["exploration"]["baseline_test"])])
    if "quantization_benchmark" in results:
        rows += _benchmark_rows(results["quantization_benchmark"])
        sentence = f"\n{served_summary(results['quantization_benchmark'])}\n"
    elif "fine_tuning" in results:
        rows.append(["fine-tuned, FP32", *_shares(results["fine_tuning"]["test"])])
    if "deployment" in results:
        http = results["deployment"]["latency_ms"]
        rows.append(["over HTTP, default variant", *[""] * 5, f"{http['p50']:.2f}", f"{http['p95']:.2f}"])
    return f"\n{_aligned(_HEADER, [row + [''] * (len(_HEADER) - len(row)) for row in rows])}\n{sentence}"


def _shares(metrics: dict[str, Any]) -> list[str]:
    return [percent(metrics[name]["value"]) for name in ("accuracy", "average_precision")]


def _benchmark_rows(benchmark: dict[str, Any]) -> list[list[str]]:
    variants = benchmark["variants"]
    return [
        [
            name,
            *(figure(variants.get(name, variants["fp32"]), metric) for metric in FIGURES),
            percent(row["agreement"]),
            f"{row['p50_ms']:.2f}",
            f"{row['p95_ms']:.2f}",
            f"{row['texts_per_second']:.0f}",
            f"{row['speedup']:.2f}x",
            f"{row['size_mb']:.0f}",
        ]
        for name, row in benchmark["table"].items()
    ]


def served_summary(benchmark: dict[str, Any]) -> str:
    """Describe the served variant with the accuracies and speeds of the benchmark's table."""
    table, variants, served = benchmark["table"], benchmark["variants"], benchmark["default_variant"]
    row = table[served]
    points = 100 * (row["accuracy"] - table["fp32"]["accuracy"])
    passed = [name for name in variants if variants[name]["verdict"] == PASSED]
    fastest = min([served, *passed], key=lambda name: table[name]["mean_ms"])
    milliseconds = f"{table[fastest]['mean_ms']:.2f} ms a text against {row['mean_ms']:.2f}"
    sentences = [
        f"{served} is served: {row['speedup']:.1f} times as fast as torch fp32 in these rounds "
        f"({row['speedup_low']:.1f}–{row['speedup_high']:.1f}), accuracy {0 + points:+.2f} points on test.",
        *([] if fastest == served else [f"{fastest} was faster here, {milliseconds}; {_NOT_WHEN_CHOSEN}."]),
        *(f"On validation, {name} {variant['verdict']}." for name, variant in variants.items() if name not in passed),
    ]
    return " ".join(sentences)


def warning_lines(results: dict[str, Any]) -> list[str]:
    """Return the warnings of the artifact, one line each; none before notebook 03 has made it."""
    quality = results.get("quantization_benchmark", {}).get("quality", {})
    return [f"warning: {warning}" for warning in quality.get("warnings", [])]


def summary_line(results: dict[str, Any], model: Path) -> dict[str, Any]:
    """Return the results of the completed stages, for programs; `model` is the folder of the artifact.

    `fp32` is the fine-tuned torch model without padding. `speedup_int8` is its time for the benchmark's texts divided
    by the time of int8 in the same rounds. Names that end in `_served` describe `served_variant`; `accuracy_served` is
    on test, at the served threshold.
    """
    line: dict[str, Any] = {}
    if "exploration" in results:
        balance = results["exploration"]["balance"]
        line |= {"train_rows": balance["train"]["rows"], "test_rows": balance["test"]["rows"]}
    if "fine_tuning" in results:
        line["accuracy_fp32"] = round(results["fine_tuning"]["test"]["accuracy"]["value"], 4)
    if "quantization_benchmark" in results:
        line |= _benchmark_line(results["quantization_benchmark"]) | {"model_dir": str(model)}
    if "deployment" in results:
        example = results["deployment"]["example"]
        line |= {f"example_{name}": example[name] for name in ("text", "label", "score")}
    return line


def _benchmark_line(benchmark: dict[str, Any]) -> dict[str, Any]:
    fp32, int8 = benchmark["table"]["torch fp32"], int8_row(benchmark["table"])
    served = benchmark["table"][benchmark["default_variant"]]
    return {
        "accuracy_fp32": round(fp32["accuracy"], 4),
        "accuracy_int8": round(int8["accuracy"], 4),
        "served_variant": benchmark["default_variant"],
        "accuracy_served": round(benchmark["quality"]["metrics"]["test"]["accuracy"]["value"], 4),
        "agreement": round(int8["agreement"], 4),
        "p50_ms_fp32": round(fp32["p50_ms"], 3),
        "p50_ms_int8": round(int8["p50_ms"], 3),
        "speedup_int8": round(int8["speedup"], 2),
        "agreement_served": round(served["agreement"], 4),
        "p50_ms_served": round(served["p50_ms"], 3),
        "speedup_served": round(served["speedup"], 2),
    }


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [header, *rows]
    )
