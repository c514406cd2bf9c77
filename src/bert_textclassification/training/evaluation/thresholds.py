"""From scores to decisions: choose the threshold for an objective, and the texts for manual review.

    decision = choose_decision(config, targets, scores, "validation")

Everything is chosen on validation rows; the results on test are only reported.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bert_textclassification.artifact.manifest import Decision
from bert_textclassification.serving.calibration import margins
from bert_textclassification.training.config import TrainingConfig

_RESAMPLES = 200
_STANDARD_ERRORS = 2.0  # within which a threshold counts as equal to the best
_MAX_CANDIDATES = 1000

Counts = NDArray[np.float64]  # of rows, by threshold
Objective = Callable[[Counts, Counts, Counts, Counts], NDArray[np.float64]]


def choose_decision(
    config: TrainingConfig, targets: Sequence[int], scores: NDArray[np.float64], rows: str, temperature: float = 1.0
) -> Decision:
    """Return threshold and review band for `config.threshold_objective` and its costs.

    Args:
        config: objective and costs.
        targets: 0 or 1 for each row.
        scores: calibrated scores of the positive class, [rows].
        rows: name of the rows, for the manifest.
        temperature: of the last layer, for the manifest.
    """
    threshold, met = choose_threshold(config, targets, scores)
    return Decision(
        threshold=threshold,
        temperature=temperature,
        review_band=review_band(config),
        objective=_describe(config) + ("" if met else "; no threshold reached it, so the nearest one was chosen"),
        chosen_on=f"{rows}, {len(targets)} rows",
    )


def choose_threshold(config: TrainingConfig, targets: ArrayLike, scores: ArrayLike) -> tuple[float, bool]:
    """Return the threshold for `config.threshold_objective`, and whether its bound, if any, is met.

    To maximise a metric, it takes the threshold nearest to the theoretical optimum among those within two standard
    errors of the best, after the one-standard-error rule of Breiman et al. (1984). The best threshold on a few hundred
    rows is often best by chance.
    """
    if config.threshold_objective == "none":
        return 0.5, True
    truth, score = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    if bound := re.fullmatch(r"(precision|recall)>=(0?\.\d+)", config.threshold_objective):
        thresholds = _between(score)
        return _at_least(bound[1], float(bound[2]), thresholds, _counts(truth, score, thresholds, np.ones(len(truth))))
    candidates = np.union1d(_candidates(truth, score), [_expected(config)])
    objective = _objective(config)
    rng = np.random.default_rng(config.seed)
    weights = rng.multinomial(len(truth), np.full(len(truth), 1 / len(truth)), _RESAMPLES)
    resampled = np.array([objective(*_counts(truth, score, candidates, weight)) for weight in weights])
    values = objective(*_counts(truth, score, candidates, np.ones(len(truth))))
    best = int(np.argmax(values))
    errors = (resampled[:, [best]] - resampled).std(axis=0)
    good = np.flatnonzero(values[best] - values <= _STANDARD_ERRORS * errors)
    nearest = good[np.argmin(np.abs(candidates[good] - _expected(config)))]
    return float(candidates[nearest]), True


def review_band(config: TrainingConfig) -> tuple[float, float] | None:
    """Return the band of scores in which a review costs less than the expected errors, or None if it is empty.

    Chow's rule (1970) for calibrated scores: predicting "positive" costs (1 - score) * false_positive_cost on average,
    predicting "negative" score * false_negative_cost. Texts for which both exceed review_cost are reviewed.
    """
    low, high = config.review_cost / config.false_negative_cost, 1 - config.review_cost / config.false_positive_cost
    return (low, high) if config.review_cost and low < high else None


def labels_of(logits: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return whether the uncalibrated score of each text is at least 0.5, from logits [texts, 2]."""
    return margins(logits) >= 0


def review_yield(targets: ArrayLike, scores: ArrayLike, decision: Decision, config: TrainingConfig) -> dict[str, float]:
    """Return the effect of the review band: shares in [0, 1], and mean costs per text with and without it.

    `coverage` is the share of texts that the model decides, `accuracy_decided` the accuracy on them.
    """
    truth, score = np.asarray(targets) == 1, np.asarray(scores, dtype=np.float64)
    low, high = decision.review_band or (1.0, 1.0)
    decided = (score < low) | (score >= high)
    labels = score >= decision.threshold
    costs = np.where(labels & ~truth, config.false_positive_cost, 0) + np.where(
        ~labels & truth, config.false_negative_cost, 0
    )
    return {
        "coverage": float(np.mean(decided)),
        "accuracy_decided": float(np.mean((labels == truth)[decided])) if decided.any() else 1.0,
        "cost_with_review": float(np.mean(np.where(decided, costs, config.review_cost))),
        "cost_without_review": float(np.mean(costs)),
    }


def coverage_curve(targets: ArrayLike, scores: ArrayLike, threshold: float) -> pd.DataFrame:
    """Return the `accuracy` on the most confident texts for each share of texts, `coverage`."""
    truth, score = np.asarray(targets) == 1, np.asarray(scores, dtype=np.float64)
    order = np.argsort(-np.maximum(score, 1 - score), kind="stable")
    right = ((score >= threshold) == truth)[order]
    covered = np.arange(1, len(right) + 1)
    return pd.DataFrame({"coverage": covered / len(right), "accuracy": np.cumsum(right) / covered})


def _candidates(truth: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 0.5 and the thresholds just below positive rows, which include the best thresholds.

    With a rare positive class, each of its rows has a candidate, no matter how many negative rows there are.
    """
    distinct = np.unique(scores)
    below = np.flatnonzero(np.isin(distinct[1:], scores[truth == 1]))
    if len(below) > _MAX_CANDIDATES:
        below = below[np.linspace(0, len(below) - 1, _MAX_CANDIDATES).astype(int)]
    return _inside((distinct[below] + distinct[below + 1]) / 2)


def _between(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the thresholds between neighbouring scores, one below all scores, and 0.5."""
    distinct = np.unique(np.concatenate([[0.0], scores]))
    return _inside((distinct[:-1] + distinct[1:]) / 2)


def _inside(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.union1d(thresholds[(thresholds > 0) & (thresholds < 1)], [0.5])


def _counts(
    truth: NDArray[np.int64], scores: NDArray[np.float64], candidates: NDArray[np.float64], weights: ArrayLike
) -> tuple[Counts, Counts, Counts, Counts]:
    """Return weighted true positives, false positives, false negatives and true negatives at each threshold."""
    order = np.argsort(scores)
    first = np.searchsorted(scores[order], candidates)  # rows from this index on are positive
    weight = np.asarray(weights, dtype=np.float64)[order]
    below = [np.concatenate([[0], np.cumsum(weight * (truth[order] == value))]) for value in (0, 1)]
    true_negatives, false_negatives = below[0][first], below[1][first]
    return below[1][-1] - false_negatives, below[0][-1] - true_negatives, false_negatives, true_negatives


def _objective(config: TrainingConfig) -> Objective:
    if config.threshold_objective == "f1":
        return lambda tp, fp, fn, tn: 2 * tp / np.maximum(1, 2 * tp + fp + fn)
    fp_cost, fn_cost = (
        (config.false_positive_cost, config.false_negative_cost) if config.threshold_objective == "cost" else (1.0, 1.0)
    )
    return lambda tp, fp, fn, tn: -(fp_cost * fp + fn_cost * fn) / (tp + fp + fn + tn)


def _expected(config: TrainingConfig) -> float:
    """Return the theoretically optimal threshold of calibrated scores; for costs see Elkan (2001)."""
    if config.threshold_objective == "cost":
        return config.false_positive_cost / (config.false_positive_cost + config.false_negative_cost)
    return 0.5


def _at_least(
    metric: str, bound: float, candidates: NDArray[np.float64], counts: tuple[Counts, ...]
) -> tuple[float, bool]:
    """Return the threshold that meets the bound with the highest other metric, and whether the bound can be met.

    If no threshold meets the bound, it is the one that comes nearest. Ties go to the higher bounded metric, then to the
    threshold nearest to 0.5.

    Args:
        metric: the bounded metric, precision or recall; the other one is maximised.
        bound: its lower bound.
        candidates: thresholds.
        counts: result of `_counts`.
    """
    tp, fp, fn, _ = counts
    precision, recall = tp / np.maximum(1, tp + fp), tp / np.maximum(1, tp + fn)
    bounded, other = (precision, recall) if metric == "precision" else (recall, precision)
    if not np.any(bounded >= bound):
        return float(candidates[np.argmax(bounded)]), False
    order = np.lexsort((-np.abs(candidates - 0.5), bounded, other))  # sorts by the last key first
    return float(candidates[next(index for index in order[::-1] if bounded[index] >= bound)]), True


def _describe(config: TrainingConfig) -> str:
    if config.threshold_objective == "none":
        return "no objective: the threshold is 0.5"
    if config.threshold_objective == "cost":
        return (
            f"lowest cost, {config.false_positive_cost:g} for a false positive and "
            f"{config.false_negative_cost:g} for a false negative"
        )
    if ">=" in config.threshold_objective:
        metric, _, bound = config.threshold_objective.partition(">=")
        return f"highest {'recall' if metric == 'precision' else 'precision'} with {metric} of at least {bound}"
    return f"highest {config.threshold_objective}"
