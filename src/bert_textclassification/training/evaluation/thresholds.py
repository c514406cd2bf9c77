"""From scores to decisions: the threshold for a stated objective, and which texts a person should look at.

    decision = choose_decision(config, targets, scores, "validation")

Everything is chosen on validation rows; what it yields on test is only reported.
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
_BEYOND_CHANCE = 2.0  # standard errors
_MOST_CANDIDATES = 1000

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
        rows: what the rows are, for people.
        temperature: of the last layer, for the record.
    """
    threshold, met = choose_threshold(config, targets, scores)
    return Decision(
        threshold=threshold,
        temperature=temperature,
        review_band=review_band(config),
        objective=_in_words(config) + ("" if met else ", which no threshold reached: the nearest was taken"),
        chosen_on=f"{rows}, {len(targets)} rows",
    )


def choose_threshold(config: TrainingConfig, targets: ArrayLike, scores: ArrayLike) -> tuple[float, bool]:
    """Return the threshold that suits `config.threshold_objective`, and whether its bound is met where it has one.

    Where a number is to be as large as possible, the threshold nearest to the expected one is taken among those that
    are not worse than the best beyond chance: by two standard errors of the difference, after the one-standard-error
    rule of Breiman et al. (1984). The very best on some hundred rows is where luck is largest.
    """
    if config.threshold_objective == "none":
        return 0.5, True
    truth, score = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    if bound := re.fullmatch(r"(precision|recall)>=(0?\.\d+)", config.threshold_objective):
        every = _between(score)
        return _at_least(bound[1], float(bound[2]), every, _counts(truth, score, every, np.ones(len(truth))))
    candidates = np.union1d(_candidates(truth, score), [_expected(config)])
    objective = _objective(config)
    rng = np.random.default_rng(config.seed)
    weights = rng.multinomial(len(truth), np.full(len(truth), 1 / len(truth)), _RESAMPLES)
    resampled = np.array([objective(*_counts(truth, score, candidates, weight)) for weight in weights])
    values = objective(*_counts(truth, score, candidates, np.ones(len(truth))))
    best = int(np.argmax(values))
    errors = (resampled[:, [best]] - resampled).std(axis=0)
    good = np.flatnonzero(values[best] - values <= _BEYOND_CHANCE * errors)
    nearest = good[np.argmin(np.abs(candidates[good] - _expected(config)))]
    return float(candidates[nearest]), True


def review_band(config: TrainingConfig) -> tuple[float, float] | None:
    """Return the scores between which a person looking costs less than the errors to expect, or None if none do.

    Chow's rule (1970): answering "positive" costs (1 - score) * false_positive_cost on average, answering "negative"
    score * false_negative_cost; where both exceed review_cost, a person decides. It holds for calibrated scores.
    """
    low, high = config.review_cost / config.false_negative_cost, 1 - config.review_cost / config.false_positive_cost
    return (low, high) if config.review_cost and low < high else None


def labels_of(logits: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return whether each text, logits [texts, 2], has an uncalibrated score of at least 0.5."""
    return margins(logits) >= 0


def review_yield(targets: ArrayLike, scores: ArrayLike, decision: Decision, config: TrainingConfig) -> dict[str, float]:
    """Return what the review band yields: shares in [0, 1], and costs for each text with and without it.

    `coverage` is the share that the model decides, `accuracy_decided` how often it is right there.
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
    """Return, for each share of the surest texts, how often the model is right on these: `coverage` and `accuracy`."""
    truth, score = np.asarray(targets) == 1, np.asarray(scores, dtype=np.float64)
    order = np.argsort(-np.maximum(score, 1 - score), kind="stable")
    right = ((score >= threshold) == truth)[order]
    answered = np.arange(1, len(right) + 1)
    return pd.DataFrame({"coverage": answered / len(right), "accuracy": np.cumsum(right) / answered})


def _candidates(truth: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return thresholds just below positive rows, where the best ones lie, and 0.5.

    Each positive row of a rare class has its own, however many negative rows there are.
    """
    distinct = np.unique(scores)
    below = np.flatnonzero(np.isin(distinct[1:], scores[truth == 1]))
    if len(below) > _MOST_CANDIDATES:
        below = below[np.linspace(0, len(below) - 1, _MOST_CANDIDATES).astype(int)]
    return _inside((distinct[below] + distinct[below + 1]) / 2)


def _between(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return every threshold between neighbouring scores, one below all of them, and 0.5."""
    distinct = np.unique(np.concatenate([[0.0], scores]))
    return _inside((distinct[:-1] + distinct[1:]) / 2)


def _inside(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.union1d(thresholds[(thresholds > 0) & (thresholds < 1)], [0.5])


def _counts(
    truth: NDArray[np.int64], scores: NDArray[np.float64], candidates: NDArray[np.float64], weights: ArrayLike
) -> tuple[Counts, Counts, Counts, Counts]:
    """Return true positives, false positives, false negatives and true negatives at each threshold, rows weighted."""
    order = np.argsort(scores)
    first = np.searchsorted(scores[order], candidates)  # the rows from here on are called positive
    weight = np.asarray(weights, dtype=np.float64)[order]
    below = [np.concatenate([[0], np.cumsum(weight * (truth[order] == value))]) for value in (0, 1)]
    true_negatives, false_negatives = below[0][first], below[1][first]
    return below[1][-1] - false_negatives, below[0][-1] - true_negatives, false_negatives, true_negatives


def _objective(config: TrainingConfig) -> Objective:
    if config.threshold_objective == "f1":
        return lambda tp, fp, fn, tn: 2 * tp / np.maximum(1, 2 * tp + fp + fn)
    wrong_yes, wrong_no = (
        (config.false_positive_cost, config.false_negative_cost) if config.threshold_objective == "cost" else (1.0, 1.0)
    )
    return lambda tp, fp, fn, tn: -(wrong_yes * fp + wrong_no * fn) / (tp + fp + fn + tn)


def _expected(config: TrainingConfig) -> float:
    """Return where the best threshold of calibrated scores is expected; for costs Elkan's (2001)."""
    if config.threshold_objective == "cost":
        return config.false_positive_cost / (config.false_positive_cost + config.false_negative_cost)
    return 0.5


def _at_least(
    which: str, bound: float, candidates: NDArray[np.float64], counts: tuple[Counts, ...]
) -> tuple[float, bool]:
    """Return the threshold with the most of the other number among those that keep the bound, or that comes nearest.

    Of equals, the one with the higher bounded number, then the one nearest to 0.5: no row has a score between these
    thresholds, but a new text may.
    """
    tp, fp, fn, _ = counts
    precision, recall = tp / np.maximum(1, tp + fp), tp / np.maximum(1, tp + fn)
    bounded, other = (precision, recall) if which == "precision" else (recall, precision)
    if not np.any(bounded >= bound):
        return float(candidates[np.argmax(bounded)]), False
    order = np.lexsort((-np.abs(candidates - 0.5), bounded, other))  # the last key counts most
    return float(candidates[next(index for index in order[::-1] if bounded[index] >= bound)]), True


def _in_words(config: TrainingConfig) -> str:
    if config.threshold_objective == "none":
        return "no objective: the threshold is 0.5"
    if config.threshold_objective == "cost":
        return (
            f"lowest cost, {config.false_positive_cost:g} for a wrong positive and "
            f"{config.false_negative_cost:g} for a missed one"
        )
    if ">=" in config.threshold_objective:
        which, _, bound = config.threshold_objective.partition(">=")
        return f"{which} of at least {bound}, and the highest {'recall' if which == 'precision' else 'precision'} then"
    return f"highest {config.threshold_objective}"
