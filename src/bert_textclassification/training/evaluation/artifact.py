"""Evaluate an artifact, as it is served, on labelled texts that were not used to make it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bert_textclassification.errors import DataError
from bert_textclassification.serving.predictor import Prediction, Predictor
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.files import place
from bert_textclassification.training.data.rows import read_rows, rows_of_split
from bert_textclassification.training.display.progress import progress
from bert_textclassification.training.evaluation.calibration import calibration_error, log_loss
from bert_textclassification.training.evaluation.metrics import (
    Interval,
    confusion_matrix,
    intervals_table,
    metrics_with_intervals,
)

_TEXTS_AT_ONCE = 64  # between two updates of the progress bar
_SEED = 0  # of the bootstrap


class Evaluation(NamedTuple):
    """The measured metrics.

    Attributes:
        metrics: value, low and high of each metric (95 % bootstrap interval), at the artifact's threshold.
        confusion: counts, with true labels as rows and predicted labels as columns.
        facts: rows, model version and variant, threshold, log loss (nats), expected calibration error.
    """

    metrics: dict[str, Interval]
    confusion: pd.DataFrame
    facts: dict[str, Any]

    def text(self) -> str:
        """Return readable tables; the last line is one JSON object."""
        table = intervals_table(self.metrics).to_string()
        return f"{table}\n\n{self.confusion.to_string()}\n\n{json.dumps(self.facts | {'metrics': self.metrics})}"


def evaluate_artifact(folder: Path, config: TrainingConfig, variant: str | None = None) -> Evaluation:
    """Predict the labelled texts of `config.data` and compare: the test split, or all rows if there are no splits.

    Raises:
        ArtifactError: the model cannot be served.
        DataError: the data cannot be read, or contain a label that the model does not have.
    """
    predictor = Predictor.load(folder, variant, cache_size=0)
    negative, positive = predictor.artifact.manifest.labels
    rows = labelled_rows(config, (negative, positive))
    predictions = _predictions(predictor, rows["text"].tolist())
    targets = [int(label == positive) for label in rows["label"]]
    scores = np.array([prediction.scores[positive] for prediction in predictions])
    threshold = predictor.artifact.manifest.decision.threshold
    facts = {
        "data": config.data,
        "rows": len(rows),
        "model_version": predictor.artifact.version,
        "variant": predictor.variant_name,
        "threshold": threshold,
        "log_loss": log_loss(targets, np.log(scores) - np.log1p(-scores)),
        "calibration_error": calibration_error(targets, scores),
    }
    confusion = confusion_matrix(targets, scores, (negative, positive), threshold)
    return Evaluation(metrics_with_intervals(targets, scores, _SEED, threshold), confusion, facts)


def labelled_rows(config: TrainingConfig, labels: tuple[str, str]) -> pd.DataFrame:
    """Return the rows of the test split, or all rows if the data have no splits.

    Raises:
        DataError: there are several splits but no test split, a label is not in `labels`, or a label has no row.
    """
    rows = read_rows(config)
    splits = rows["split"].unique().tolist()
    if "test" not in splits and len(splits) > 1:
        raise DataError(
            f"{config.data} has the splits {', '.join(splits)} but no test split; give a single file to evaluate on."
        )
    rows = rows_of_split(rows, "test" if "test" in splits else splits[0])
    for _, row in rows[~rows["label"].isin(labels)].iterrows():
        raise DataError(
            f"{place(row['source'], row['line'])}: the label {row['label']!r} is not a label of the model, which has "
            f"{labels[0]!r} and {labels[1]!r}; correct it or delete the row."
        )
    if missing := set(labels) - set(rows["label"]):
        raise DataError(f"{config.data} has no row labelled {min(missing)!r}; give rows of both labels.")
    return rows


def _predictions(predictor: Predictor, texts: list[str]) -> list[Prediction]:
    starts = range(0, len(texts), _TEXTS_AT_ONCE)
    return [
        prediction
        for start in progress(starts, desc="predicting", unit="batch", delay=3)
        for prediction in predictor.predict(texts[start : start + _TEXTS_AT_ONCE])
    ]
