"""Figures for the notebooks and the hyperparameter search: each function draws one figure and returns it."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from bert_textclassification.artifact.manifest import Decision, SliceResult
from bert_textclassification.training.display.drawing import BLUE, GREY, ORANGE, finished
from bert_textclassification.training.evaluation.calibration import reliability
from bert_textclassification.training.evaluation.selection_metric import METRIC_NAMES
from bert_textclassification.training.evaluation.slices import verdict
from bert_textclassification.training.evaluation.thresholds import coverage_curve


def plot_lengths(lengths: dict[str, NDArray[np.int64]], max_length: int) -> Figure:
    """Draw the distribution of token lengths of each split and the maximum length."""
    figure, axes = plt.subplots(figsize=(7, 3))
    longest = max(int(values.max()) for values in lengths.values())
    shown = min(longest, 2 * max_length)
    bins = np.arange(0, shown + 2, max(1, shown // 50)).tolist()  # integer widths avoid a comb pattern
    for name, values in lengths.items():
        axes.hist(values, bins=bins, density=True, histtype="step", linewidth=1.5, label=name)
    axes.axvline(max_length, color=GREY, linestyle="--", label=f"maximum length {max_length}")
    axes.set(xlabel="tokens", ylabel="share of texts per token", title="Length of the texts")
    axes.legend()
    return finished(figure)


def plot_history(history: list[dict[str, float]], metric: str = "accuracy") -> Figure:
    """Draw training loss, validation loss and the validation value of `metric`, one of METRIC_NAMES, by step."""
    metric = "accuracy" if metric == "loss" else metric  # the loss has a panel of its own
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    for axes, name, label, colour in (
        (left, "loss", "train", BLUE),
        (left, "eval_loss", "validation", ORANGE),
        (right, f"eval_{metric}", "validation", ORANGE),
    ):
        points = [(row["step"], row[name]) for row in history if name in row]
        axes.plot(*zip(*points, strict=True), marker=".", color=colour, label=label)
        axes.set(xlabel="step")
        axes.legend()
    left.set(ylabel="loss", title="Loss")
    right.set(ylabel=METRIC_NAMES[metric], title=f"Validation {METRIC_NAMES[metric]}")
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

    A point is a bin, with its number of rows and the 95 % Wilson interval of its accuracy. No line connects the
    points, because small bins are noisy.
    """
    figure, panels = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
    for axes, scores, name in zip(panels, (before, after), ("before calibration", "after calibration"), strict=True):
        axes.axline((0.5, 0.5), slope=1, color=GREY, linestyle="--", label="perfect calibration")
        for rows, confidence, accuracy in reliability(targets, scores).to_numpy():
            interval = binomtest(round(accuracy * rows), int(rows)).proportion_ci(method="wilson")
            axes.vlines(confidence, interval.low, interval.high, color=BLUE, alpha=0.4)
            axes.scatter(confidence, accuracy, color=BLUE, s=16)
            axes.annotate(
                f"{rows:.0f}", (confidence, interval.low), xytext=(0, -9), textcoords="offset points", ha="center",
                fontsize="x-small",
            )  # fmt: skip
        axes.set(xlabel="confidence", title=f"Test, {name} (numbers: rows)", xlim=(0.48, 1.02))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)  # inside the axes it covers points
    panels[0].set(ylabel="accuracy")
    return finished(figure)


def plot_coverage(
    targets: Sequence[int], scores: NDArray[np.float64], decision: Decision, coverage: float | None = None
) -> Figure:
    """Draw accuracy on the most confident texts by their share, and the share of texts outside the review band."""
    curve = coverage_curve(targets, scores, decision.threshold)
    figure, axes = plt.subplots(figsize=(5, 3.2))
    axes.plot(100 * curve["coverage"], 100 * curve["accuracy"], color=BLUE)
    if coverage is not None:
        axes.axvline(100 * coverage, color=ORANGE, linestyle="--", label=f"outside the review band: {coverage:.0%}")
        axes.legend()
    axes.set(
        xlabel="share of the texts, most confident first, %",
        ylabel="accuracy, %",
        title="Accuracy on the most confident texts",
    )
    axes.grid(alpha=0.3)
    return finished(figure)


def plot_slices(results: Sequence[SliceResult]) -> Figure:
    """Draw the selection metric of each slice with its 95 % interval; orange slices are worse than the rest."""
    figure, axes = plt.subplots(figsize=(7, 0.28 * len(results) + 1.2))
    metric = results[0].metric
    factor = 1 if metric == "loss" else 100
    for row, result in enumerate(results):
        weak = verdict(result) == "worse"
        colour = ORANGE if weak else GREY if result.p_value is None else BLUE
        if result.judged is not None and result.judged_low is not None and result.judged_high is not None:
            axes.plot([factor * result.judged_low, factor * result.judged_high], [row, row], color=colour)
            axes.plot([factor * result.judged], [row], color=colour, marker="X" if weak else "o")
    names = [f"{result.slice}: {result.value} ({result.rows})" for result in results]
    axes.set_yticks(range(len(results)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set(
        xlabel=f"test {METRIC_NAMES[metric]}{'' if metric == 'loss' else ', %'}",
        title="Slices (orange: worse than the rest; grey: too few to compare)",
    )
    return finished(figure)
