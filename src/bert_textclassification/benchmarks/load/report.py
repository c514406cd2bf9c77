"""Report a load test: tables for a terminal, a flat record for programs, and the targets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.benchmarks.load.generator import REPEATS
from bert_textclassification.benchmarks.targets import Target
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.training.export.timing import machine

IN_PROCESS = "in process"
CLOSED = "closed loop"
HALF_RATE = "half of the in-process rate"
NO_CACHE = "repeats, cache off"
CACHE = "repeats, cache on"
HITS = "only repeats, cache on"
CACHE_SIZE = ServingConfig.of().cache_size

RATE = {"requests_per_second": "requests/s"}
LATENCIES = {"p50_ms": "p50 ms", "p95_ms": "p95 ms", "p99_ms": "p99 ms", "failed": "failed"}
CPU = {
    "nginx_cpu_ms_per_request": "CPU ms: nginx",
    "gunicorn_cpu_ms_per_request": "gunicorn",
    "web_cpu_ms_per_request": "web layers",
    "generator_cpu_ms_per_request": "generator",
}
CLOSED_COLUMNS = RATE | {"share_of_in_process": "of in process"} | LATENCIES | CPU
HALF_RATE_COLUMNS = RATE | LATENCIES | {"p99_over_p50": "p99/p50"}
CACHE_COLUMNS = {"hit_share": "hits"} | RATE | LATENCIES | {"server_cpu_ms_per_request": "CPU ms: server"}
WITH_SPREAD = ("requests_per_second", "share_of_in_process", "p99_over_p50")


TARGETS = (
    Target("share_of_in_process", "most requests/s, as a share of the in-process rate", 0.85, is_lower_bound=True),
    Target("half_rate_p99_over_p50", "p99 over p50 at half of the in-process rate", 5),
    Target("web_cpu_ms_per_request", "processor time of the web layers at the most requests/s, ms a request", 0.5),
)


def facts(model: Path, variant: str | None) -> dict[str, Any]:
    """Return the measured version and variant of the model, and the machine.

    Raises:
        ArtifactError: the artifact cannot be used or lacks the variant.
    """
    artifact = Artifact.load(model)
    return {"model_version": artifact.version, "variant": artifact.variant(variant)[0], "machine": machine()}


def summary(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians over rounds; those over HTTP are for the number of connections with the highest rate."""
    frame = pd.DataFrame(points)
    alone, half, off, on, hits = (_medians(frame, case) for case in (IN_PROCESS, HALF_RATE, NO_CACHE, CACHE, HITS))
    closed = by_connections(frame)
    best = max(closed, key=lambda row: row["requests_per_second"])
    over_http = frame[frame["case"] != IN_PROCESS]
    figures = {
        "in_process_texts_per_second": alone["requests_per_second"],
        "in_process_cpu_ms_per_text": alone["cpu_ms_per_request"],
        **best,
        **{f"half_rate_{name}": half[name] for name in ("requests_per_second", "p50_ms", "p99_ms", "p99_over_p50")},
        "cache_off_requests_per_second": off["requests_per_second"],
        "cache_on_requests_per_second": on["requests_per_second"],
        "cache_on_hit_share": on["hit_share"],
        "cache_hit_p50_ms": hits["p50_ms"],
        "cache_hit_cpu_ms_per_request": hits["server_cpu_ms_per_request"],
    }
    return {
        **_rounded(figures),
        **{name: int(over_http[name].sum()) for name in ("requests", "server_requests", "failed")},
        "targets_reached": {target.figure: bool(target.reached(figures[target.figure])) for target in TARGETS},
        "by_connections": closed,
    }


def by_connections(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return, for each number of connections, the medians over rounds, and smallest and largest of WITH_SPREAD."""
    rows = []
    for _, own in frame[frame["case"] == CLOSED].groupby("connections"):
        row = {name: own[name].median() for name in CLOSED_COLUMNS if name != "failed"}
        for name in (column for column in CLOSED_COLUMNS if column in WITH_SPREAD):
            row |= {f"{name}_low": own[name].min(), f"{name}_high": own[name].max()}
        counts = {"connections": int(own["connections"].iloc[0]), "failed": int(own["failed"].sum())}
        rows.append(counts | _rounded(row))
    return rows


def text(points: Sequence[dict[str, Any]], figures: dict[str, Any]) -> str:
    """Return the tables and the targets for a terminal: medians over rounds, with the range in brackets."""
    frame = pd.DataFrame(points)
    alone = _cell("requests_per_second", frame[frame["case"] == IN_PROCESS]["requests_per_second"])
    lines = [
        "",
        f"{figures['machine']['processor']}, {figures['threads']} threads, variant {figures['variant']}. One text per "
        f"request; median of {figures['rounds']} rounds of {figures['seconds_per_load']:g} s (minimum–maximum).",
        f"In process, no server: {alone} texts/s, CPU {figures['in_process_cpu_ms_per_text']:.2f} ms per text.",
        "\nOver HTTP, cache off, closed loop (each connection sends the next request after each reply); the generator "
        "shares the cores",
        _table(frame, (CLOSED,), "connections", CLOSED_COLUMNS),
        "\nOver HTTP, cache off, open loop (requests on a fixed schedule)",
        _table(frame, (HALF_RATE,), "case", HALF_RATE_COLUMNS),
        f"\nCache of {CACHE_SIZE:,} texts, with {REPEATS:.0%} repeated texts",
        _table(frame, (NO_CACHE, CACHE, HITS), "case", CACHE_COLUMNS),
        f"\n{figures['requests']} successful requests ({figures['server_requests']} counted by the server), "
        f"{figures['failed']} failed. Other programs used {figures['other_programs_cores']:.2f} cores.",
        *(target.line(figures[target.figure]) for target in TARGETS),
        "",
    ]
    return "\n".join(lines)


def _table(frame: pd.DataFrame, cases: Sequence[str], key: str, columns: dict[str, str]) -> str:
    groups: Any = frame[frame["case"].isin(cases)].groupby(key, sort=False)
    rows = [
        {key: name if isinstance(name, str) else f"{name:g}"}
        | {title: _cell(column, group[column]) for column, title in columns.items()}
        for name, group in groups
    ]
    return pd.DataFrame(rows).to_string(index=False)


def _cell(column: str, values: "pd.Series[float]") -> str:
    if column == "failed":
        return str(int(values.sum()))
    digits = 0 if column == "requests_per_second" else 2
    spread = f" ({values.min():.{digits}f}–{values.max():.{digits}f})" if column in WITH_SPREAD else ""
    return f"{values.median():.{digits}f}{spread}"


def _medians(frame: pd.DataFrame, case: str) -> "pd.Series[float]":
    return frame[frame["case"] == case].median(numeric_only=True)


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: round(float(value), 4) if isinstance(value, float) else value for name, value in figures.items()}
