"""The pictures of a server: how long requests take, and how long callers wait."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bert_textclassification.training.drawing import BLUE, GREY, ORANGE, finished


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
    return finished(figure)
