"""A gap between validation and test: reported if it is significant, with the likely cause."""

import numpy as np
import pandas as pd
import pytest

from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.evaluation.generalisation_gap import gap_of_splits


def scored(positives, negatives, right_share, words=5):
    """Return a frame, its targets and scores; the share of right scores is the same for both labels."""
    targets = np.array([1] * positives + [0] * negatives)
    right = np.concatenate([np.arange(rows) < round(right_share * rows) for rows in (positives, negatives)])
    frame = pd.DataFrame({"text": ["word " * words] * len(targets), "label": np.where(targets, "bad", "good")})
    return frame, targets, np.where(right, targets, 1 - targets) * 0.8 + 0.1


def gap(validation, test, metric="accuracy"):
    splits = Splits(validation[0], validation[0], test[0], ("good", "bad"), [])
    names = ("validation", "test")
    targets, scores = (
        {name: split[place] for name, split in zip(names, (validation, test), strict=True)} for place in (1, 2)
    )
    return gap_of_splits(metric, targets, scores, splits, 0.5)


def test_a_significant_gap_is_reported():
    (sentence,) = gap(scored(100, 100, 0.96), scored(100, 100, 0.85))
    assert sentence.startswith("Validation has 96.0% accuracy and test has 85.0%, a larger gap than chance")
    assert "trust the test score" in sentence


def test_a_gap_within_chance_is_not_reported():
    assert gap(scored(100, 100, 0.90), scored(100, 100, 0.87)) == []
    assert gap(scored(10, 10, 1.0), scored(10, 10, 0.8)) == []


def test_an_easier_test_split_is_reported_too():
    (sentence,) = gap(scored(100, 100, 0.85), scored(100, 100, 0.96))
    assert "Validation has 85.0% accuracy and test has 96.0%" in sentence


def test_what_differs_between_the_splits_is_named():
    (sentence,) = gap(scored(100, 100, 0.96), scored(20, 180, 0.80, words=30))
    assert "'bad' is 50.0% of validation and 10.0% of test" in sentence
    assert "the median text has 5 words in validation and 30 in test" in sentence


@pytest.mark.parametrize("metric", ["average_precision", "f1"])
def test_on_imbalanced_data_the_selection_metric_is_compared(metric):
    good, poor = scored(40, 360, 0.98), scored(40, 360, 0.98)
    poor[2][:20] = 0.05  # half of the rare label is missed: five points of accuracy
    (sentence,) = gap(good, poor, metric)
    assert {"average_precision": "average precision", "f1": "F1"}[metric] in sentence
    assert gap(good, good, metric) == []
