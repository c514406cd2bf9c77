"""Comparisons of two classifiers on the same rows: what the tests see, and what the sentences say."""

import numpy as np
import pytest

from bert_textclassification.training.comparison import compare, largest_loss, mcnemar, smallest_visible_loss


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
        found = mcnemar([1] * rows, [1] * rows, [0] * lost + [1] * (rows - lost))
        assert (found < 0.05) is seen


def test_the_largest_loss_is_that_of_the_normal_approximation():
    targets, first, second = differing(won=60, lost=50, same=1890)
    spread = 100 * np.sqrt(110 / 2000**2)
    assert largest_loss(targets, first, second) == pytest.approx(0.5 + 1.645 * spread, abs=0.06)
    assert largest_loss(targets, second, first) == pytest.approx(-0.5 + 1.645 * spread, abs=0.06)


@pytest.mark.parametrize("rows", [8, 150, 2000])
def test_rows_that_all_agree_leave_open_what_so_few_of_them_can(rows):
    same = [1] * rows
    assert (1 - largest_loss(same, same, same) / 100) ** rows == pytest.approx(0.05)


def differing(won, lost, same):
    """Return targets, and the labels of two models of which the first alone is right `won` times, the other `lost`."""
    return [1] * (won + lost + same), [1] * won + [0] * lost + [1] * same, [0] * won + [1] * lost + [1] * same


@pytest.mark.parametrize(
    ("won", "lost", "says"),
    [
        (30, 5, "The model is better than the baseline (+2.50 points of accuracy)."),
        (5, 30, "The model is worse than the baseline (-2.50 points of accuracy)."),
        (4, 1, "Whether the model is better or worse than the baseline cannot be told with 1000 rows (+0.30 points)."),
        (0, 0, "Whether the model is better or worse than the baseline cannot be told with 1000 rows (+0.00 points)."),
    ],
)
def test_a_comparison_says_better_worse_or_that_it_cannot_be_told(won, lost, says):
    assert compare(*differing(won, lost, 1000 - won - lost), "the model", "the baseline").sentence == says


def test_the_interval_of_a_difference_holds_it_and_is_that_of_paired_rows():
    found = compare(*differing(60, 40, 900), "one", "another")
    assert found.points == pytest.approx(2.0)
    assert found.low < 2 < found.high
    # the variance of a difference of paired shares: (won + lost - (won - lost)^2 / rows) / rows^2
    error = 100 * np.sqrt(100 - 20**2 / 1000) / 1000
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_who_is_compared_with_whom_changes_the_sign_alone():
    targets, labels, others = differing(30, 5, 100)
    there, back = (compare(targets, *pair, "a", "b") for pair in ((labels, others), (others, labels)))
    assert (there.points, there.p_value) == (-back.points, back.p_value)
