"""Compute a selection metric, one of METRIC_NAMES, for many resamples at once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK_NUMBERS = 2_000_000  # numbers in a block of resamples

Values = NDArray[np.float64]
Counts = NDArray[np.int64]


def metric_value(metric: str, targets: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> float:
    """Return `metric` of positive-class scores against 0/1 targets; the log loss is negated: higher is better."""
    return float(metric_values(metric, targets, scores, threshold=threshold))


def metric_values(
    metric: str, targets: ArrayLike, scores: ArrayLike, counts: ArrayLike | None = None, threshold: float = 0.5
) -> Values:
    """Return `metric` for each resample; the log loss is negated, so that higher is better.

    Args:
        metric: one of METRIC_NAMES.
        targets: 0 or 1, [rows].
        scores: of the positive label, [rows], or [resamples, rows] if they differ between resamples.
        counts: number of times each row is in the resample, [rows] or [resamples, rows]; 1 when None.
        threshold: lowest score for the positive label.
    """
    truth, score = np.asarray(targets).astype(np.int64), np.asarray(scores, dtype=np.float64)
    weights = np.ones(len(truth), dtype=np.int64) if counts is None else np.asarray(counts)
    if metric == "loss":
        return -_mean(log_losses(truth, score), weights)
    if metric == "accuracy":
        return _mean((score >= threshold) == (truth == 1), weights)
    if metric == "f1":
        predicted = score >= threshold
        hits = 2.0 * np.sum(weights * predicted * truth, axis=-1)
        return np.asarray(hits / np.maximum(1, np.sum(weights * predicted, axis=-1) + np.sum(weights * truth, axis=-1)))
    if metric == "average_precision_negative":
        return _average_precisions(1 - truth, -score, weights)
    return _average_precisions(truth, score, weights)


def log_losses(targets: NDArray[np.int64], scores: Values) -> Values:
    """Return the negative log-likelihood of each target in nats; scores are clipped to 2e-16 as in scikit-learn."""
    target_scores = np.where(targets == 1, scores, 1 - scores)
    losses: Values = -np.log(np.clip(target_scores, np.finfo(np.float64).eps, 1))
    return losses


def blocks(draws: int, rows: int) -> Iterator[int]:
    """Split `draws` resamples into blocks that fit in memory, and yield the sizes of the blocks."""
    size = max(1, _BLOCK_NUMBERS // rows)
    for start in range(0, draws, size):
        yield min(size, draws - start)


def resampled(targets: NDArray[np.int64], draws: int, rng: np.random.Generator) -> Counts:
    """Return how often each row is drawn in each resample, [draws, rows]; rows are resampled within each label."""
    counts = np.empty((draws, len(targets)), dtype=np.int64)
    for value in np.unique(targets):
        rows = np.flatnonzero(targets == value)
        counts[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), draws)
    return counts


def _mean(values: NDArray[Any], weights: Counts) -> Values:
    return np.asarray(np.sum(values * weights, axis=-1) / np.sum(weights, axis=-1), dtype=np.float64)


def _average_precisions(targets: NDArray[np.int64], scores: Values, weights: Counts) -> Values:
    """Return the mean, over the positive rows, of the precision among rows with the same or a higher score."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=-1)
    counts = np.take_along_axis(weights, order, axis=-1) if scores.ndim == weights.ndim else weights[..., order]
    positives = counts * targets[order]
    ends = _ends_of_ties(ranked)
    hits, rows = (_at(ends, np.cumsum(values, axis=-1)) for values in (positives, counts))
    total = np.maximum(1, np.sum(positives, axis=-1))
    return np.asarray(np.sum(positives * hits / np.maximum(1, rows), axis=-1) / total)


def _ends_of_ties(ranked: Values) -> NDArray[np.int64]:
    """Return, for each position in the sorted scores, the last position with the same score."""
    last = ranked.shape[-1] - 1
    is_end = np.concatenate([ranked[..., 1:] < ranked[..., :-1], np.ones((*ranked.shape[:-1], 1), dtype=bool)], axis=-1)
    places = np.where(is_end, np.arange(last + 1), last)
    return np.asarray(np.minimum.accumulate(places[..., ::-1], axis=-1)[..., ::-1])


def _at(places: NDArray[np.int64], values: Counts) -> Counts:
    return np.take_along_axis(values, places, axis=-1) if places.ndim == values.ndim else values[..., places]
