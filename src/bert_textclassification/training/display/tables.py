"""Numbers and tables in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

UNKNOWN = "–"
FIGURES = {  # of a variant, by the names of its fields
    "accuracy": "accuracy, %",
    "average_precision": "average precision, %",
    "log_loss": "log loss, nats",
    "calibration_error": "calibration error, %",
}


def percent(share: float) -> str:
    """Return a share in [0, 1] in percent, with two decimals."""
    return f"{100 * share:.2f}"


def figure(variant: Mapping[str, Any], name: str, split: str = "test") -> str:
    """Return one of FIGURES of a variant, given by the names of its fields; UNKNOWN where an older run lacks it."""
    value = variant.get(name, {}).get(split)
    if value is None:
        return UNKNOWN
    return f"{value:.4f}" if name == "log_loss" else percent(value)


def with_interval(metric: dict[str, float]) -> str:
    """Return a metric with the interval it comes with, in percent."""
    return f"{percent(metric['value'])} ({percent(metric['low'])}–{percent(metric['high'])})"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def int8_row(table: dict[str, Any]) -> dict[str, Any]:
    """Return int8's row of a benchmark's table: the native engine's, or ONNX Runtime's where that could not run."""
    row: dict[str, Any] = table.get("int8") or table["int8_onnx"]
    return row
