"""Test whether a model is significantly better or worse on a subset of the rows, such as a slice or a split.

    expected, p_value = compare_subset("accuracy", targets, scores, inside, strata=targets)

Under the null hypothesis the model is equally good everywhere, and each row of a stratum is equally likely to be in the
subset. With the true labels as strata, a subset is compared with rows of the same label balance, so that its share of
positives has no effect.
"""

from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import hypergeom

from bert_textclassification.training.evaluation.metric_values import Counts, blocks, metric_value, metric_values

_FIRST_DRAWS, _DRAWS = 200, 5_000
_CLEARLY_CHANCE = 0.2  # p-value above which the first draws are enough


def compare_subset(
    metric: str, targets: ArrayLike, scores: ArrayLike, inside: NDArray[np.bool_], strata: ArrayLike, threshold: float
) -> tuple[float, float]:
    """Return the expected metric of the rows `inside`, and the two-sided p-value of the observed difference.

    The reference is a random subset with the same number of rows from each stratum. Accuracy has an exact test, the
    stratified form of Fisher's test (Gart 1970). Other metrics of METRIC_NAMES have a Monte Carlo permutation test with
    a fixed seed; the log loss is negated.
    """
    truth, score, groups = np.asarray(targets), np.asarray(scores, dtype=np.float64), np.asarray(strata)
    if metric == "accuracy":
        return _exact_test((score >= threshold) == (truth == 1), inside, groups)
    return _permutation_test(metric, truth, score, inside, groups, threshold)


def _exact_test(right: NDArray[np.bool_], inside: NDArray[np.bool_], strata: NDArray[np.int64]) -> tuple[float, float]:
    """Return expected accuracy and p-value; the number of right rows inside each stratum is hypergeometric."""
    lowest, expected, distributions = 0, 0.0, []
    for stratum in np.unique(strata):
        rows = strata == stratum
        total, total_right, drawn = int(rows.sum()), int(right[rows].sum()), int(inside[rows].sum())
        fewest = max(0, drawn + total_right - total)
        counts = np.arange(fewest, min(drawn, total_right) + 1)
        distributions.append(hypergeom.pmf(counts, total, total_right, drawn))
        lowest += fewest
        expected += drawn * total_right / total
    distribution = reduce(np.convolve, distributions)
    observed = distribution[int(right[inside].sum()) - lowest]
    # The factor is a tolerance for rounding, as in R's fisher.test.
    p_value = distribution[distribution <= observed * (1 + 1e-7)].sum()
    return expected / int(inside.sum()), min(1.0, float(p_value))


def _permutation_test(
    metric: str,
    targets: NDArray[np.int64],
    scores: NDArray[np.float64],
    inside: NDArray[np.bool_],
    strata: NDArray[np.int64],
    threshold: float,
) -> tuple[float, float]:
    """Return the mean of the metric over draws and the p-value; stop early if the p-value is clearly large."""
    rng = np.random.default_rng(0)
    observed, drawn, p_value = metric_value(metric, targets[inside], scores[inside], threshold), np.empty(0), 1.0
    for draws in (_FIRST_DRAWS, _DRAWS):
        for block in blocks(draws - len(drawn), len(inside)):
            taken = _drawn_rows(inside, strata, block, rng)
            drawn = np.append(drawn, metric_values(metric, targets, scores, taken, threshold))
        as_low, as_high = np.sum(drawn <= observed + 1e-12), np.sum(drawn >= observed - 1e-12)
        p_value = min(1.0, float(2 * (1 + min(as_low, as_high)) / (1 + draws)))
        if p_value > _CLEARLY_CHANCE:
            break
    return float(drawn.mean()), p_value


def _drawn_rows(inside: NDArray[np.bool_], strata: NDArray[np.int64], draws: int, rng: np.random.Generator) -> Counts:
    """Return 1 for rows in a random subset with the strata of `inside`, else 0, for each draw: [draws, rows]."""
    taken = np.zeros((draws, len(inside)), dtype=np.int64)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        taken[:, rows] = rng.permuted(np.tile(inside[rows], (draws, 1)), axis=1)
    return taken
