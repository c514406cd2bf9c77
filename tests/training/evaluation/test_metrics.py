"""Metrics: hand-computed values, coverage of intervals, and the tables."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from bert_textclassification.training.evaluation import metrics as evaluation
from bert_textclassification.training.evaluation.metrics import (
    METRICS,
    accuracy,
    agreement,
    binary_metrics,
    compute_metrics,
    confusion_matrix,
    intervals_table,
    largest_score_change,
    metrics_with_intervals,
    positive_scores,
    worst_mistakes,
)
from bert_textclassification.training.evaluation.thresholds import labels_of

TARGETS = [1, 1, 1, 0, 0, 0, 0, 0]
SCORES = [
    0.9,
    0.6,
    0.2,
    0.7,
    0.4,
    0.3,
    0.1,
    0.1,
]  # 2 true positives, 1 false negative, 1 false positive, 4 true negatives


def test_metrics_equal_hand_computed_values():
    expected = {
        "accuracy": 6 / 8,
        "f1": 2 / 3,
        "precision": 2 / 3,
        "recall": 2 / 3,
        "average_precision": (1 / 1 + 2 / 3 + 3 / 6) / 3,
        "average_precision_negative": (2 * 2 / 2 + 3 / 4 + 4 / 5 + 5 / 7) / 5,
        "roc_auc": (5 + 4 + 2) / 15,
    }
    assert compute_metrics(TARGETS, SCORES) == pytest.approx(expected)
    assert tuple(expected) == METRICS


@pytest.mark.parametrize("digits", [1, 16], ids=["with ties", "without ties"])
def test_metrics_are_those_of_scikit_learn(digits):
    rng = np.random.default_rng(0)
    targets, scores = rng.integers(0, 2, 500), rng.random(500).round(digits)
    ours, predicted = binary_metrics(targets, scores, 0.3), scores >= 0.3
    for name in ("accuracy", "f1", "precision", "recall"):
        assert ours[name] == pytest.approx(getattr(sklearn_metrics, f"{name}_score")(targets, predicted))
    for name in ("average_precision", "roc_auc"):
        assert ours[name] == pytest.approx(getattr(sklearn_metrics, f"{name}_score")(targets, scores))
    of_negatives = sklearn_metrics.average_precision_score(1 - targets, -scores)
    assert ours["average_precision_negative"] == pytest.approx(of_negatives)


def test_intervals_are_those_of_scikit_learn_on_the_same_resamples(few_resamples):
    rng = np.random.default_rng(1)
    targets, scores = rng.integers(0, 2, 80), rng.random(80).round(1)
    metrics = metrics_with_intervals(targets.tolist(), scores, seed=3)
    rng, classes = np.random.default_rng(3), [np.flatnonzero(targets == value) for value in (0, 1)]
    resamples = [np.concatenate([rng.choice(rows, len(rows)) for rows in classes]) for _ in range(50)]
    areas = [sklearn_metrics.roc_auc_score(targets[rows], scores[rows]) for rows in resamples]
    assert (metrics["roc_auc"]["low"], metrics["roc_auc"]["high"]) == pytest.approx(np.percentile(areas, [2.5, 97.5]))


def test_a_threshold_moves_recall_but_not_the_ranking():
    strict, loose = compute_metrics(TARGETS, SCORES, 0.8), compute_metrics(TARGETS, SCORES, 0.2)
    assert (strict["recall"], strict["precision"]) == (pytest.approx(1 / 3), 1)
    assert (loose["recall"], loose["precision"]) == (1, pytest.approx(3 / 6))
    assert strict["roc_auc"] == loose["roc_auc"]


def test_a_score_at_the_threshold_is_positive():
    assert compute_metrics([1, 0], [0.5, 0.4999])["accuracy"] == 1


def test_a_model_that_never_predicts_positive_scores_zero():
    metrics = compute_metrics([1, 0, 0], [0.1, 0.2, 0.3])
    assert (metrics["precision"], metrics["recall"], metrics["f1"]) == (0, 0, 0)


@pytest.fixture(scope="module")
def intervals():
    return metrics_with_intervals(TARGETS * 50, SCORES * 50, seed=0)


def test_intervals_hold_the_value(intervals):
    assert list(intervals) == list(METRICS)
    assert all(interval["low"] < interval["value"] < interval["high"] for interval in intervals.values())
    assert intervals["recall"]["value"] == pytest.approx(2 / 3)


def test_an_interval_is_as_wide_as_the_normal_approximation(intervals):
    spread = np.sqrt((3 * (2 / 9) + 5 * (4 / 25)) / 8 / 400)  # of rows drawn within each class
    assert intervals["accuracy"]["low"] == pytest.approx(0.75 - 1.96 * spread, abs=0.006)
    assert intervals["accuracy"]["high"] == pytest.approx(0.75 + 1.96 * spread, abs=0.006)


def test_the_same_seed_gives_the_same_intervals(few_resamples):
    first, second, other = (metrics_with_intervals(TARGETS * 5, SCORES * 5, seed) for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_a_single_positive_is_in_every_resample(few_resamples):
    metrics = metrics_with_intervals([1] + [0] * 30, [0.9] + [0.1] * 30, seed=0)
    assert metrics["recall"] == {"value": 1, "low": 1, "high": 1}


def test_intervals_are_shown_in_percent():
    table = intervals_table({"accuracy": {"value": 0.81249, "low": 0.75, "high": 0.9}})
    assert table.loc["accuracy"].to_dict() == {"value": 81.2, "low": 75.0, "high": 90.0}


def test_scores_are_the_softmax_of_the_second_class():
    logits = np.array([[0, 0], [1, 3], [50, -50]], dtype=np.float32)
    exponentials = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(positive_scores(logits), exponentials[:, 1] / exponentials.sum(axis=1), rtol=1e-12)


def test_confusion_has_true_labels_as_rows():
    table = confusion_matrix([1, 1, 1, 1, 0, 0, 0], [0.9, 0.4, 0.3, 0.2, 0.5, 0.1, 0.1], ("routine", "escalate"))
    assert table.loc["routine"].to_dict() == {"routine": 2, "escalate": 1}
    assert table.loc["escalate"].to_dict() == {"routine": 3, "escalate": 1}
    assert (table.index.name, table.columns.name) == ("true", "predicted")


def test_worst_mistakes_come_first_without_right_predictions():
    labels = ["escalate" if target else "routine" for target in TARGETS]
    frame = pd.DataFrame({"text": list("abcdefgh"), "label": labels, "line": range(8)})
    table = worst_mistakes(frame, TARGETS, SCORES)
    assert table.to_numpy().tolist() == [["c", "escalate", 0.2], ["d", "routine", 0.3]]
    assert worst_mistakes(frame, TARGETS, SCORES, rows=1)["text"].tolist() == ["c"]


def test_accuracy_agreement_and_change_of_two_models():
    first = np.array([[0, 2], [0, 2], [2, 0], [2, 0]], dtype=np.float32)
    second = np.array([[0, 2], [1, 0], [2, 0], [2, 0]], dtype=np.float32)
    labels = [labels_of(logits) for logits in (first, second)]
    assert [accuracy([1, 0, 0, 0], given) for given in labels] == [0.75, 1.0]
    assert agreement(*labels) == 0.75
    assert largest_score_change(first, second) == pytest.approx(1 / (1 + np.exp(-2)) - 1 / (1 + np.exp(1)))


def test_a_tie_is_positive_as_at_the_threshold():
    assert labels_of(np.zeros((1, 2), dtype=np.float32)).tolist() == [True]


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(evaluation, "RESAMPLES", 50)
