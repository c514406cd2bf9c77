"""Metrics of a binary classifier: with bootstrap intervals, confusion matrix, agreement, worst mistakes."""

from collections.abc import Mapping, Sequence

import datasets
import evaluate
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bert_textclassification.serving.predictor import positive_probability
from bert_textclassification.training.evaluation.metric_names import METRICS

RESAMPLES = 1000
_STANDARD_ERROR_RESAMPLES = 200

Interval = dict[str, float]  # value, low, high


class BinaryMetrics(evaluate.Metric):
    """Metrics of a binary classifier from positive-class scores, as a module of the `evaluate` library.

    `evaluate.load` would download a script from a hub; this class replaces it.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy, F1, precision, recall, average precision and area under the ROC curve.",
            citation="",
            inputs_description="predictions: positive-class scores in [0, 1]; references: 0 or 1",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(
        self, predictions: Sequence[float], references: Sequence[int], threshold: float = 0.5
    ) -> dict[str, float]:
        return binary_metrics(np.asarray(references), np.asarray(predictions), threshold)


def compute_metrics(targets: Sequence[int], scores: Sequence[float], threshold: float = 0.5) -> dict[str, float]:
    """Return each of METRICS, computed through the `evaluate` library."""
    metric = BinaryMetrics(keep_in_memory=True)
    result: dict[str, float] = metric.compute(predictions=scores, references=targets, threshold=threshold)
    return result


def binary_metrics(targets: NDArray[np.int64], scores: NDArray[np.float64], threshold: float = 0.5) -> dict[str, float]:
    """Return each of METRICS for positive-class `scores` against 0/1 `targets`."""
    return Ranking(targets, scores, threshold).metrics(np.ones(len(targets), dtype=np.int64))


def average_precision(targets: ArrayLike, scores: NDArray[np.float64]) -> float:
    """Return the average precision of the positive class for `scores` on any scale against 0/1 `targets`."""
    truth = np.asarray(targets, dtype=np.int64)
    return Ranking(truth, scores).average_precision(np.ones_like(truth))


class Ranking:
    """Targets sorted by descending score, to compute the metrics of many resamples with a single sort.

    `average_precision` refers to the positive label, `average_precision_negative` to the negative one, ranked by
    1 - score. scikit-learn gives the same values (a test compares them), but a thousand calls take seconds.
    """

    def __init__(self, targets: NDArray[np.int64], scores: NDArray[np.float64], threshold: float = 0.5) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._true = targets[self._order] == 1
        self._predicted = int(np.sum(scores >= threshold))  # rows with the positive label
        ranked = scores[self._order]
        self._ends = np.append(ranked[1:] < ranked[:-1], True)  # last row of each distinct score

    def metrics(self, counts: NDArray[np.int64]) -> dict[str, float]:
        """Return each of METRICS for a resample; `counts` is how often each row is in it, in the original order."""
        taken = counts[self._order]
        hits, rows = np.cumsum(taken * self._true), np.cumsum(taken)
        total_negatives = rows[-1] - hits[-1]
        positives, negatives = max(1, hits[-1]), max(1, total_negatives)
        last = self._predicted - 1
        hit, predicted = (hits[last], rows[last]) if self._predicted else (0, 0)
        right = hit + (rows[-1] - predicted) - (hits[-1] - hit)
        at_score, above = hits[self._ends], rows[self._ends]
        new_hits, new_alarms = np.diff(at_score, prepend=0), np.diff(above - at_score, prepend=0)
        not_above = np.append(rows[-1], rows[-1] - above[:-1])  # rows with this score or a lower one
        negatives_not_above = total_negatives - np.cumsum(new_alarms) + new_alarms
        return {
            "accuracy": float(right / rows[-1]),
            "f1": float(2 * hit / max(1, predicted + hits[-1])),
            "precision": float(hit / max(1, predicted)),
            "recall": float(hit / positives),
            "average_precision": _average_precision(at_score, above),
            "average_precision_negative": float(
                np.sum(new_alarms * negatives_not_above / np.maximum(1, not_above)) / negatives
            ),
            "roc_auc": float(np.sum(new_alarms * (at_score - new_hits / 2)) / (positives * negatives)),
        }

    def average_precision(self, counts: NDArray[np.int64]) -> float:
        """Return only the average precision of a resample with these `counts` of the rows."""
        taken = counts[self._order]
        return _average_precision(np.cumsum(taken * self._true)[self._ends], np.cumsum(taken)[self._ends])


def _average_precision(hits: NDArray[np.int64], rows: NDArray[np.int64]) -> float:
    """Return the mean precision at the positive rows.

    Args:
        hits: number of positives with at least each distinct score, from the highest score down.
        rows: number of rows, likewise.
    """
    return float(np.sum(np.diff(hits, prepend=0) * hits / np.maximum(1, rows)) / max(1, hits[-1]))


def metrics_with_intervals(
    targets: Sequence[int], scores: ArrayLike, seed: int, threshold: float = 0.5
) -> dict[str, Interval]:
    """Return value, low and high of each of METRICS: 95 % percentile bootstrap over rows (Efron 1979).

    Rows are resampled within each class, so that every resample has both classes.
    """
    truth, score = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    values = compute_metrics(truth.tolist(), score.tolist(), threshold)
    resampled = _resampled(truth, Ranking(truth, score, threshold), seed, RESAMPLES)
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    return {
        name: {"value": values[name], "low": float(low[index]), "high": float(high[index])}
        for index, name in enumerate(METRICS)
    }


def _resampled(truth: NDArray[np.int64], ranking: Ranking, seed: int, times: int) -> NDArray[np.float64]:
    """Return each of METRICS, [times, metrics], for rows drawn with replacement within each class."""
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(truth == value) for value in (0, 1)]
    drawn = (np.concatenate([rng.choice(rows, len(rows)) for rows in classes]) for _ in range(times))
    return np.array([list(ranking.metrics(np.bincount(rows, minlength=len(truth))).values()) for rows in drawn])


def standard_error(metric: str, targets: Sequence[int], scores: ArrayLike, seed: int) -> float:
    """Return the standard error of one of METRICS by bootstrap within each class; 0 for the loss."""
    if metric not in METRICS:
        return 0.0
    truth, score = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    resampled = _resampled(truth, Ranking(truth, score, 0.5), seed, _STANDARD_ERROR_RESAMPLES)
    return float(resampled[:, METRICS.index(metric)].std())


def metrics_of_splits(
    targets: Mapping[str, Sequence[int]], scores: Mapping[str, ArrayLike], seed: int, threshold: float = 0.5
) -> dict[str, dict[str, Interval]]:
    """Return `metrics_with_intervals` for each split that has scores."""
    return {name: metrics_with_intervals(targets[name], scores[name], seed, threshold) for name in scores}


def intervals_table(metrics: dict[str, Interval]) -> pd.DataFrame:
    """Return metrics and intervals as a readable table, in percent."""
    return (100 * pd.DataFrame.from_dict(metrics, orient="index")).round(1)


def positive_scores(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the positive-class score of each text, as served at a temperature of 1, from logits [texts, 2]."""
    return np.array([positive_probability(row, temperature=1.0) for row in logits])


def confusion_matrix(
    targets: Sequence[int], scores: ArrayLike, labels: tuple[str, str], threshold: float = 0.5
) -> pd.DataFrame:
    """Return counts with true labels as rows and predicted labels as columns."""
    counts = np.zeros((2, 2), dtype=int)
    np.add.at(counts, (np.asarray(targets), (np.asarray(scores) >= threshold).astype(int)), 1)
    return pd.DataFrame(counts, index=pd.Index(labels, name="true"), columns=pd.Index(labels, name="predicted"))


def worst_mistakes(frame: pd.DataFrame, targets: Sequence[int], scores: ArrayLike, rows: int = 10) -> pd.DataFrame:
    """Return the misclassified texts with the lowest score of the true label, worst first."""
    truth, score = np.asarray(targets), np.asarray(scores)
    true_label_scores = np.where(truth == 1, score, 1 - score)
    table = frame[["text", "label"]].assign(score_of_label=true_label_scores.round(4))
    return table[true_label_scores < 0.5].sort_values("score_of_label").head(rows)


def accuracy(targets: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of rows whose label, 0 or 1, equals the target."""
    return float(np.mean(np.asarray(labels, dtype=bool) == np.asarray(targets, dtype=bool)))


def agreement(first: ArrayLike, second: ArrayLike) -> float:
    """Return the share of texts with the same label, 0 or 1, from two models."""
    return float(np.mean(np.asarray(first, dtype=bool) == np.asarray(second, dtype=bool)))


def largest_score_change(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the largest difference between the positive-class scores of two models, from their logits."""
    return float(np.max(np.abs(positive_scores(first) - positive_scores(second))))
