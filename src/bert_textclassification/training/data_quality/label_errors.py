"""Labels that are probably wrong: confident learning (Northcutt et al. 2021), capped by its expected precision.

A model that has not seen a row contradicts its label because the label is wrong or because the model is. Among the most
confident rows of each predicted class, the contradicted ones count as wrong labels: their share is the floor. Less
confident rows are added as long as the share of contradicted ones is at most MOST_OVER_FLOOR times the floor, so that
two in three of them are expected to be wrong labels. With a floor above HIGHEST_FLOOR, even the most confident
contradictions are mistakes of the model, and no row is listed.
"""

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.issues import COLUMNS, Suspects, suspects
from bert_textclassification.training.data.rows import rows_of_split
from bert_textclassification.training.evaluation.baselines import tfidf_model

FOLDS = 5
SUREST, FEWEST_SUREST = 0.05, 50  # share of the rows of a predicted class, and rows: a floor of fewer is not reliable
HIGHEST_FLOOR = 0.1  # a larger share of wrong labels is rare in public data sets
MOST_OVER_FLOOR = 1.5
NEVER = 2.0  # a confidence that no row has
_STRENGTH = 3  # of the four that the baseline chooses from, in the middle
_MESSAGE = (
    "Labels that a model of words contradicts where it is surest: of texts it has not seen, it is right on {:.0%} of "
    "those it is so sure of and on {:.0%} of all. About one in three may be its own mistake: read them, worst first, "
    "and correct the file."
)
_KNOWS_TOO_LITTLE = (
    "Not looked for: a model of words is right on {:.0%} of texts it has not seen, and most of what it contradicts "
    "would be its own mistakes; read the worst mistakes of the fine-tuned model instead."
)


def label_errors(rows: pd.DataFrame, config: TrainingConfig) -> Suspects | None:
    """Return the rows whose label is probably wrong, worst first; no rows but the reason where the model is too poor.

    None where train has too few rows to fit a model on a part of it, or to judge the model by.
    """
    names, targets = np.unique(rows_of_split(rows, "train")["label"], return_inverse=True)
    if np.bincount(targets).min() < FOLDS:
        return None
    probabilities = held_out_probabilities(rows, targets, config.seed)
    predicted, confidence = probabilities["train"].argmax(axis=1), probabilities["train"].max(axis=1)
    right = predicted == targets
    limits = np.array([_least_confidence(confidence[predicted == k], right[predicted == k]) for k in (0, 1)])
    if right.mean() <= np.bincount(targets).max() / len(targets) or np.nanmin([*limits, np.inf]) == NEVER:
        return Suspects(_KNOWS_TOO_LITTLE.format(right.mean()), pd.DataFrame(columns=COLUMNS))
    suspected = [_suspected(rows_of_split(rows, name), probabilities[name], names, limits) for name in probabilities]
    sure = confidence >= limits[predicted]
    message = _MESSAGE.format(right[sure].mean() if sure.any() else 0, right.mean())
    return suspects(message, pd.concat(suspected).sort_values("probability", kind="stable"))


def held_out_probabilities(rows: pd.DataFrame, targets: NDArray[np.int64], seed: int) -> dict[str, NDArray[np.float64]]:
    """Return the probabilities, [rows, 2], that the TF-IDF model gives to rows it has not seen, by split.

    Rows of train get those of a model of the other folds of train, evaluation rows those of a model of all of train:
    what is then dropped from train depends on no evaluation row. `targets` are the classes of train's rows.
    """
    train = rows_of_split(rows, "train")
    model = tfidf_model(_STRENGTH, seed, train["text"])
    words, classifier = model[:-1], model[-1]
    features = words.fit_transform(train["text"])  # once for all folds: it sees no label
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    of_train = cross_val_predict(classifier, features, targets, cv=folds, method="predict_proba")
    classifier.fit(features, targets)
    others = [name for name in rows["split"].unique() if name != "train"]
    return {"train": of_train} | {
        name: classifier.predict_proba(words.transform(rows_of_split(rows, name)["text"])) for name in others
    }


def _least_confidence(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return from which confidence on the rows of a predicted class are listed if their label is another.

    NEVER where the model is too often wrong, NaN where the rows are too few to tell.
    """
    surest = max(FEWEST_SUREST, round(SUREST * len(right)))
    if len(right) < surest:
        return float("nan")
    order = np.argsort(-confidence, kind="stable")
    contradicted = (np.cumsum(~right[order]) + 0.5) / (np.arange(len(right)) + 2)  # Jeffreys' prior: a few are no zero
    floor = contradicted[surest - 1]
    if floor > HIGHEST_FLOOR:
        return NEVER
    return float(confidence[order][np.flatnonzero(contradicted <= MOST_OVER_FLOOR * floor)[-1]])


def _suspected(
    rows: pd.DataFrame, probabilities: NDArray[np.float64], names: NDArray[np.str_], limits: NDArray[np.float64]
) -> pd.DataFrame:
    """Return the rows that cleanlab suspects and of which the model is sure, with the probability of their label."""
    targets = np.searchsorted(names, rows["label"])
    is_suspected = find_label_issues(targets, probabilities, filter_by="confident_learning", n_jobs=1)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    notes = [f"rather {name} ({share:.0%})" for name, share in zip(names[predicted], confidence, strict=True)]
    rated = rows.assign(note=notes, probability=probabilities[np.arange(len(targets)), targets])
    suspected: pd.DataFrame = rated[is_suspected & (confidence >= limits[predicted])]
    return suspected
