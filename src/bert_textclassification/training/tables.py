"""Numbers and tables in Markdown."""

from collections.abc import Sequence


def percent(share: float) -> str:
    """Return a share in [0, 1] in percent, with two decimals."""
    return f"{100 * share:.2f}"


def with_interval(metric: dict[str, float]) -> str:
    """Return a metric with the interval it comes with, in percent."""
    return f"{percent(metric['value'])} ({percent(metric['low'])}–{percent(metric['high'])})"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
