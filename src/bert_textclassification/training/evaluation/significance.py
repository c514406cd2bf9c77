"""Is one classifier better than another? Paired tests on the same rows, and what they say in words."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, rankdata

from bert_textclassification.artifact.manifest import Comparison
from bert_textclassification.training.evaluation.metric_values import Values, blocks, metric_values, resampled
from bert_textclassification.training.evaluation.selection_metric import METRIC_NAMES

SIGNIFICANT = 0.05
_RESAMPLES = 10_000
_DRAWS = 2_000  # resamples, and permutations, of a metric that takes a ranking each


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


def compare_scores(
    targets: ArrayLike, scores: ArrayLike, others: ArrayLike, metric: str, name: str, other: str
) -> Comparison:
    """Compare two models by `metric`, one of METRIC_NAMES, from their positive-class scores for the same rows.

    Labels are given from 0.5 on. Accuracy is compared by `compare`. Of another metric the interval of the difference
    is a paired 95 % percentile bootstrap (Efron 1979) within each label, the p-value a paired permutation test,
    two-sided: were both equally good, the scores of a row could as well be the other's (Fisher 1935; for rankings,
    whose scores are compared by their ranks, Venkatraman and Begg 1996). A handful
    of rows of the rarer label proves nothing: it is no less than in a sign test in which each of them says the same,
    unless the metric is the log loss. What is drawn comes from a fixed seed.
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


def gain_in_words(points: float, metric: str) -> str:
    """Return a difference in hundredths of `metric`, positive where it is a gain, in words."""
    if metric == "loss":
        return f"log loss {'lower' if points > 0 else 'higher'} by {abs(points) / 100:.4f}"
    return f"{points:+.2f} points of {METRIC_NAMES[metric]}"


def mcnemar(targets: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """Return the chance that the second labels are wrong where the first are right this often, were they equally good.

    McNemar's test (1947) in its exact form, one-sided: of the rows that one of the two gets wrong and the other right,
    a fair coin decides each.
    """
    won, lost, _ = _disagreements(targets, first, second)
    return float(binomtest(lost, lost + won, alternative="greater").pvalue) if lost + won else 1.0


def points_lost(targets: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """Return how many points of accuracy the second labels lose against the first.

    It is computed from counts: 100 * (0.92 - 0.915) is more than 0.5 in floating point.
    """
    won, lost, rows = _disagreements(targets, first, second)
    return 100 * (lost - won) / rows


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


def _difference(
    metric: str, targets: NDArray[np.int64], scores: Values, others: Values, counts: ArrayLike | None = None
) -> Values:
    """Return by how much `scores` are better than `others`, for each resample; arguments as of `metric_values`."""
    return np.asarray(metric_values(metric, targets, scores, counts) - metric_values(metric, targets, others, counts))


def _resampled_differences(metric: str, targets: NDArray[np.int64], pair: Values, rng: np.random.Generator) -> Values:
    """Return the difference between the scores of `pair`, [2, rows], in each of _DRAWS resamples."""
    drawn = (resampled(targets, draws, rng) for draws in blocks(_DRAWS, len(targets)))
    return np.concatenate([_difference(metric, targets, pair[0], pair[1], counts) for counts in drawn])


def _permutation_p_value(metric: str, targets: NDArray[np.int64], pair: Values, rng: np.random.Generator) -> float:
    """Return how often a difference is as large as that of `pair`, [2, rows], where chance swaps the scores of rows."""
    one, another = rankdata(pair, axis=1) if metric.startswith("average_precision") else pair
    seen = abs(_difference(metric, targets, one, another)) - 1e-12  # as large but for rounding
    as_large = 0
    for draws in blocks(_DRAWS, len(targets)):
        swapped = rng.random((draws, len(targets))) < 0.5
        differences = _difference(metric, targets, np.where(swapped, another, one), np.where(swapped, one, another))
        as_large += int(np.sum(np.abs(differences) >= seen))
    return (1 + as_large) / (1 + _DRAWS)


def _sentence(name: str, other: str, points: float, p_value: float, rows: int, metric: str = "accuracy") -> str:
    gain = gain_in_words(points, metric)
    if p_value < SIGNIFICANT:
        said = f"{name} is {'better' if points > 0 else 'worse'} than {other} ({gain})."
        return said[0].upper() + said[1:]
    return f"Whether {name} is better or worse than {other} cannot be told with {rows} rows ({gain})."
