"""Formatted numbers and Markdown tables."""

from collections.abc import Mapping, Sequence
from typing import Any

UNKNOWN = "–"
FIGURES = {  # titles of a variant's figures, by the names of its fields
    "accuracy": "accuracy, %",
    "average_precision": "average precision, %",
    "log_loss": "log loss, nats",
    "calibration_error": "calibration error, %",
}


def percent(share: float) -> str:
    """Return a share in [0, 1] in percent, with two decimals."""
    return f"{100 * share:.2f}"


def figure(variant: Mapping[str, Any], name: str, split: str = "test") -> str:
    """Return a variant's figure `name`, one of FIGURES, as text; UNKNOWN if an older run lacks it."""
    value = variant.get(name, {}).get(split)
    if value is None:
        return UNKNOWN
    return f"{value:.4f}" if name == "log_loss" else percent(value)


def with_interval(metric: dict[str, float]) -> str:
    """Return a metric with its confidence interval, in percent."""
    return f"{percent(metric['value'])} ({percent(metric['low'])}–{percent(metric['high'])})"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def int8_row(table: dict[str, Any]) -> dict[str, Any]:
    """Return the int8 row of a benchmark's table: of the native engine or, if that could not run, of ONNX Runtime."""
    row: dict[str, Any] = table.get("int8") or table["int8_onnx"]
    return row
