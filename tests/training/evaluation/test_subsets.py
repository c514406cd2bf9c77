"""Significance of a subset: against Fisher's exact test, against permutation, and with uneven labels."""

import numpy as np
import pytest
from scipy.stats import fisher_exact

from bert_textclassification.training.evaluation.subsets import _permutation_test, compare_subset


def rows(right, inside, positive):
    """Return targets, scores and membership of rows, given as booleans."""
    targets = np.asarray(positive).astype(int)
    scores = np.where(np.asarray(right), targets, 1 - targets) * 0.8 + 0.1
    return targets, scores, np.asarray(inside)


@pytest.mark.parametrize(("inside_right", "rest_right"), [(20, 85), (30, 75), (27, 80), (40, 110)])
def test_in_one_stratum_it_is_fishers_exact_test(inside_right, rest_right):
    right = np.arange(150) < inside_right
    right[40:] = np.arange(110) < rest_right
    targets, scores, inside = rows(right, np.arange(150) < 40, np.zeros(150))
    expected, p_value = compare_subset("accuracy", targets, scores, inside, np.zeros(150), 0.5)
    table = [[inside_right, 40 - inside_right], [rest_right, 110 - rest_right]]
    assert p_value == pytest.approx(fisher_exact(table).pvalue)
    assert expected == pytest.approx((inside_right + rest_right) / 150)


def uneven(rng, inside_recall=0.6, inside_specificity=0.97):
    """Return 600 rows: a fifth is inside and has few positives; 40 % of the others are positive."""
    inside = np.arange(600) < 120
    positive = np.where(inside, np.arange(600) < 6, np.arange(600) % 5 < 2)
    recall, specificity = (np.where(inside, *pair) for pair in ((inside_recall, 0.6), (inside_specificity, 0.97)))
    right = rng.random(600) < np.where(positive, recall, specificity)
    return rows(right, inside, positive)


def test_few_positives_alone_are_not_significant():
    targets, scores, inside = uneven(np.random.default_rng(0))
    right = (scores >= 0.5) == (targets == 1)
    table = [[int((right & rows).sum()), int((~right & rows).sum())] for rows in (inside, ~inside)]
    assert fisher_exact(table).pvalue < 0.001  # an unstratified test finds a difference
    expected, p_value = compare_subset("accuracy", targets, scores, inside, targets, 0.5)
    assert p_value > 0.05
    assert expected == pytest.approx(right[inside].mean(), abs=0.03)


def test_more_errors_on_the_same_labels_are_significant():
    targets, scores, inside = uneven(np.random.default_rng(0), inside_specificity=0.8)
    expected, p_value = compare_subset("accuracy", targets, scores, inside, targets, 0.5)
    assert p_value < 0.001
    assert expected > ((scores >= 0.5) == (targets == 1))[inside].mean()


def test_permutation_agrees_with_the_exact_test():
    targets, scores, inside = uneven(np.random.default_rng(1), inside_specificity=0.86)
    exact = compare_subset("accuracy", targets, scores, inside, targets, 0.5)
    drawn = _permutation_test("accuracy", targets, scores, inside, targets, 0.5)
    assert drawn == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("metric", ["average_precision", "average_precision_negative", "f1", "loss"])
def test_a_ranking_that_is_worse_inside_is_significant_and_an_equal_one_is_not(metric):
    rng = np.random.default_rng(2)
    inside = np.arange(800) < 200
    targets = (np.arange(800) % 8 == 0).astype(int)
    evidence = rng.normal(size=800)
    equal, worse = (1 / (1 + np.exp(-(evidence + distance * targets - 2))) for distance in (3, np.where(inside, 0, 3)))
    assert compare_subset(metric, targets, equal, inside, targets, 0.5)[1] > 0.05
    assert compare_subset(metric, targets, worse, inside, targets, 0.5)[1] < 0.01


def test_rows_of_one_label_that_are_all_right_are_accepted():
    targets, scores, inside = rows([True] * 60, np.arange(60) < 30, np.arange(60) < 30)
    assert compare_subset("accuracy", targets, scores, inside, targets, 0.5) == (pytest.approx(1), pytest.approx(1))
