"""Figures: labels of points do not overlap and are not cut off."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation, Text

from bert_textclassification.benchmarks import plots
from bert_textclassification.training.runs import RunFolder
from bert_textclassification.training.tuning.plots import plot_pareto_front

NAMES = ["torch fp32, padded", "torch fp32", "fp32", "int8_onnx", "int8", "int8_early", "int8_student"]


def boxes(figure):
    figure.canvas.draw()
    labels = [child for child in figure.axes[0].get_children() if isinstance(child, Annotation) and child.get_text()]
    return {label.get_text(): Text.get_window_extent(label) for label in labels}


@pytest.mark.parametrize(
    ("accuracies", "milliseconds"),
    [
        ([0.906, 0.906, 0.906, 0.9016, 0.906, 0.905, 0.892], [44, 17, 8.4, 3.8, 1.9, 1.05, 0.86]),
        ([0.9] * 7, [50, 12, 10, 9, 8.8, 8.7, 8.6]),
        ([0.9] * 7, [5] * 7),
        ([0.9, 0.9, 0.9, 0.899, 0.901, 0.5, 0.9], [50, 49, 48, 47, 46, 45, 44]),
    ],
    ids=["sst2", "close", "equal", "distant"],
)
def test_names_of_points_lie_side_by_side_inside_the_picture(accuracies, milliseconds):
    figure = plots.plot_accuracy_latency(pd.DataFrame({"accuracy": accuracies, "p50_ms": milliseconds}, NAMES))
    label_boxes = boxes(figure)
    assert label_boxes.keys() == set(NAMES)
    assert not [
        pair for pair in itertools.combinations(label_boxes, 2) if label_boxes[pair[0]].overlaps(label_boxes[pair[1]])
    ]
    frame = figure.axes[0].bbox
    assert all(frame.contains(*box.min) and frame.contains(*box.max) for box in label_boxes.values())


def test_marks_of_the_latency_axis_lie_side_by_side():
    table = pd.DataFrame({"accuracy": [0.9, 0.9], "p50_ms": [0.86, 44]}, ["fast", "slow"])
    figure = plots.plot_accuracy_latency(table)
    figure.canvas.draw()
    marks = [mark for mark in figure.axes[0].get_xticklabels(which="both") if mark.get_text()]
    drawn = [box for mark in marks if figure.axes[0].bbox.x0 <= (box := mark.get_window_extent()).x0]
    assert len(drawn) >= 3
    assert not any(a.overlaps(b) for a, b in itertools.combinations(drawn, 2))


def test_the_front_of_a_search_is_named_without_overlaps():
    trials = pd.DataFrame(
        {
            "trial": range(8),
            "state": "front",
            "milliseconds": np.linspace(1, 1.05, 8),
            "score": np.linspace(0.9, 0.901, 8),
        }
    )
    label_boxes = boxes(plot_pareto_front(trials, "accuracy"))
    assert not any(label_boxes[a].overlaps(label_boxes[b]) for a, b in itertools.combinations(label_boxes, 2))


def test_the_ladder_shows_whole_words():
    stages = [
        {"note": f"stage {number}", "texts_per_second_per_core": 3.0 * 6**number, "accuracy": number or None}
        | {"speedup": {"value": 6.0**number}}
        for number in range(5)
    ]
    figure = plots.plot_ladder(stages)
    figure.canvas.draw()
    frame, whole = figure.axes[0].bbox, figure.bbox
    assert all(box.x1 < frame.x1 for box in boxes(figure).values())
    texts = [figure.axes[0].xaxis.label, figure.axes[0].title, *figure.axes[0].get_yticklabels()]
    assert all(whole.x0 <= text.get_window_extent().x0 and text.get_window_extent().x1 <= whole.x1 for text in texts)


def test_a_figure_of_an_earlier_run_is_deleted(tmp_path):
    run = RunFolder(tmp_path)
    path = run.save_figure(plots.plot_latencies([1.0, 2.0], "x"), "ladder")
    assert path.exists()
    run.save_figure(None, "ladder")
    assert not path.exists()
