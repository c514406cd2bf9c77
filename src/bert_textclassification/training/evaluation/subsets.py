"""Does a model do better or worse on some rows than on the others, beyond chance? The test for a slice or a split.

    expected, p_value = stands_out("accuracy", targets, scores, inside, strata=targets)

Within each stratum it is as likely for any row to be inside, were the model equally good everywhere. With the true
labels as strata, rows inside that have few positives are compared with as few from everywhere: their share of
positives alone makes them neither better nor worse.
"""

from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import hypergeom

from bert_textclassification.training.evaluation.metric_values import Counts, blocks, metric_value, metric_values

_FIRST_DRAWS, _DRAWS = 200, 5_000
_CLEARLY_CHANCE = 0.2  # p-value at which the first draws are enough


def stands_out(
    metric: str, targets: ArrayLike, scores: ArrayLike, inside: NDArray[np.bool_], strata: ArrayLike, threshold: float
) -> tuple[float, float]:
    """Return the metric to expect of the rows `inside`, and how likely chance alone makes a difference as large.

    Both are of as many rows of each stratum drawn from all rows. Accuracy is tested exactly: the stratified form of
    Fisher's test (Gart 1970), two-sided. Another metric, one of METRIC_NAMES, is tested by drawing (Monte Carlo
    permutation test, two-sided) from a fixed seed; the log loss is negated.
    """
    truth, score, groups = np.asarray(targets), np.asarray(scores, dtype=np.float64), np.asarray(strata)
    if metric == "accuracy":
        return _exactly((score >= threshold) == (truth == 1), inside, groups)
    return _by_drawing(metric, truth, score, inside, groups, threshold)


def _exactly(right: NDArray[np.bool_], inside: NDArray[np.bool_], strata: NDArray[np.int64]) -> tuple[float, float]:
    """Return the expected accuracy inside and the p-value: right answers inside a stratum are hypergeometric."""
    least, expected, chances = 0, 0.0, []
    for stratum in np.unique(strata):
        rows = strata == stratum
        drawn_from, right_ones, drawn = int(rows.sum()), int(right[rows].sum()), int(inside[rows].sum())
        fewest = max(0, drawn + right_ones - drawn_from)
        counts = np.arange(fewest, min(drawn, right_ones) + 1)
        chances.append(hypergeom.pmf(counts, drawn_from, right_ones, drawn))
        least += fewest
        expected += drawn * right_ones / drawn_from
    chance = reduce(np.convolve, chances)
    seen = chance[int(right[inside].sum()) - least]
    p_value = chance[chance <= seen * (1 + 1e-7)].sum()  # as likely but for rounding, as in R's fisher.test
    return expected / int(inside.sum()), min(1.0, float(p_value))


def _by_drawing(
    metric: str,
    targets: NDArray[np.int64],
    scores: NDArray[np.float64],
    inside: NDArray[np.bool_],
    strata: NDArray[np.int64],
    threshold: float,
) -> tuple[float, float]:
    """Return the mean of the metric over draws and the p-value; a difference that is clearly chance takes few draws."""
    rng = np.random.default_rng(0)
    seen, drawn, p_value = metric_value(metric, targets[inside], scores[inside], threshold), np.empty(0), 1.0
    for draws in (_FIRST_DRAWS, _DRAWS):
        for block in blocks(draws - len(drawn), len(inside)):
            taken = _drawn_rows(inside, strata, block, rng)
            drawn = np.append(drawn, metric_values(metric, targets, scores, taken, threshold))
        as_low, as_high = np.sum(drawn <= seen + 1e-12), np.sum(drawn >= seen - 1e-12)
        p_value = min(1.0, float(2 * (1 + min(as_low, as_high)) / (1 + draws)))
        if p_value > _CLEARLY_CHANCE:
            break
    return float(drawn.mean()), p_value


def _drawn_rows(inside: NDArray[np.bool_], strata: NDArray[np.int64], draws: int, rng: np.random.Generator) -> Counts:
    """Return 1 for as many rows of each stratum as are inside, else 0, for each draw: [draws, rows]."""
    taken = np.zeros((draws, len(inside)), dtype=np.int64)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        taken[:, rows] = rng.permuted(np.tile(inside[rows], (draws, 1)), axis=1)
    return taken
