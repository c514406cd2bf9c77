"""The pictures of the notebooks and of a search: each function draws one figure and returns it."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from bert_textclassification.artifact.manifest import Decision, SliceResult
from bert_textclassification.training.drawing import BLUE, GREY, ORANGE, finished, label_points
from bert_textclassification.training.evaluation.calibration import reliability
from bert_textclassification.training.evaluation.judging import METRIC_NAMES
from bert_textclassification.training.evaluation.slices import verdict
from bert_textclassification.training.evaluation.thresholds import coverage_curve


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
    return finished(figure)


def plot_history(history: list[dict[str, float]], metric: str = "accuracy") -> Figure:
    """Draw training loss, validation loss and what validation is judged by, one of METRIC_NAMES, by step."""
    judged = "accuracy" if metric == "loss" else metric  # the loss is drawn anyway
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    for axes, name, label, colour in (
        (left, "loss", "train", BLUE),
        (left, "eval_loss", "validation", ORANGE),
        (right, f"eval_{judged}", "validation", ORANGE),
    ):
        points = [(row["step"], row[name]) for row in history if name in row]
        axes.plot(*zip(*points, strict=True), marker=".", color=colour, label=label)
        axes.set(xlabel="step")
        axes.legend()
    left.set(ylabel="loss", title="Loss")
    right.set(ylabel=METRIC_NAMES[judged], title=f"Validation {METRIC_NAMES[judged]}")
    return finished(figure)


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
    return finished(figure)


def plot_reliability(targets: Sequence[int], before: ArrayLike, after: ArrayLike) -> Figure:
    """Draw accuracy against confidence of the scores before and after calibration, side by side.

    A point is a bin, with its rows as a number and the 95 % Wilson interval of its accuracy as a bar. Bins are not
    joined: the small ones between large ones mean little.
    """
    figure, panels = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
    for axes, scores, name in zip(panels, (before, after), ("before calibration", "after calibration"), strict=True):
        axes.axline((0.5, 0.5), slope=1, color=GREY, linestyle="--", label="as often right as sure")
        for rows, confidence, accuracy in reliability(targets, scores).to_numpy():
            interval = binomtest(round(accuracy * rows), int(rows)).proportion_ci(method="wilson")
            axes.vlines(confidence, interval.low, interval.high, color=BLUE, alpha=0.4)
            axes.scatter(confidence, accuracy, color=BLUE, s=16)
            axes.annotate(
                f"{rows:.0f}", (confidence, interval.low), xytext=(0, -9), textcoords="offset points", ha="center",
                fontsize="x-small",
            )  # fmt: skip
        axes.set(xlabel="confidence", title=f"Test, {name} (numbers: rows)", xlim=(0.48, 1.02))
        axes.legend(loc="upper left")
    panels[0].set(ylabel="accuracy")
    return finished(figure)


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
    return finished(figure)


def plot_slices(results: Sequence[SliceResult]) -> Figure:
    """Draw what each slice is judged by, with its 95 % interval; orange where it is worse than elsewhere."""
    figure, axes = plt.subplots(figsize=(7, 0.28 * len(results) + 1.2))
    metric = results[0].metric
    factor = 1 if metric == "loss" else 100
    for place, one in enumerate(results):
        weak = verdict(one) == "worse"
        colour = ORANGE if weak else GREY if one.p_value is None else BLUE
        if one.judged is not None and one.judged_low is not None and one.judged_high is not None:
            axes.plot([factor * one.judged_low, factor * one.judged_high], [place, place], color=colour)
            axes.plot([factor * one.judged], [place], color=colour, marker="X" if weak else "o")
    names = [f"{one.slice}: {one.value} ({one.rows})" for one in results]
    axes.set_yticks(range(len(results)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set(
        xlabel=f"test {METRIC_NAMES[metric]}{'' if metric == 'loss' else ', %'}",
        title="Slices (orange: worse than elsewhere; grey: too few to compare)",
    )
    return finished(figure)


def plot_accuracy_latency(table: pd.DataFrame) -> Figure:
    """Draw accuracy against median latency: one point for each row of a benchmark table."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    accuracy = 100 * table["accuracy"]
    axes.scatter(table["p50_ms"], accuracy, color=BLUE, zorder=3)
    spread = max(0.5, accuracy.max() - accuracy.min())
    axes.set_ylim(accuracy.min() - spread, accuracy.max() + spread)
    axes.set_xscale("log")
    axes.set_xlim(table["p50_ms"].min() / 2, table["p50_ms"].max() * 2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="median latency, ms (log scale)", ylabel="test accuracy, %", title="Accuracy and latency")
    axes.grid(alpha=0.3)
    figure.tight_layout()  # labels are placed in pixels
    label_points(axes, [(str(name), x, y) for name, x, y in zip(table.index, table["p50_ms"], accuracy, strict=True)])
    return finished(figure)


def plot_ladder(rungs: Sequence[dict[str, Any]]) -> Figure:
    """Draw the texts a second and core of each rung, with its speed-up over the first."""
    figure, axes = plt.subplots(figsize=(10, 0.42 * len(rungs) + 1.2))
    rates = [row["texts_per_second_per_core"] for row in rungs]
    colours = [GREY if row["accuracy"] is None else BLUE for row in rungs]
    bars = axes.barh([row["note"] for row in rungs], rates, color=colours)
    speedups = [row["speedup"]["value"] for row in rungs]
    axes.bar_label(bars, [f"{value:.{1 if value < 10 else 0}f}x" for value in speedups], padding=4)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 1.5, max(rates) * 3)  # room for the label of the longest bar
    axes.set(xlabel="texts a second and core (log scale)", title="The ladder (grey: random weights)")
    return finished(figure)


def plot_search_history(table: pd.DataFrame, metric: str, higher_is_better: bool) -> Figure:
    """Draw the score of each trial of a search in order, and the best of the finished ones so far."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    _draw_trials(axes, table, "trial")
    completed = table[table["state"] != "stopped"].sort_values("trial")
    scores = completed["score"]
    axes.step(completed["trial"], scores.cummax() if higher_is_better else scores.cummin(), where="post", color=ORANGE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel=f"validation {metric}", title="The search; the line is the best so far")
    return finished(figure)


def plot_pareto_front(table: pd.DataFrame, metric: str) -> Figure:
    """Draw score against milliseconds of each trial of a search, and the best score there is at each speed."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    _draw_trials(axes, table, "milliseconds")
    columns = ["trial", "milliseconds", "score"]
    front = table[table["state"].isin(["front", "best"])].sort_values("milliseconds")
    axes.step(front["milliseconds"], front["score"], where="post", color=ORANGE)
    axes.set(xlabel="int8, ms a text", ylabel=f"validation {metric}", title="Trials; the line is the Pareto front")
    axes.margins(0.1)
    figure.tight_layout()  # labels are placed in pixels
    label_points(axes, [(f"{trial:g}", x, y) for trial, x, y in front[columns].to_numpy().tolist()])
    return finished(figure)


def plot_importances(table: pd.DataFrame) -> Figure:
    """Draw how much each setting matters to each objective of a search: settings as rows, objectives as columns."""
    figure, axes = plt.subplots(figsize=(7, 0.5 * len(table) + 1.2))
    table.iloc[::-1].plot.barh(ax=axes, color=[BLUE, ORANGE])
    axes.set(xlabel="share of the variance that the setting explains", title="What matters")
    return finished(figure)


def _draw_trials(axes: Axes, table: pd.DataFrame, across: str) -> None:
    """Scatter the scores of trials; those that were stopped early in grey."""
    for stopped, colour, marker, label in ((False, BLUE, "o", "finished"), (True, GREY, "x", "stopped early")):
        shown = table[(table["state"] == "stopped") == stopped]
        if len(shown):
            axes.scatter(shown[across], shown["score"], color=colour, marker=marker, label=label, zorder=3)
    axes.grid(alpha=0.3)
    axes.legend()
