"""Calibration: what the error says of scores that are known to be right or wrong, and what the temperature mends."""

import numpy as np
import pytest

from bert_textclassification.training.calibration import (
    calibrated_scores,
    calibration_error,
    calibration_floor,
    calibration_in_words,
    calibration_table,
    fit_temperature,
    reliability,
)
from bert_textclassification.training.evaluation import positive_scores


def overconfident(times, rows=20_000):
    """Return targets drawn from known probabilities, and logits that are `times` as far apart as they should be."""
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 2, rows)
    targets = (rng.random(rows) < 1 / (1 + np.exp(-margins))).astype(int)
    return targets, np.stack([np.zeros(rows), times * margins], axis=1).astype(np.float32)


@pytest.mark.parametrize("times", [0.5, 1, 3])
def test_the_temperature_is_how_many_times_the_logits_are_too_far_apart(times):
    assert fit_temperature(*overconfident(times)) == pytest.approx(times, rel=0.05)


def test_right_probabilities_have_no_calibration_error_and_overconfident_ones_do():
    targets, logits = overconfident(3)
    assert calibration_error(targets, calibrated_scores(logits, 1)) > 0.08
    assert calibration_error(targets, calibrated_scores(logits, 3)) < 0.01


def test_the_error_is_the_one_worked_out_by_hand():
    # four texts at 0.9 of which three are right, two negative ones at 0.6 confidence of which one is right
    targets, scores = [1, 1, 1, 0, 0, 1], [0.9, 0.9, 0.9, 0.9, 0.4, 0.4]
    assert calibration_error(targets, scores) == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)
    assert reliability(targets, scores)["rows"].tolist() == [2, 4]


def test_no_label_changes_with_the_temperature():
    logits = overconfident(2)[1]
    np.testing.assert_array_equal(calibrated_scores(logits, 1) >= 0.5, calibrated_scores(logits, 2.7) >= 0.5)


def test_scores_are_those_that_the_server_gives():
    logits = np.array([[0, 0], [1, 3], [50, -50], [-3, 800]], dtype=np.float32)
    np.testing.assert_allclose(calibrated_scores(logits, 1), positive_scores(logits), rtol=1e-12)


@pytest.mark.parametrize("rows", [2, 54, 2000])
def test_a_model_that_is_never_wrong_is_as_sure_as_its_rows_allow(rows):
    margins = np.where(np.arange(rows) % 2, 5.0, -5.0)
    logits = np.stack([np.zeros(rows), margins], axis=1).astype(np.float32)
    sure = calibrated_scores(logits, fit_temperature(np.arange(rows) % 2, logits)).max()
    assert sure == pytest.approx((rows / 2 + 1) / (rows / 2 + 2), abs=1e-3)


def test_the_table_tells_before_and_after_for_each_split():
    targets, logits = overconfident(3, rows=2000)
    table = calibration_table({"validation": (targets, logits)}, temperature=3)
    assert table["validation"]["error_after"] < table["validation"]["error_before"]
    assert table["validation"]["log_loss_after"] < table["validation"]["log_loss_before"]


@pytest.mark.parametrize("rows", [50, 774, 5000])
def test_the_floor_is_what_right_scores_measure(rows):
    rng = np.random.default_rng(1)
    scores = 1 / (1 + np.exp(-rng.normal(0, 3, rows)))
    errors = [calibration_error((rng.random(rows) < scores).astype(int), scores) for _ in range(100)]
    mean, high = calibration_floor(scores)
    assert mean == pytest.approx(np.mean(errors), rel=0.1)
    assert 85 <= np.sum(np.array(errors) <= high) <= 100


def test_more_rows_have_a_lower_floor_and_sure_scores_have_none():
    few, many = (calibration_floor(np.linspace(0.01, 0.99, rows)) for rows in (100, 10_000))
    assert many[0] < few[0]
    assert calibration_floor([0.0, 1.0, 1.0]) == (0, 0)


def test_the_error_is_put_in_words_beside_its_floor():
    targets, logits = overconfident(3, rows=2000)
    right, sure = (calibration_table({"test": (targets, logits)}, temperature)["test"] for temperature in (3, 1))
    assert ", no more than chance gives: right scores would measure" in calibration_in_words(right)
    assert ", more than chance gives: right scores would measure" in calibration_in_words(sure)
