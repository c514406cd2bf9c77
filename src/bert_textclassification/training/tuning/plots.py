"""Figures of a search: its history, its Pareto front, and the importances of the settings."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bert_textclassification.training.display.drawing import BLUE, GREY, ORANGE, finished, label_points


def plot_search_history(table: pd.DataFrame, metric: str, higher_is_better: bool) -> Figure:
    """Draw the score of each trial in order, and the best score of the finished trials so far."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    _draw_trials(axes, table, "trial")
    completed = table[table["state"] != "stopped"].sort_values("trial")
    scores = completed["score"]
    axes.step(completed["trial"], scores.cummax() if higher_is_better else scores.cummin(), where="post", color=ORANGE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel=f"validation {metric}", title="Search history; the line is the best so far")
    return finished(figure)


def plot_pareto_front(table: pd.DataFrame, metric: str) -> Figure:
    """Draw the score against the milliseconds of each trial, and the Pareto front."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    _draw_trials(axes, table, "milliseconds")
    columns = ["trial", "milliseconds", "score"]
    front = table[table["state"].isin(["front", "best"])].sort_values("milliseconds")
    axes.step(front["milliseconds"], front["score"], where="post", color=ORANGE)
    axes.set(xlabel="int8, ms per text", ylabel=f"validation {metric}", title="Trials; the line is the Pareto front")
    axes.margins(0.1)
    figure.tight_layout()  # labels are placed in pixels
    label_points(axes, [(f"{trial:g}", x, y) for trial, x, y in front[columns].to_numpy().tolist()])
    return finished(figure)


def plot_importances(table: pd.DataFrame) -> Figure:
    """Draw the importance of each setting for each objective; `table` has settings as rows, objectives as columns."""
    figure, axes = plt.subplots(figsize=(7, 0.5 * len(table) + 1.2))
    table.iloc[::-1].plot.barh(ax=axes, color=[BLUE, ORANGE])
    axes.set(xlabel="share of the variance explained by the setting", title="Importance of the settings")
    return finished(figure)


def _draw_trials(axes: Axes, table: pd.DataFrame, across: str) -> None:
    """Scatter the scores of the trials, pruned ones in grey."""
    for stopped, colour, marker, label in ((False, BLUE, "o", "finished"), (True, GREY, "x", "pruned")):
        shown = table[(table["state"] == "stopped") == stopped]
        if len(shown):
            axes.scatter(shown[across], shown["score"], color=colour, marker=marker, label=label, zorder=3)
    axes.grid(alpha=0.3)
    axes.legend()
