"""The reliability plot: separate bins with their number of rows."""

import numpy as np
from matplotlib.lines import Line2D

from bert_textclassification.training.evaluation.calibration import reliability
from bert_textclassification.training.evaluation.plots import plot_reliability


def drawn():
    rng = np.random.default_rng(0)
    before, after = rng.random(300), 0.3 + 0.4 * rng.random(300)
    return (rng.random(300) < before).astype(int), before, after


def test_every_bin_shows_its_rows():
    targets, before, after = drawn()
    panels = plot_reliability(targets, before, after).axes
    for axes, scores in zip(panels, (before, after), strict=True):
        counts = [int(text.get_text()) for text in axes.texts]
        assert counts == reliability(targets, scores)["rows"].tolist()
        assert sum(counts) == 300


def test_bins_are_not_joined_by_lines():
    for axes in plot_reliability(*drawn()).axes:
        lines = [line for line in axes.get_children() if isinstance(line, Line2D)]
        assert [line.get_label() for line in lines] == ["perfect calibration"]
