"""Tables of the ladder's results in Markdown, and published figures for comparison."""

from typing import Any

import pandas as pd

from bert_textclassification.training.display.tables import markdown_table, percent

LADDER = "ladder.json"
PUBLISHED = """Two published ladders for comparison, on other hardware, models and data:

- Roblox, "How We Scaled Bert To Serve 1+ Billion Daily Requests on CPUs" (Quoc N. Le and Kip Kaehler, May 2020):
  about 30x from BERT-base padded to 128 tokens to DistilBERT with dynamic shapes and dynamic int8, 36 Xeon cores.
- FastFormers, 2020, [Kim and Hassan Awadalla](https://arxiv.org/abs/2010.13382): 233.87x on BoolQ at batch 1 on 16
  vCPU, with distillation, int8, one thread per instance and pruning, at 72.8 % accuracy (teacher: 74.0 %)."""


def stages_table(ladder: dict[str, Any]) -> str:
    """Return a Markdown table with a row for each stage."""
    header = [
        "stage", "p50, ms", "p95, ms", "p99, ms", "texts/s per core", "speed-up (min–max)", "resident, MB", "file, MB",
        "test accuracy, %", "agreement, %", "of int8 peak, %", "$ per million",
    ]  # fmt: skip
    return markdown_table(header, [_cells(row) for row in ladder["stages"]])


def stages_frame(ladder: dict[str, Any]) -> pd.DataFrame:
    """Return the stages as a table for a notebook: first the speed-up, with its range and spread over rounds."""
    rows = pd.DataFrame(ladder["stages"]).set_index("note")
    speedup = pd.DataFrame(rows["speedup"].tolist(), rows.index)
    speedup = speedup.rename(columns={"value": "speedup", "low": "speedup_low", "high": "speedup_high"})
    others = rows.drop(columns=["name", "speedup", "speedup_over_torch", "speedup_over_int8", "spread"])
    return pd.concat([speedup, rows["spread"], others], axis=1).dropna(axis=1, how="all").round(3)


def targets_table(ladder: dict[str, Any]) -> str:
    """Return a Markdown table with a row for each target, reached or missed."""
    header = ["target", "wanted", "measured (min–max)", ""]
    rows = [
        [target["meaning"], target["wanted"], _with_range(target, "g"), target["verdict"]]
        for target in ladder["targets"]
    ]
    return markdown_table(header, rows)


def ladder_section(ladder: dict[str, Any]) -> str:
    """Return the section of the documentation: the conditions, both tables, and the published figures."""
    cache, bulk, machine = ladder["cache"], ladder["bulk"], ladder["machine"]
    return f"""{machine["processor"]}, {ladder["cores"]} cores, {ladder["texts"]} texts of
{ladder["mean_tokens"]:.1f} tokens on average, at batch size 1 on one core unless the stage says otherwise, in
{ladder["rounds"]} interleaved rounds: median, minimum and maximum of the rounds. The times run from text to scores,
including tokenisation. The models of BERT's and DistilBERT's size have random weights: only their speed is meaningful.
One core reaches at most {ladder["int8_peak_gops_per_core"]:.0f} billion int8 operations per second, measured in the
same run. The cost assumes ${ladder["dollars_per_core_hour"]:g} per core and hour.

{stages_table(ladder)}

The cache, empty at the start, answered {percent(cache["hit_share"])} % of {cache["requests"]:,} requests, drawn from
{cache["different_texts"]:,} texts by Zipf's law with exponent {cache["exponent"]:g}: {_with_range(cache, ".2f")} times
the rate without a cache. In one call with many texts, every text had the same score as alone (largest difference
{bulk["largest_score_difference"]:g}). The texts of bulk calls are all different: the given ones, then shuffles of their
words.

{targets_table(ladder)}

{PUBLISHED}"""


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["note"],
        *(f"{row[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
        f"{row['texts_per_second_per_core']:.0f}",
        _with_range(row["speedup"], ".1f"),
        f"{row['resident_mb']:.0f}",
        f"{row['disk_mb']:.0f}",
        *(_or_dash(row[name], percent) for name in ("accuracy", "agreement", "share_of_int8_peak")),
        f"{row['dollars_per_million']:.3f}",
    ]


def _with_range(figure: dict[str, float], form: str) -> str:
    if form == "g":
        form = ".3f" if abs(figure["value"]) < 1 else ".2f"
    value = f"{figure['value']:{form}}"
    return f"{value} ({figure['low']:{form}}–{figure['high']:{form}})" if "low" in figure else value


def _or_dash(value: float | None, form: Any) -> str:
    return "–" if value is None else str(form(value))
