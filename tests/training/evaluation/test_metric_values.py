"""The selection metrics: against scikit-learn, for one set of rows and for many resamples."""

import numpy as np
import pytest
from sklearn import metrics

from bert_textclassification.training.evaluation.metric_values import blocks, metric_value, metric_values, resampled
from bert_textclassification.training.evaluation.selection_metric import METRIC_NAMES

SCIKIT_LEARN = {
    "accuracy": lambda targets, scores: metrics.accuracy_score(targets, scores >= 0.5),
    "f1": lambda targets, scores: metrics.f1_score(targets, scores >= 0.5),
    "average_precision": metrics.average_precision_score,
    "average_precision_negative": lambda targets, scores: metrics.average_precision_score(1 - targets, -scores),
    "loss": lambda targets, scores: -metrics.log_loss(targets, scores),
}
every_metric = pytest.mark.parametrize("metric", METRIC_NAMES)


def rows(digits):
    rng = np.random.default_rng(0)
    return rng.integers(0, 2, 200), rng.random(200).round(digits), rng


@every_metric
@pytest.mark.parametrize("digits", [1, 16], ids=["with ties", "without ties"])
def test_a_value_equals_that_of_scikit_learn(metric, digits):
    targets, scores, _ = rows(digits)
    assert metric_value(metric, targets, scores) == pytest.approx(SCIKIT_LEARN[metric](targets, scores))


@every_metric
@pytest.mark.parametrize("digits", [1, 16], ids=["with ties", "without ties"])
def test_resamples_have_the_values_of_the_rows_they_repeat(metric, digits):
    targets, scores, rng = rows(digits)
    counts = resampled(targets, 5, rng)
    wanted = [SCIKIT_LEARN[metric](np.repeat(targets, count), np.repeat(scores, count)) for count in counts]
    np.testing.assert_allclose(metric_values(metric, targets, scores, counts), wanted)


@every_metric
@pytest.mark.parametrize("digits", [1, 16], ids=["with ties", "without ties"])
def test_scores_may_differ_from_resample_to_resample(metric, digits):
    targets, _, rng = rows(digits)
    scores = rng.random((5, 200)).round(digits)
    expected = [SCIKIT_LEARN[metric](targets, sample_scores) for sample_scores in scores]
    np.testing.assert_allclose(metric_values(metric, targets, scores), expected)


def test_a_certain_mistake_has_the_loss_of_scikit_learn():
    assert metric_value("loss", [0, 1], [1.0, 0.0]) == pytest.approx(-metrics.log_loss([0, 1], [1.0, 0.0]))


@every_metric
def test_rows_of_one_label_have_a_value(metric):
    assert np.isfinite(metric_value(metric, [0, 0], [0.2, 0.7]))
    assert np.isfinite(metric_value(metric, [1, 1], [0.2, 0.7]))


def test_resamples_keep_the_number_of_each_label():
    targets, _, rng = rows(1)
    counts = resampled(targets, 50, rng)
    assert (counts @ targets == targets.sum()).all()
    assert (counts.sum(axis=1) == 200).all()


def test_blocks_add_up_and_fit_in_memory():
    assert list(blocks(2000, 100)) == [2000]
    assert list(blocks(7, 1_000_000)) == [2, 2, 2, 1]
    assert list(blocks(3, 10**9)) == [1, 1, 1]
