"""The gate: losses of ranking and calibration, the rejection of variants for them, and the choice of the default."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from bert_textclassification.artifact.manifest import PASSED, Interval, Variant
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.export.accuracy_gate import (
    average_precision_loss,
    choose_default,
    is_faster,
    keeps_within,
    log_loss_increase,
    verdict,
)
from bert_textclassification.training.export.variants import VARIANTS

CONFIG = TrainingConfig.of({"data": "x"})
NO_LOSS, SEEN, BY_CHANCE = (Interval(value=value, low=low, high=9) for value, low in ((0, 0), (4, 0.5), (4, -0.5)))


def variant(**facts):
    same = {"file": "a", "sha256": "0" * 64, "size_bytes": 1, "precision": "int8", "verdict": PASSED}
    return Variant(**same | {"accuracy": {}, "agreement": {}, "largest_score_change": {}} | facts)


def scored(rows=600, positives=0.3, noise=0.0, seed=0):
    """Return targets, calibrated log-odds, and the same with noise that leaves most labels as they are."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(np.log(positives / (1 - positives)), 3, rows)
    targets = (rng.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(int)
    return targets, log_odds, log_odds + rng.normal(0, noise, rows)


def test_the_loss_of_average_precision_is_the_difference_in_points():
    targets, theirs, own = scored(noise=2)
    loss = average_precision_loss(targets, theirs, own)
    expected = average_precision_score(targets, theirs) - average_precision_score(targets, own)
    assert loss.value == pytest.approx(100 * expected)
    assert loss.low < loss.value < loss.high


def test_the_ranking_is_that_of_the_rarer_label():
    targets, theirs, own = scored(positives=0.1, noise=2)
    mirrored = average_precision_loss(1 - targets, -theirs, -own)
    assert mirrored.value == pytest.approx(average_precision_loss(targets, theirs, own).value)
    of_the_common_label = average_precision_score(1 - targets, -theirs) - average_precision_score(1 - targets, -own)
    assert mirrored.value > 3 * 100 * of_the_common_label


def test_what_ranks_worse_is_seen_to_lose_and_what_is_only_rounded_is_not():
    targets, theirs, own = scored(noise=3)
    assert average_precision_loss(targets, theirs, own).low > 0
    targets, theirs, own = scored(noise=0.02)
    loss = average_precision_loss(targets, theirs, own)
    assert abs(loss.value) < 0.5
    assert loss.low <= 0 or loss.value < 0.1


def test_overconfident_scores_keep_the_ranking_and_lose_log_loss():
    targets, theirs, _ = scored()
    assert average_precision_loss(targets, theirs, 3 * theirs).value == 0
    increase = log_loss_increase(targets, theirs, 3 * theirs)
    assert increase.low > CONFIG.max_log_loss_increase
    assert log_loss_increase(targets, theirs, theirs) == Interval(value=0, low=0, high=0)


@pytest.mark.parametrize("targets", [[0, 0, 0], [1, 1, 1], [1]])
def test_rows_of_one_label_can_be_judged(targets):
    log_odds = np.arange(len(targets), dtype=float)
    assert average_precision_loss(targets, log_odds, -log_odds).value == 0
    assert np.isfinite(log_loss_increase(targets, log_odds, -log_odds).high)


@pytest.mark.parametrize(
    ("loss", "p_value", "expected"),
    [
        (0.5, 0.3, PASSED),
        (0.51, 0.3, "loses 0.51 points of accuracy, where 0.5 are allowed"),
        (0.4, 0.049, "loses 0.40 points of accuracy, a significant loss (p = 0.049)"),
        (-0.4, 0.01, PASSED),
    ],
)
def test_a_variant_may_lose_neither_much_nor_significantly(loss, p_value, expected):
    assert verdict(variant(loss_points=loss, p_value=p_value), CONFIG, VARIANTS["int8"]) == expected


@pytest.mark.parametrize(("at_most", "passes"), [(0.5, True), (0.51, False)])
def test_of_a_student_it_must_be_shown_that_it_loses_no_more(at_most, passes):
    found = variant(loss_points=-0.3, p_value=0.9, loss_at_most=at_most)
    assert (verdict(found, CONFIG, VARIANTS["int8_student"]) == PASSED) is passes
    assert verdict(found, CONFIG, VARIANTS["int8"]) == PASSED


@pytest.mark.parametrize("name", ["int8", "int8_onnx", "int8_early", "int8_student"])
def test_a_variant_with_a_significant_loss_of_ranking_or_log_loss_is_rejected_with_the_figures(name):
    assert verdict(variant(average_precision_loss=SEEN), CONFIG, VARIANTS[name]) == (
        "loses 4.00 points of average precision (+0.50 to +9.00), where 0.5 are allowed"
    )
    assert verdict(variant(log_loss_increase=SEEN), CONFIG, VARIANTS[name]) == (
        "adds 4.000 nats to the log loss (+0.500 to +9.000), where 0.01 are allowed"
    )


@pytest.mark.parametrize(("name", "passes"), [("int8", True), ("int8_onnx", True), ("int8_early", False)])
def test_chance_excuses_rounded_weights_and_not_an_early_exit(name, passes):
    for loss in ("average_precision_loss", "log_loss_increase"):
        assert (verdict(variant(**{loss: BY_CHANCE}), CONFIG, VARIANTS[name]) == PASSED) is passes
        assert verdict(variant(**{loss: NO_LOSS}), CONFIG, VARIANTS[name]) == PASSED


def test_an_older_variant_without_these_figures_passes_by_its_accuracy():
    assert verdict(variant(loss_points=0.1), CONFIG, VARIANTS["int8"]) == PASSED


@pytest.mark.parametrize("rows", [60, 200, 600])
def test_a_choice_keeps_its_ranking_by_more_the_fewer_rows_there_are(rows):
    targets, theirs, own = scored(rows=rows, noise=3)
    assert not keeps_within(targets, theirs, own, CONFIG)
    assert keeps_within(targets, theirs, theirs, CONFIG)


def times(spread=0.0, rounds=5, texts=40, seed=0, **means):
    """Return milliseconds, [rounds, texts], with a spread between rounds as a share of the mean."""
    rng = np.random.default_rng(seed)
    return {
        name: mean * (1 + spread * rng.uniform(-1, 1, (rounds, 1))) * np.linspace(0.5, 1.5, texts)
        for name, mean in means.items()
    }


def test_the_fastest_that_passed_becomes_the_default():
    found = {
        "fp32": variant(),
        "int8": variant(loss_points=0.2),
        "int8_early": variant(verdict="loses 3.00 points of accuracy, where 0.5 are allowed"),
    }
    name, reason = choose_default(found, times(fp32=4.0, int8=2.0, int8_early=1.0), rows=2000)
    assert name == "int8"
    assert (
        "int8 is the fastest that keeps accuracy, average precision and log loss: 2.0 times as fast as fp32" in reason
    )
    assert "(2.0 to 2.0 in 5 rounds of 40 texts, measured when the artifact was made)" in reason
    assert "accuracy -0.20 points on the 2000 rows" in reason
    assert "int8_early loses 3.00 points" in reason
    assert "Losses of accuracy under 0.25 points cannot be detected on 2000 rows." in reason


def test_a_variant_that_is_not_clearly_faster_does_not_replace_a_more_exact_one():
    passed = dict.fromkeys(("fp32", "int8", "int8_onnx", "int8_early"), variant())
    noisy = times(spread=0.3, fp32=4.0, int8=2.0, int8_onnx=1.9, int8_early=1.8)
    name, reason = choose_default(passed, noisy, rows=500)
    assert name == "int8"
    assert "int8 is more exact than" in reason
    assert "which is not clearly faster" in reason
    assert choose_default(passed, times(fp32=4.0, int8=2.0, int8_onnx=1.9, int8_early=1.2), rows=500)[0] == "int8_early"


def test_equal_speeds_give_the_same_default_whatever_the_noise():
    passed = dict.fromkeys(("fp32", "int8", "int8_onnx", "int8_early"), variant())
    found = [
        choose_default(passed, times(0.1, seed=seed, fp32=9.0, int8=2.0, int8_onnx=2.0, int8_early=2.0), rows=500)[0]
        for seed in range(40)
    ]
    assert found.count("int8") >= 34  # three rivals, each with one chance in 32 to be faster in all five rounds


def test_a_busy_spell_does_not_hide_what_is_much_faster():
    found = times(fp32=4.0, int8=2.0)
    found["int8"][2, :15] *= 50  # of 40 texts
    assert is_faster(found, "int8", "fp32")
    assert not is_faster(found, "fp32", "int8")


def test_a_gain_too_small_to_notice_is_none():
    assert not is_faster(times(int8=1.0, int8_early=0.97), "int8_early", "int8")
    assert is_faster(times(int8=1.0, int8_early=0.94), "int8_early", "int8")
