"""What a binary classifier's numbers are: metrics with bootstrap intervals, confusion, agreement, worst mistakes."""

from collections.abc import Mapping, Sequence

import datasets
import evaluate
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from bert_textclassification.serving.predictor import positive_probability

METRICS = ("accuracy", "f1", "precision", "recall", "average_precision", "roc_auc")
RESAMPLES = 1000

Interval = dict[str, float]  # value, low, high


class BinaryMetrics(evaluate.Metric):
    """Metrics of a binary classifier from positive-class scores, as a module of the `evaluate` library.

    `evaluate.load` would fetch a script from a hub; this class is the script.
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
    """Return each of METRICS through the `evaluate` library."""
    metric = BinaryMetrics(keep_in_memory=True)
    result: dict[str, float] = metric.compute(predictions=scores, references=targets, threshold=threshold)
    return result


def binary_metrics(targets: NDArray[np.int64], scores: NDArray[np.float64], threshold: float = 0.5) -> dict[str, float]:
    """Return each of METRICS for positive-class `scores` against 0/1 `targets`."""
    predicted, true = scores >= threshold, targets == 1
    hits = float(np.sum(predicted & true))
    return {
        "accuracy": float(np.mean(predicted == true)),
        "f1": 2 * hits / max(1.0, float(predicted.sum() + true.sum())),
        "precision": hits / max(1.0, float(predicted.sum())),
        "recall": hits / max(1.0, float(true.sum())),
        "average_precision": float(average_precision_score(targets, scores)),
        "roc_auc": float(roc_auc_score(targets, scores)),
    }


def metrics_with_intervals(
    targets: Sequence[int], scores: ArrayLike, seed: int, threshold: float = 0.5
) -> dict[str, Interval]:
    """Return value, low and high of each of METRICS: 95 % percentile bootstrap over rows (Efron 1979).

    Rows are resampled within each class, so that every resample has both.
    """
    truth, score = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    values = compute_metrics(truth.tolist(), score.tolist(), threshold)
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(truth == value) for value in (0, 1)]
    resampled = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([rng.choice(rows, len(rows)) for rows in classes])
        resampled.append(list(binary_metrics(truth[rows], score[rows], threshold).values()))
    low, high = np.percentile(np.array(resampled), [2.5, 97.5], axis=0)
    return {
        name: {"value": values[name], "low": float(low[index]), "high": float(high[index])}
        for index, name in enumerate(METRICS)
    }


def metrics_of_splits(
    targets: Mapping[str, Sequence[int]], scores: Mapping[str, ArrayLike], seed: int, threshold: float = 0.5
) -> dict[str, dict[str, Interval]]:
    """Return `metrics_with_intervals` of each split that has scores."""
    return {name: metrics_with_intervals(targets[name], scores[name], seed, threshold) for name in scores}


def intervals_table(metrics: dict[str, Interval]) -> pd.DataFrame:
    """Return metrics with their intervals as a table for people, in percent."""
    return (100 * pd.DataFrame.from_dict(metrics, orient="index")).round(1)


def positive_scores(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the score of the second class, as it is served at a temperature of 1, for logits of shape [texts, 2]."""
    return np.array([positive_probability(row, temperature=1.0) for row in logits])


def confusion_matrix(
    targets: Sequence[int], scores: ArrayLike, labels: tuple[str, str], threshold: float = 0.5
) -> pd.DataFrame:
    """Return counts with true labels as rows and predicted labels as columns."""
    counts = np.zeros((2, 2), dtype=int)
    np.add.at(counts, (np.asarray(targets), (np.asarray(scores) >= threshold).astype(int)), 1)
    return pd.DataFrame(counts, index=pd.Index(labels, name="true"), columns=pd.Index(labels, name="predicted"))


def worst_mistakes(frame: pd.DataFrame, targets: Sequence[int], scores: ArrayLike, rows: int = 10) -> pd.DataFrame:
    """Return the texts whose true label got the lowest score, worst first."""
    truth, score = np.asarray(targets), np.asarray(scores)
    of_true_label = np.where(truth == 1, score, 1 - score)
    table = frame[["text", "label"]].assign(score_of_label=of_true_label.round(4))
    return table[of_true_label < 0.5].sort_values("score_of_label").head(rows)


def accuracy(targets: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of rows whose label, 0 or 1, is the target's."""
    return float(np.mean(np.asarray(labels, dtype=bool) == np.asarray(targets, dtype=bool)))


def agreement(first: ArrayLike, second: ArrayLike) -> float:
    """Return the share of texts to which two models give the same label, 0 or 1."""
    return float(np.mean(np.asarray(first, dtype=bool) == np.asarray(second, dtype=bool)))


def largest_score_change(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the largest difference of a positive-class score between two models' logits."""
    return float(np.max(np.abs(positive_scores(first) - positive_scores(second))))
