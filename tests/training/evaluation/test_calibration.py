"""Calibration: the error of scores that are known to be right or wrong, and the effect of the temperature."""

import numpy as np
import pytest

from bert_textclassification.serving.calibration import margins
from bert_textclassification.training.evaluation.calibration import (
    LogOdds,
    calibration_error,
    calibration_floor,
    calibration_table,
    describe_calibration,
    fit_scale,
    log_loss,
    offset_helps,
    probabilities,
    reliability,
)
from bert_textclassification.training.evaluation.metrics import positive_scores


def overconfident(times, rows=20_000, seed=0):
    """Return targets drawn from known probabilities, and log-odds that are `times` too large."""
    rng = np.random.default_rng(seed)
    right = rng.normal(0, 2, rows)
    targets = (rng.random(rows) < 1 / (1 + np.exp(-right))).astype(int)
    return targets, times * right


@pytest.mark.parametrize("times", [0.5, 1, 3])
def test_the_temperature_is_the_factor_of_overconfident_logits(times):
    assert fit_scale(*overconfident(times)).temperature == pytest.approx(times, rel=0.05)


def test_right_probabilities_have_no_calibration_error_and_overconfident_ones_do():
    targets, log_odds = overconfident(3)
    assert calibration_error(targets, probabilities(log_odds)) > 0.08
    assert calibration_error(targets, probabilities(log_odds / 3)) < 0.01


def test_the_error_equals_a_hand_computed_value():
    # four texts at 0.9, three of them right; two negative texts at confidence 0.6, one of them right
    targets, scores = [1, 1, 1, 0, 0, 1], [0.9, 0.9, 0.9, 0.9, 0.4, 0.4]
    assert calibration_error(targets, scores) == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)
    assert reliability(targets, scores)["rows"].tolist() == [2, 4]


def test_no_label_changes_with_the_temperature():
    targets, log_odds = overconfident(2)
    np.testing.assert_array_equal(log_odds >= 0, fit_scale(targets, log_odds).log_odds(log_odds) >= 0)


def test_scores_equal_those_of_the_server():
    logits = np.array([[0, 0], [1, 3], [50, -50], [-3, 800]], dtype=np.float32)
    np.testing.assert_allclose(probabilities(margins(logits)), positive_scores(logits), rtol=1e-12)


def test_an_offset_is_found_where_every_score_of_a_class_is_too_high():
    targets, log_odds = overconfident(2, rows=2000)
    assert offset_helps(targets, log_odds + 1)
    scale = fit_scale(targets, log_odds + 1, with_offset=True)
    assert (scale.temperature, scale.offset) == (pytest.approx(2, rel=0.1), pytest.approx(-0.5, abs=0.15))
    assert log_loss(targets, scale.log_odds(log_odds + 1)) < log_loss(targets, log_odds / 2) + 0.002


def test_an_insignificant_offset_is_not_used():
    taken = [offset_helps(*overconfident(2, rows=200, seed=seed)) for seed in range(60)]
    assert np.mean(taken) <= 0.12  # of a test at 5 %


def test_rows_of_little_weight_hardly_move_the_scale():
    (targets, sure), (others, unsure) = overconfident(4, rows=2000), overconfident(1, rows=2000, seed=1)
    weights = np.repeat([1.0, 1e-3], 2000)
    scale = fit_scale(np.append(targets, others), np.append(sure, unsure), weights=weights)
    assert scale.temperature == pytest.approx(fit_scale(targets, sure).temperature, rel=0.02)


@pytest.mark.parametrize("rows", [2, 54, 2000])
def test_a_model_without_errors_is_only_as_confident_as_its_rows_allow(rows):
    log_odds = np.where(np.arange(rows) % 2, 5.0, -5.0)
    sure = probabilities(fit_scale(np.arange(rows) % 2, log_odds).log_odds(log_odds)).max()
    assert sure == pytest.approx((rows / 2 + 1) / (rows / 2 + 2), abs=1e-3)


def test_the_table_has_each_split_before_and_after():
    targets, log_odds = overconfident(3, rows=2000)
    table = calibration_table({"validation": (targets, LogOdds(log_odds, log_odds / 3))})
    assert table["validation"]["error_after"] < table["validation"]["error_before"]
    assert table["validation"]["log_loss_after"] < table["validation"]["log_loss_before"]


@pytest.mark.parametrize("rows", [50, 774, 5000])
def test_the_floor_is_the_error_of_perfect_scores(rows):
    rng = np.random.default_rng(1)
    scores = 1 / (1 + np.exp(-rng.normal(0, 3, rows)))
    errors = [calibration_error((rng.random(rows) < scores).astype(int), scores) for _ in range(100)]
    mean, high = calibration_floor(scores)
    assert mean == pytest.approx(np.mean(errors), rel=0.1)
    assert 85 <= np.sum(np.array(errors) <= high) <= 100


def test_more_rows_have_a_lower_floor_and_certain_scores_have_none():
    few, many = (calibration_floor(np.linspace(0.01, 0.99, rows)) for rows in (100, 10_000))
    assert many[0] < few[0]
    assert calibration_floor([0.0, 1.0, 1.0]) == (0, 0)


def test_the_sentence_compares_the_error_with_chance():
    targets, raw = overconfident(3, rows=2000)
    right, sure = (
        calibration_table({"test": (targets, LogOdds(raw, raw / temperature))})["test"] for temperature in (3, 1)
    )
    assert ", within chance: on this number of rows" in describe_calibration(right)
    assert ", more than chance explains: on this number of rows" in describe_calibration(sure)
