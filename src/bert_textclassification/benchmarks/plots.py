"""Figures of latency: of requests, under load, against accuracy, and of the stages of the ladder."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from bert_textclassification.training.display.drawing import BLUE, GREY, ORANGE, finished, label_points


def plot_latencies(samples: Sequence[float], title: str) -> Figure:
    """Draw the distribution of request latencies in ms with its median and 95th percentile."""
    figure, axes = plt.subplots(figsize=(7, 3))
    axes.hist(samples, bins=40, color=BLUE)
    for share, colour in ((50, ORANGE), (95, GREY)):
        value = float(np.percentile(samples, share))
        axes.axvline(value, color=colour, linestyle="--", label=f"p{share} {value:.1f} ms")
    axes.set(xlabel="ms", ylabel="requests", title=title)
    axes.legend()
    return finished(figure)


def plot_waiting(curves: pd.DataFrame, measured: pd.DataFrame) -> Figure:
    """Draw the p99 by utilisation: computed for each number of cores, and measured in a load test."""
    figure, axes = plt.subplots(figsize=(7, 3.2))
    for number, cores in enumerate(curves.columns):
        shade = plt.get_cmap("Blues")(0.4 + 0.6 * number / len(curves.columns))
        axes.plot(curves.index, curves[cores], color=shade, label=f"Erlang C, cores: {cores}")
    label = f"measured, cores: {measured['cores'].iloc[0]}"
    axes.plot(measured["utilisation"], measured["p99_ms"], "o", color=ORANGE, label=label)
    axes.set(xlabel="utilisation of the cores", ylabel="p99, ms", yscale="log", title="Latency under load")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
    axes.legend()
    return finished(figure)


def plot_accuracy_latency(table: pd.DataFrame) -> Figure:
    """Draw the accuracy against the median latency, with a point for each row of a benchmark table."""
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


def plot_ladder(stages: Sequence[dict[str, Any]]) -> Figure:
    """Draw the texts per second and core of each stage, with its speed-up over the first stage."""
    figure, axes = plt.subplots(figsize=(10, 0.42 * len(stages) + 1.2))
    rates = [row["texts_per_second_per_core"] for row in stages]
    colours = [GREY if row["accuracy"] is None else BLUE for row in stages]
    bars = axes.barh([row["note"] for row in stages], rates, color=colours)
    speedups = [row["speedup"]["value"] for row in stages]
    axes.bar_label(bars, [f"{value:.{1 if value < 10 else 0}f}x" for value in speedups], padding=4)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 1.5, max(rates) * 3)  # room for the label of the longest bar
    axes.set(xlabel="texts per second and core (log scale)", title="Optimisation ladder (grey: random weights)")
    return finished(figure)
