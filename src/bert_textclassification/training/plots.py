"""The pictures of the notebooks and of a search: each function draws one figure and returns it."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from numpy.typing import NDArray

from bert_textclassification.artifact import Decision, SliceResult
from bert_textclassification.training.calibration import LogOdds, probabilities, reliability
from bert_textclassification.training.decision import coverage_curve
from bert_textclassification.training.slices import verdict

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#94a3b8"


def plot_lengths(lengths: dict[str, NDArray[np.int64]], max_length: int) -> Figure:
    """Draw the distribution of token lengths of each split and the maximum length."""
    figure, axes = plt.subplots(figsize=(7, 3))
    longest = max(int(values.max()) for values in lengths.values())
    shown = min(longest, 2 * max_length)
    bins = np.arange(0, shown + 2, max(1, shown // 50)).tolist()  # whole tokens: other widths make a comb
    for name, values in lengths.items():
        axes.hist(values, bins=bins, density=True, histtype="step", linewidth=1.5, label=name)
    axes.axvline(max_length, color=GREY, linestyle="--", label=f"maximum length {max_length}")
    axes.set(xlabel="tokens", ylabel="share of texts per token", title="Length of the texts")
    axes.legend()
    return _finished(figure)


def plot_history(history: list[dict[str, float]]) -> Figure:
    """Draw training loss, validation loss and validation accuracy by step."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    for axes, name, label, colour in (
        (left, "loss", "train", BLUE),
        (left, "eval_loss", "validation", ORANGE),
        (right, "eval_accuracy", "validation", ORANGE),
    ):
        points = [(row["step"], row[name]) for row in history if name in row]
        axes.plot(*zip(*points, strict=True), marker=".", color=colour, label=label)
        axes.set(xlabel="step")
        axes.legend()
    left.set(ylabel="loss", title="Loss")
    right.set(ylabel="accuracy", title="Validation accuracy")
    return _finished(figure)


def plot_confusion(table: pd.DataFrame) -> Figure:
    """Draw a confusion matrix with counts."""
    figure, axes = plt.subplots(figsize=(3.6, 3.2))
    counts = table.to_numpy()
    axes.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set_xticks(range(2), list(table.columns))
    axes.set_yticks(range(2), list(table.index))
    axes.set(xlabel="predicted", ylabel="true", title="Confusion on test")
    return _finished(figure)


def plot_reliability(targets: Sequence[int], log_odds: LogOdds) -> Figure:
    """Draw accuracy against confidence before and after calibration; each point's area is its share of rows."""
    before, after = (reliability(targets, probabilities(found)) for found in log_odds)
    figure, axes = plt.subplots(figsize=(4.2, 4))
    axes.plot([0.5, 1], [0.5, 1], color=GREY, linestyle="--", label="as sure as right")
    for table, colour, name in ((before, ORANGE, "before"), (after, BLUE, "after")):
        axes.plot(table["confidence"], table["accuracy"], color=colour, alpha=0.4)
        sizes = 400 * table["rows"] / table["rows"].sum()
        axes.scatter(table["confidence"], table["accuracy"], s=sizes, color=colour, label=name, alpha=0.7)
    axes.set(xlabel="confidence", ylabel="accuracy", title="Reliability on test", xlim=(0.48, 1.02))
    axes.legend()
    return _finished(figure)


def plot_coverage(
    targets: Sequence[int], scores: NDArray[np.float64], decision: Decision, coverage: float | None = None
) -> Figure:
    """Draw how accurate the model is on its surest texts, by their share, and the share that the review band leaves."""
    curve = coverage_curve(targets, scores, decision.threshold)
    figure, axes = plt.subplots(figsize=(5, 3.2))
    axes.plot(100 * curve["coverage"], 100 * curve["accuracy"], color=BLUE)
    if coverage is not None:
        axes.axvline(100 * coverage, color=ORANGE, linestyle="--", label=f"without the review band: {coverage:.0%}")
        axes.legend()
    axes.set(xlabel="share of the texts, surest first, %", ylabel="accuracy, %", title="Accuracy on the surest texts")
    axes.grid(alpha=0.3)
    return _finished(figure)


def plot_slices(results: Sequence[SliceResult]) -> Figure:
    """Draw the accuracy of each slice with its 95 % interval; orange where it is worse than elsewhere."""
    figure, axes = plt.subplots(figsize=(7, 0.28 * len(results) + 1.2))
    for place, one in enumerate(results):
        weak = verdict(one) == "worse"
        colour = ORANGE if weak else GREY if one.p_value is None else BLUE
        axes.plot([100 * one.low, 100 * one.high], [place, place], color=colour)
        axes.plot([100 * one.accuracy], [place], color=colour, marker="X" if weak else "o")
    names = [f"{one.slice}: {one.value} ({one.rows})" for one in results]
    axes.set_yticks(range(len(results)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set(xlabel="test accuracy, %", title="Slices (orange: worse than elsewhere; grey: too few to compare)")
    return _finished(figure)


def plot_accuracy_latency(table: pd.DataFrame) -> Figure:
    """Draw accuracy against median latency: one point for each row of a benchmark table."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    for name, row in table.iterrows():
        axes.scatter(row["p50_ms"], 100 * row["accuracy"], color=BLUE, zorder=3)
        axes.annotate(str(name), (row["p50_ms"], 100 * row["accuracy"]), xytext=(6, 5), textcoords="offset points")
    spread = max(0.5, 100 * (table["accuracy"].max() - table["accuracy"].min()))
    axes.set_ylim(100 * table["accuracy"].min() - spread, 100 * table["accuracy"].max() + spread)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
    axes.tick_params(axis="x", which="minor", labelsize="small")
    axes.set_xlim(table["p50_ms"].min() / 1.5, table["p50_ms"].max() * 4)
    axes.set(xlabel="median latency, ms (log scale)", ylabel="test accuracy, %", title="Accuracy and latency")
    axes.grid(alpha=0.3)
    return _finished(figure)


def plot_latencies(samples: Sequence[float], title: str) -> Figure:
    """Draw the distribution of request latencies in ms with its median and 95th percentile."""
    figure, axes = plt.subplots(figsize=(7, 3))
    axes.hist(samples, bins=40, color=BLUE)
    for share, colour in ((50, ORANGE), (95, GREY)):
        value = float(np.percentile(samples, share))
        axes.axvline(value, color=colour, linestyle="--", label=f"p{share} {value:.1f} ms")
    axes.set(xlabel="ms", ylabel="requests", title=title)
    axes.legend()
    return _finished(figure)


def plot_waiting(curves: pd.DataFrame, measured: pd.DataFrame) -> Figure:
    """Draw the p99 by utilisation that the model gives for each number of cores, and what a load test measured."""
    figure, axes = plt.subplots(figsize=(7, 3.2))
    for number, cores in enumerate(curves.columns):
        shade = plt.get_cmap("Blues")(0.4 + 0.6 * number / len(curves.columns))
        axes.plot(curves.index, curves[cores], color=shade, label=f"model, cores: {cores}")
    label = f"measured, cores: {measured['cores'].iloc[0]}"
    axes.plot(measured["utilisation"], measured["p99_ms"], "o", color=ORANGE, label=label)
    axes.set(xlabel="share of the cores that is busy", ylabel="p99, ms", yscale="log", title="How long callers wait")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.legend()
    return _finished(figure)


def plot_ladder(rungs: Sequence[dict[str, Any]]) -> Figure:
    """Draw the texts a second and core of each rung, with its speed-up over the first."""
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(rungs) + 1))
    rates = [row["texts_per_second_per_core"] for row in rungs]
    notes = [row["note"] for row in rungs]
    axes.barh(notes, rates, color=[GREY if row["accuracy"] is None else BLUE for row in rungs])
    for place, row in enumerate(rungs):
        axes.annotate(
            f"{row['speedup']['value']:.0f}x",
            (rates[place], place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 1.5, max(rates) * 2)
    axes.set(xlabel="texts a second and core (log scale); grey: random weights", title="The ladder")
    return _finished(figure)


def plot_search_history(table: pd.DataFrame, metric: str, higher_is_better: bool) -> Figure:
    """Draw the score of each trial of a search in order, and the best of the finished ones so far."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    _draw_trials(axes, table, "trial")
    finished = table[table["state"] != "stopped"].sort_values("trial")
    scores = finished["score"]
    axes.step(finished["trial"], scores.cummax() if higher_is_better else scores.cummin(), where="post", color=ORANGE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel=f"validation {metric}", title="The search; the line is the best so far")
    return _finished(figure)


def plot_pareto_front(table: pd.DataFrame, metric: str) -> Figure:
    """Draw score against milliseconds of each trial of a search, and the best score there is at each speed."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    _draw_trials(axes, table, "milliseconds")
    front = table[table["state"].isin(["front", "best"])].sort_values("milliseconds")
    axes.step(front["milliseconds"], front["score"], where="post", color=ORANGE)
    for row in front.itertuples():
        axes.annotate(str(row.trial), (row.milliseconds, row.score), xytext=(4, 4), textcoords="offset points")
    axes.set(xlabel="int8, ms a text", ylabel=f"validation {metric}", title="Trials; the line is the Pareto front")
    return _finished(figure)


def plot_importances(table: pd.DataFrame) -> Figure:
    """Draw how much each setting matters to each objective of a search: settings as rows, objectives as columns."""
    figure, axes = plt.subplots(figsize=(7, 0.5 * len(table) + 1.2))
    table.iloc[::-1].plot.barh(ax=axes, color=[BLUE, ORANGE])
    axes.set(xlabel="share of the variance that the setting explains", title="What matters")
    return _finished(figure)


def _draw_trials(axes: Axes, table: pd.DataFrame, across: str) -> None:
    """Scatter the scores of trials; those that were stopped early in grey."""
    for stopped, colour, marker, label in ((False, BLUE, "o", "finished"), (True, GREY, "x", "stopped early")):
        shown = table[(table["state"] == "stopped") == stopped]
        if len(shown):
            axes.scatter(shown[across], shown["score"], color=colour, marker=marker, label=label, zorder=3)
    axes.grid(alpha=0.3)
    axes.legend()


def _finished(figure: Figure) -> Figure:
    figure.tight_layout()
    plt.close(figure)  # the notebook shows the returned figure once, not twice
    return figure
