"""Paired tests of whether one classifier is better than another on the same rows, with a sentence on the result."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, rankdata

from bert_textclassification.artifact.manifest import Comparison
from bert_textclassification.training.evaluation.metric_values import Values, blocks, metric_values, resampled
from bert_textclassification.training.evaluation.selection_metric import METRIC_NAMES

SIGNIFICANT = 0.05
_RESAMPLES = 10_000
_DRAWS = 2_000  # resamples and permutations of a metric that must sort each of them


def compare(targets: ArrayLike, labels: ArrayLike, others: ArrayLike, name: str, other: str) -> Comparison:
    """Compare the accuracy of `labels` with that of `others`, all 0 or 1, row by row.

    The interval of the difference is a paired 95 % percentile bootstrap (Efron 1979) with a fixed seed. The p-value is
    from McNemar's exact test, two-sided.
    """
    won, lost, rows = _disagreements(targets, others, labels)
    low, high = np.percentile(_resampled_points(won, lost, rows), [2.5, 97.5])
    p_value = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    points = 100 * (won - lost) / rows
    return Comparison(
        points=points, low=float(low), high=float(high), p_value=p_value, rows=rows,
        sentence=_sentence(name, other, points, p_value, rows),
    )  # fmt: skip


def compare_scores(
    targets: ArrayLike, scores: ArrayLike, others: ArrayLike, metric: str, name: str, other: str
) -> Comparison:
    """Compare two models by `metric`, one of METRIC_NAMES, from their positive-class scores for the same rows.

    The threshold is 0.5. For accuracy see `compare`. For other metrics, the interval of the difference is a paired 95 %
    percentile bootstrap (Efron 1979) within each label. The p-value is from a two-sided paired permutation test: if
    both models are equally good, the scores of a row can be swapped (Fisher 1935; ranking metrics swap ranks,
    Venkatraman and Begg 1996). Except for the log loss, the p-value is at least that of a sign test in which all rows
    of the rarer label agree, so that a few such rows are never significant. The seed is fixed.
    """
    truth, pair = np.asarray(targets).astype(np.int64), np.array([scores, others], dtype=np.float64)
    if metric == "accuracy":
        return compare(truth, pair[0] >= 0.5, pair[1] >= 0.5, name, other)
    rng = np.random.default_rng(0)
    points = 100 * _difference(metric, truth, *pair)
    low, high = np.percentile(100 * _resampled_differences(metric, truth, pair, rng), [2.5, 97.5])
    p_value = _permutation_p_value(metric, truth, pair, rng)
    if metric != "loss":
        p_value = max(p_value, min(1.0, math.pow(2, 1 - min(np.bincount(truth, minlength=2)))))
    return Comparison(
        metric=metric, points=float(points), low=float(low), high=float(high), p_value=p_value, rows=len(truth),
        sentence=_sentence(name, other, float(points), p_value, len(truth), metric),
    )  # fmt: skip


def describe_gain(points: float, metric: str) -> str:
    """Describe a difference in hundredths of `metric`; positive is a gain."""
    if metric == "loss":
        return f"log loss {'lower' if points > 0 else 'higher'} by {abs(points) / 100:.4f}"
    return f"{points:+.2f} points of {METRIC_NAMES[metric]}"


def mcnemar(targets: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """Return the one-sided p-value that the second labels are less accurate than the first.

    McNemar's exact test (1947): if both are equally good, each is right on half of the rows that only one gets right.
    """
    won, lost, _ = _disagreements(targets, first, second)
    return float(binomtest(lost, lost + won, alternative="greater").pvalue) if lost + won else 1.0


def points_lost(targets: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """Return how many points of accuracy the second labels lose relative to the first.

    It is computed from counts, because 100 * (0.92 - 0.915) exceeds 0.5 in floating point.
    """
    won, lost, rows = _disagreements(targets, first, second)
    return 100 * (lost - won) / rows


def largest_loss(targets: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """Return the upper confidence bound of the accuracy loss of the second labels, in points, for non-inferiority.

    It is the end of a one-sided 95 % percentile bootstrap over paired rows. It is at least the bound of Clopper and
    Pearson (1934) for this number of rows without any loss, because resampling rows that all agree gives a bound of 0.
    """
    won, lost, rows = _disagreements(targets, first, second)
    none_lost = 100 * (1 - math.pow(SIGNIFICANT, 1 / rows))
    return max(none_lost, float(np.percentile(-_resampled_points(won, lost, rows), 95)))


def smallest_visible_loss(rows: int, significance: float = SIGNIFICANT) -> float:
    """Return the smallest loss of accuracy, in [0, 1], that `mcnemar` can detect: every differing row is lost."""
    return math.ceil(math.log(significance) / math.log(0.5)) / rows


def _resampled_points(won: int, lost: int, rows: int) -> NDArray[np.float64]:
    """Return the difference of accuracy, in points, in each resample of the rows."""
    drawn = np.random.default_rng(0).multinomial(rows, [won / rows, lost / rows, 1 - (won + lost) / rows], _RESAMPLES)
    return 100.0 * (drawn[:, 0] - drawn[:, 1]) / rows


def _disagreements(targets: ArrayLike, first: ArrayLike, second: ArrayLike) -> tuple[int, int, int]:
    """Return the number of rows that only the second gets right, that only the first gets right, and of all rows."""
    truth = np.asarray(targets, dtype=bool)
    first_right, second_right = (np.asarray(labels, dtype=bool) == truth for labels in (first, second))
    return int(np.sum(second_right & ~first_right)), int(np.sum(first_right & ~second_right)), len(truth)


def _difference(
    metric: str, targets: NDArray[np.int64], scores: Values, others: Values, counts: ArrayLike | None = None
) -> Values:
    """Return the metric of `scores` minus that of `others` for each resample; for arguments see `metric_values`."""
    return np.asarray(metric_values(metric, targets, scores, counts) - metric_values(metric, targets, others, counts))


def _resampled_differences(metric: str, targets: NDArray[np.int64], pair: Values, rng: np.random.Generator) -> Values:
    """Return the difference between the scores of `pair`, [2, rows], in each of _DRAWS resamples."""
    drawn = (resampled(targets, draws, rng) for draws in blocks(_DRAWS, len(targets)))
    return np.concatenate([_difference(metric, targets, pair[0], pair[1], counts) for counts in drawn])


def _permutation_p_value(metric: str, targets: NDArray[np.int64], pair: Values, rng: np.random.Generator) -> float:
    """Return how often random swaps of scores between the models of `pair`, [2, rows], give as large a difference."""
    first, second = rankdata(pair, axis=1) if metric.startswith("average_precision") else pair
    observed = abs(_difference(metric, targets, first, second)) - 1e-12  # tolerance for rounding
    as_large = 0
    for draws in blocks(_DRAWS, len(targets)):
        swapped = rng.random((draws, len(targets))) < 0.5
        differences = _difference(metric, targets, np.where(swapped, second, first), np.where(swapped, first, second))
        as_large += int(np.sum(np.abs(differences) >= observed))
    return (1 + as_large) / (1 + _DRAWS)


def _sentence(name: str, other: str, points: float, p_value: float, rows: int, metric: str = "accuracy") -> str:
    gain = describe_gain(points, metric)
    if p_value < SIGNIFICANT:
        sentence = f"{name} is {'better' if points > 0 else 'worse'} than {other} ({gain})."
        return sentence[0].upper() + sentence[1:]
    return f"Whether {name} is better or worse than {other} cannot be told with {rows} rows ({gain})."
