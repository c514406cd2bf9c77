"""Is one classifier better than another? Paired tests on the same rows, and what they say in words."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from bert_textclassification.artifact import Comparison

SIGNIFICANT = 0.05
_RESAMPLES = 10_000


def compare(targets: ArrayLike, labels: ArrayLike, others: ArrayLike, name: str, other: str) -> Comparison:
    """Compare the accuracy of `labels` with that of `others`, all 0 or 1, row by row.

    The interval of the difference is a paired 95 % percentile bootstrap (Efron 1979), the p-value McNemar's exact
    test, two-sided. Which rows are resampled is drawn from a fixed seed.
    """
    won, lost, rows = _disagreements(targets, others, labels)
    low, high = np.percentile(_resampled_points(won, lost, rows), [2.5, 97.5])
    p_value = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    points = 100 * (won - lost) / rows
    return Comparison(
        points=points, low=float(low), high=float(high), p_value=p_value, rows=rows,
        sentence=_sentence(name, other, points, p_value, rows),
    )  # fmt: skip


def mcnemar(targets: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """Return the chance that the second labels are wrong where the first are right this often, were they equally good.

    McNemar's test (1947) in its exact form, one-sided: of the rows that one of the two gets wrong and the other right,
    a fair coin decides each.
    """
    won, lost, _ = _disagreements(targets, first, second)
    return float(binomtest(lost, lost + won, alternative="greater").pvalue) if lost + won else 1.0


def largest_loss(targets: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """Return the largest loss of accuracy of the second labels that the rows do not rule out, in points.

    The end of a one-sided 95 % percentile bootstrap over paired rows: what a test of non-inferiority looks at. It is
    no less than what so many rows leave open where none of them is lost, by Clopper and Pearson (1934): resampling rows
    that all agree would say that nothing can be lost.
    """
    won, lost, rows = _disagreements(targets, first, second)
    none_lost = 100 * (1 - math.pow(SIGNIFICANT, 1 / rows))
    return max(none_lost, float(np.percentile(-_resampled_points(won, lost, rows), 95)))


def smallest_visible_loss(rows: int, significance: float = SIGNIFICANT) -> float:
    """Return the smallest loss of accuracy that `mcnemar` can tell from chance: nothing won, every difference lost."""
    return math.ceil(math.log(significance) / math.log(0.5)) / rows


def _resampled_points(won: int, lost: int, rows: int) -> NDArray[np.float64]:
    """Return the difference of accuracy, in points, in each resample of the rows."""
    drawn = np.random.default_rng(0).multinomial(rows, [won / rows, lost / rows, 1 - (won + lost) / rows], _RESAMPLES)
    return 100.0 * (drawn[:, 0] - drawn[:, 1]) / rows


def _disagreements(targets: ArrayLike, first: ArrayLike, second: ArrayLike) -> tuple[int, int, int]:
    """Return how many rows only the second gets right, how many only the first, and how many there are."""
    truth = np.asarray(targets, dtype=bool)
    one, two = (np.asarray(labels, dtype=bool) == truth for labels in (first, second))
    return int(np.sum(two & ~one)), int(np.sum(one & ~two)), len(truth)


def _sentence(name: str, other: str, points: float, p_value: float, rows: int) -> str:
    if p_value < SIGNIFICANT:
        said = f"{name} is {'better' if points > 0 else 'worse'} than {other} ({points:+.2f} points of accuracy)."
        return said[0].upper() + said[1:]
    return f"Whether {name} is better or worse than {other} cannot be told with {rows} rows ({points:+.2f} points)."
