"""The ladder's results for people: tables in Markdown, and the published figures to read them beside."""

from typing import Any

import pandas as pd

from bert_textclassification.training.display.tables import markdown_table, percent

LADDER = "ladder.json"
PUBLISHED = """Two published ladders to read this beside, each on its own hardware, models and data:

- Roblox, "How We Scaled Bert To Serve 1+ Billion Daily Requests on CPUs" (Quoc N. Le and Kip Kaehler, May 2020):
  about 30x from BERT-base padded to 128 tokens to DistilBERT with dynamic shapes and dynamic int8, 36 Xeon cores.
- FastFormers, 2020, [Kim and Hassan Awadalla](https://arxiv.org/abs/2010.13382): 233.87x on BoolQ at batch 1 on 16
  vCPU, with distillation, int8, one thread an instance and pruning, at 72.8 % accuracy where the teacher has 74.0 %."""


def rungs_table(ladder: dict[str, Any]) -> str:
    """Return one row for each stage."""
    header = [
        "stage", "p50, ms", "p95, ms", "p99, ms", "texts/s a core", "speed-up (min–max)", "resident, MB", "file, MB",
        "test accuracy, %", "agreement, %", "of int8 peak, %", "$ per million",
    ]  # fmt: skip
    return markdown_table(header, [_cells(row) for row in ladder["stages"]])


def stages_frame(ladder: dict[str, Any]) -> pd.DataFrame:
    """Return the stages as a table for a notebook; the speed-up comes first, with its range and spread over rounds."""
    rows = pd.DataFrame(ladder["stages"]).set_index("note")
    speedup = pd.DataFrame(rows["speedup"].tolist(), rows.index)
    speedup = speedup.rename(columns={"value": "speedup", "low": "speedup_low", "high": "speedup_high"})
    others = rows.drop(columns=["name", "speedup", "speedup_over_torch", "speedup_over_int8", "spread"])
    return pd.concat([speedup, rows["spread"], others], axis=1).dropna(axis=1, how="all").round(3)


def targets_table(ladder: dict[str, Any]) -> str:
    """Return one row for each target, reached or missed."""
    header = ["target", "wanted", "measured (min–max)", ""]
    rows = [[one["meaning"], one["wanted"], _with_range(one, "g"), one["verdict"]] for one in ladder["targets"]]
    return markdown_table(header, rows)


def ladder_section(ladder: dict[str, Any]) -> str:
    """Return the README's section: on what it was measured, both tables, and the published figures beside them."""
    cache, bulk, machine = ladder["cache"], ladder["bulk"], ladder["machine"]
    return f"""{machine["processor"]}, {ladder["cores"]} cores, {ladder["texts"]} texts of
{ladder["mean_tokens"]:.1f} tokens on average, answered one at a time on one core unless the stage says otherwise, in
{ladder["rounds"]} interleaved rounds: medians, and the smallest and largest of the rounds. A text goes in and scores
come out, tokenising included. Models of BERT's and DistilBERT's size have random weights: their speed is real, accuracy
they have none. One core does {ladder["int8_peak_gops_per_core"]:.0f} billion int8 operations a second at best, measured
in the same run. A core costs ${ladder["dollars_per_core_hour"]:g} an hour.

{rungs_table(ladder)}

The answer cache had {percent(cache["hit_share"])} % of the answers of {cache["requests"]:,} requests drawn from
{cache["different_texts"]:,} texts by Zipf's law with exponent {cache["exponent"]:g}, from an empty start:
{_with_range(cache, ".2f")} times the rate without it. One call with many texts gave every text the score that it has
alone (largest difference {bulk["largest_score_difference"]:g}); the texts of bulk calls are all different: those given,
then their words in other orders.

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
