"""Thresholds and review bands meet the objective that they are chosen for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_textclassification.artifact.manifest import Decision
from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.evaluation.metrics import binary_metrics
from bert_textclassification.training.evaluation.thresholds import (
    choose_decision,
    choose_threshold,
    coverage_curve,
    labels_of,
    review_band,
    review_yield,
)


def config(**settings):
    return TrainingConfig.of({"data": "x", **settings})


def rare(rows=4000, share=0.1, skill=2.0, seed=0):
    """Return targets with few positives, and informative calibrated scores."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(rows) < share).astype(int)
    evidence = rng.normal(skill * (targets - 0.5), 1)  # log-likelihood ratio skill * evidence
    return targets, 1 / (1 + np.exp(-(skill * evidence + np.log(share / (1 - share)))))


def yields(objective, **others):
    targets, scores = rare()
    threshold, met = choose_threshold(config(threshold_objective=objective, **others), targets, scores)
    return threshold, met, binary_metrics(targets, scores, threshold), binary_metrics(targets, scores, 0.5)


def test_a_threshold_for_f1_yields_more_f1_than_a_half():
    threshold, _, metrics, half = yields("f1")
    assert threshold < 0.5
    assert metrics["f1"] > half["f1"] + 0.05


@pytest.mark.parametrize(
    ("objective", "kept", "other"), [("precision>=0.9", "precision", "recall"), ("recall>=.8", "recall", "precision")]
)
def test_a_bound_is_met_with_the_highest_other_metric(objective, kept, other):
    _, met, metrics, _ = yields(objective)
    bound = float(objective.partition(">=")[2])
    targets, scores = rare()
    better = [binary_metrics(targets, scores, candidate) for candidate in np.linspace(0.01, 0.99, 99)]
    assert met
    assert metrics[kept] >= bound
    assert metrics[other] >= max(values[other] for values in better if values[kept] >= bound) - 0.02


@pytest.mark.parametrize("objective", ["precision>=0.9", "f1"])
@pytest.mark.slow
def test_a_rare_label_among_many_rows_has_thresholds_enough(objective):
    targets, scores = rare(rows=100_000, share=0.002, skill=3.0)
    threshold, _ = choose_threshold(config(threshold_objective=objective), targets, scores)
    metrics = binary_metrics(targets, scores, threshold)
    every = [binary_metrics(targets, scores, candidate) for candidate in np.sort(scores)[-400::2]]
    if objective == "f1":
        assert metrics["f1"] > max(values["f1"] for values in every) - 0.05
    else:
        assert metrics["precision"] >= 0.9
        assert metrics["recall"] >= max(values["recall"] for values in every if values["precision"] >= 0.9)


def test_a_bound_that_no_threshold_meets_is_reported():
    targets, scores = [0, 1, 0, 0], [0.9, 0.5, 0.8, 0.1]
    decision = choose_decision(config(threshold_objective="precision>=0.99"), targets, np.array(scores), "validation")
    assert "no threshold reached it" in decision.objective


def test_a_missed_text_that_costs_nine_times_as_much_lowers_the_threshold_to_a_tenth():
    threshold, *_ = yields("cost", false_negative_cost=9)
    assert threshold == pytest.approx(0.1, abs=0.05)


def test_insignificant_gains_keep_the_threshold_at_a_half():
    thresholds = [choose_threshold(config(seed=seed), *rare(rows=300, share=0.5, seed=seed))[0] for seed in range(10)]
    assert np.mean(np.array(thresholds) == 0.5) >= 0.7
    assert np.max(np.abs(np.array(thresholds) - 0.5)) < 0.2


def test_without_an_objective_the_threshold_is_a_half():
    assert choose_threshold(config(threshold_objective="none"), [0, 1], [0.9, 0.1]) == (0.5, True)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=30),
    objective=st.sampled_from(["accuracy", "f1", "cost", "precision>=0.7", "recall>=0.7"]),
)
def test_every_threshold_can_be_stored(rows, objective):
    targets, scores = zip(*rows, strict=True)
    threshold, _ = choose_threshold(config(threshold_objective=objective), targets, scores)
    assert 0 < Decision(threshold=threshold).threshold < 1


@pytest.mark.parametrize("objective", ["recal>=0.9", "precision", "precision>=1.2", "best"])
def test_an_unknown_objective_is_rejected(objective):
    with pytest.raises(ConfigurationError, match="threshold_objective"):
        config(threshold_objective=objective)


def test_in_the_review_band_a_review_costs_less_than_the_expected_error():
    assert review_band(config(review_cost=0.1)) == pytest.approx((0.1, 0.9))
    assert review_band(config(review_cost=0.1, false_negative_cost=5)) == pytest.approx((0.02, 0.9))
    assert review_band(config(review_cost=0)) is None
    assert review_band(config(review_cost=0.6)) is None  # no prediction is that likely to be wrong


def test_review_lowers_the_cost_and_the_rest_is_more_accurate():
    targets, scores = rare(share=0.4)
    settings = config(review_cost=0.2)
    metrics = review_yield(targets, scores, Decision(review_band=review_band(settings)), settings)
    everything = binary_metrics(targets, scores)["accuracy"]
    assert metrics["cost_with_review"] < metrics["cost_without_review"] == pytest.approx(1 - everything)
    assert metrics["accuracy_decided"] > everything
    assert 0.3 < metrics["coverage"] < 0.95


def test_the_coverage_curve_starts_with_the_most_confident_texts_and_ends_with_all():
    curve = coverage_curve([1, 0, 1, 1], [0.9, 0.05, 0.4, 0.55], threshold=0.5)
    assert curve["coverage"].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve["accuracy"].tolist() == [1, 1, pytest.approx(2 / 3), 0.75]


def test_the_label_is_that_of_the_larger_logit():
    assert labels_of(np.array([[0, 1], [0, 0], [0, -3]], dtype=np.float32)).tolist() == [True, True, False]


@pytest.mark.parametrize("lowest", [0, 1])
def test_every_positive_can_be_found_whichever_row_has_the_lowest_score(lowest):
    decision = choose_decision(
        config(threshold_objective="recall>=0.999"), [lowest, 0, 1, 1], np.array([0.1, 0.2, 0.3, 0.4]), "v"
    )
    assert "no threshold reached it" not in decision.objective
    assert decision.threshold == pytest.approx(0.05 if lowest else 0.25)


@pytest.mark.parametrize("bound", ["precision>=0.95", "recall>=0.95", "precision>=0.999", "recall>=0.999"])
def test_of_thresholds_that_keep_a_bound_equally_the_one_nearest_to_a_half_is_chosen(bound):
    targets, scores = [0] * 20 + [1] * 20, [0.01] * 19 + [0.05] + [0.95] * 20
    threshold, kept = choose_threshold(config(threshold_objective=bound), targets, scores)
    assert kept
    assert threshold == 0.5
