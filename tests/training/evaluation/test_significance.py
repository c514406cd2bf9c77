"""Comparisons of two classifiers on the same rows: the tests and the sentences."""

import numpy as np
import pytest

from bert_textclassification.training.evaluation import significance
from bert_textclassification.training.evaluation.metric_values import metric_values
from bert_textclassification.training.evaluation.significance import (
    compare,
    compare_scores,
    largest_loss,
    mcnemar,
    points_lost,
    smallest_visible_loss,
)


@pytest.mark.parametrize(
    ("lost", "won", "chance"),
    [(0, 0, 1.0), (5, 0, 1 / 32), (4, 0, 1 / 16), (0, 5, 1.0), (1, 1, 0.75), (9, 1, 11 / 1024)],
)
def test_mcnemar_is_the_chance_of_a_fair_coin(lost, won, chance):
    targets = [1] * (lost + won + 20)
    first = [1] * lost + [0] * won + [1] * 20
    second = [0] * lost + [1] * won + [1] * 20
    assert mcnemar(targets, first, second) == pytest.approx(chance)


@pytest.mark.parametrize("rows", [5, 100, 872])
def test_the_smallest_visible_loss_is_the_first_that_mcnemar_sees(rows):
    fewest = round(smallest_visible_loss(rows) * rows)
    for lost, seen in ((fewest, True), (fewest - 1, False)):
        result = mcnemar([1] * rows, [1] * rows, [0] * lost + [1] * (rows - lost))
        assert (result < 0.05) is seen


@pytest.mark.parametrize(("lost", "rows", "points"), [(1, 200, 0.5), (3, 1000, 0.3), (2, 1000, 0.2), (0, 7, 0)])
def test_a_loss_of_exactly_the_limit_does_not_exceed_it(lost, rows, points):
    right = np.ones(rows, dtype=int)
    labels = np.arange(rows) >= lost
    assert points_lost(right, right, labels) == points


def test_the_largest_loss_is_that_of_the_normal_approximation():
    targets, first, second = differing(won=60, lost=50, same=1890)
    spread = 100 * np.sqrt(110 / 2000**2)
    assert largest_loss(targets, first, second) == pytest.approx(0.5 + 1.645 * spread, abs=0.06)
    assert largest_loss(targets, second, first) == pytest.approx(-0.5 + 1.645 * spread, abs=0.06)


@pytest.mark.parametrize("rows", [8, 150, 2000])
def test_without_differences_the_bound_depends_on_the_number_of_rows(rows):
    same = [1] * rows
    assert (1 - largest_loss(same, same, same) / 100) ** rows == pytest.approx(0.05)


def differing(won, lost, same):
    """Return targets and the labels of two models; in `won` rows only the first is right, in `lost` only the second."""
    return [1] * (won + lost + same), [1] * won + [0] * lost + [1] * same, [0] * won + [1] * lost + [1] * same


CANNOT_TELL = "Whether the model is better or worse than the baseline cannot be told with 1000 rows"


@pytest.mark.parametrize(
    ("won", "lost", "says"),
    [
        (30, 5, "The model is better than the baseline (+2.50 points of accuracy)."),
        (5, 30, "The model is worse than the baseline (-2.50 points of accuracy)."),
        (4, 1, f"{CANNOT_TELL} (+0.30 points of accuracy)."),
        (0, 0, f"{CANNOT_TELL} (+0.00 points of accuracy)."),
    ],
)
def test_a_comparison_says_better_worse_or_that_it_cannot_be_told(won, lost, says):
    assert compare(*differing(won, lost, 1000 - won - lost), "the model", "the baseline").sentence == says


def test_the_interval_of_a_difference_holds_it_and_is_that_of_paired_rows():
    result = compare(*differing(60, 40, 900), "one", "another")
    assert result.points == pytest.approx(2.0)
    assert result.low < 2 < result.high
    # variance of a difference of paired shares: (won + lost - (won - lost)^2 / rows) / rows^2
    error = 100 * np.sqrt(100 - 20**2 / 1000) / 1000
    assert (result.high - result.low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_the_order_of_the_models_changes_only_the_sign():
    targets, labels, others = differing(30, 5, 100)
    there, back = (compare(targets, *pair, "a", "b") for pair in ((labels, others), (others, labels)))
    assert (there.points, there.p_value) == (-back.points, back.p_value)


def ranked(average_precision, rows=600, positives=60, seed=0):
    """Return scores, all under 0.5, that rank `positives` rows, the first ones, with about this average precision."""
    rng = np.random.default_rng(seed)
    targets, noise = (np.arange(rows) < positives).astype(int), rng.normal(size=rows)
    distances = np.linspace(0, 5, 501)[:, None]
    result = metric_values("average_precision", targets, noise + distances * targets)
    distance = distances[np.argmin(np.abs(result - average_precision))]
    return targets, 0.4 / (1 + np.exp(-(noise + distance * targets)))


def test_a_model_that_ranks_better_is_better_though_accuracy_cannot_tell():
    (targets, scores), (_, others) = ranked(0.558), ranked(0.320, seed=1)
    by_accuracy, by_ranking = (
        compare_scores(targets, scores, others, metric, "the model", "the baseline")
        for metric in ("accuracy", "average_precision")
    )
    assert by_accuracy.sentence.startswith("Whether the model is better or worse")
    assert by_ranking.metric == "average_precision"
    assert by_ranking.points == pytest.approx(23.8, abs=1)
    assert 0 < by_ranking.low < by_ranking.points < by_ranking.high
    gain = f"{by_ranking.points:+.2f} points of average precision"
    assert by_ranking.sentence == f"The model is better than the baseline ({gain})."


@pytest.mark.parametrize("positives", [1, 2, 5])
def test_a_few_positive_rows_are_never_significant(positives):
    targets = (np.arange(300) < positives).astype(int)
    perfect, reversed_ = targets * 0.9 + 0.05, 0.95 - targets * 0.9
    rng = np.random.default_rng(0)
    noise = 0.01 * rng.random((2, 300))
    result = compare_scores(targets, perfect + noise[0], reversed_ + noise[1], "average_precision", "a", "b")
    assert result.points > 50
    assert "cannot be told with 300 rows" in result.sentence


@pytest.mark.parametrize("metric", ["f1", "average_precision", "average_precision_negative", "loss"])
def test_a_model_equals_itself_and_the_order_changes_only_the_sign(metric):
    (targets, scores), (_, others) = ranked(0.6, 200, 30), ranked(0.3, 200, 30, seed=1)
    same = compare_scores(targets, scores, scores, metric, "a", "b")
    assert (same.points, same.p_value) == (0, 1)
    there, back = (compare_scores(targets, *pair, metric, "a", "b") for pair in ((scores, others), (others, scores)))
    assert there.points == pytest.approx(-back.points)
    assert there.p_value == back.p_value


@pytest.mark.parametrize("metric", ["f1", "average_precision", "loss"])
def test_equally_good_models_rarely_differ_significantly(metric, monkeypatch):
    monkeypatch.setattr(significance, "_DRAWS", 200)
    rng, alarms = np.random.default_rng(5), 0
    for _ in range(60):
        targets = (np.arange(150) < 20).astype(int)
        truth = rng.normal(size=150) + 1.5 * targets  # shared signal; each model adds its own noise
        pair = [1 / (1 + np.exp(-(truth + rng.normal(size=150) - 1))) for _ in range(2)]
        alarms += compare_scores(targets, *pair, metric, "a", "b").p_value < 0.05
    assert alarms <= 8  # 3 are expected; more than 8 have a probability of 1 in 300


def test_a_lower_log_loss_is_better():
    targets, scores = ranked(0.9, 400, 80)
    worse = np.clip(scores + 0.3, 0, 1)
    result = compare_scores(targets, scores, worse, "loss", "the model", "another")
    assert result.points > 0
    assert result.sentence.startswith("The model is better than another (log loss lower by 0.")
