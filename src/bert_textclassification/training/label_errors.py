"""Labels that are probably wrong: confident learning (Northcutt et al. 2021) on probabilities of held-out rows."""

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from bert_textclassification.training.baseline import tfidf_model
from bert_textclassification.training.findings import COLUMNS, Finding, Tables, found

FOLDS = 5
_STRENGTH = 3  # of the four that the baseline chooses from, in the middle
_MESSAGE = (
    "Labels that a model of words, right on {:.0%} of texts it has not seen, contradicts. Some are its own mistakes: "
    "read them, worst first, and correct the file."
)
_KNOWS_TOO_LITTLE = (
    "Not looked for: a model of words is right on {:.0%} of texts it has not seen, no more than always the same answer "
    "is; read the worst mistakes of the fine-tuned model instead."
)


def label_errors(tables: Tables, seed: int) -> Finding | None:
    """Return the rows whose label a model that has not seen them contradicts, worst first.

    None where train has too few rows to fit a model on a part of it.
    """
    names, targets = np.unique(tables["train"]["label"], return_inverse=True)
    if np.bincount(targets).min() < FOLDS:
        return None
    probabilities = held_out_probabilities(tables, targets, seed)
    right = float(np.mean(probabilities["train"].argmax(axis=1) == targets))
    if right <= np.bincount(targets).max() / len(targets):
        return Finding("label_error", _KNOWS_TOO_LITTLE.format(right), pd.DataFrame(columns=COLUMNS))
    suspects = [_suspects(frame.assign(split=name), probabilities[name], names) for name, frame in tables.items()]
    return found("label_error", _MESSAGE.format(right), pd.concat(suspects).sort_values("own", kind="stable"))


def held_out_probabilities(tables: Tables, targets: NDArray[np.int64], seed: int) -> dict[str, NDArray[np.float64]]:
    """Return the probabilities, [rows, 2], that the TF-IDF model gives to rows it has not seen, by split.

    Rows of train get those of a model of the other folds of train, evaluation rows those of a model of all of train:
    what is then dropped from train depends on no evaluation row. `targets` are the classes of train's rows.
    """
    model = tfidf_model(_STRENGTH, seed)
    words, classifier = model[:-1], model[-1]
    features = words.fit_transform(tables["train"]["text"])  # once, of all folds: it sees no label
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    train = cross_val_predict(classifier, features, targets, cv=folds, method="predict_proba")
    classifier.fit(features, targets)
    evaluated = {
        name: classifier.predict_proba(words.transform(frame["text"]))
        for name, frame in tables.items()
        if name != "train"
    }
    return {"train": train, **evaluated}


def _suspects(frame: pd.DataFrame, probabilities: NDArray[np.float64], names: NDArray[np.str_]) -> pd.DataFrame:
    """Return the rows of `frame` that cleanlab suspects, with the probability of their own label."""
    targets = np.searchsorted(names, frame["label"])
    suspected = find_label_issues(targets, probabilities, filter_by="confident_learning", n_jobs=1)
    best, shares = names[probabilities.argmax(axis=1)], probabilities.max(axis=1)
    notes = [f"rather {name} ({share:.0%})" for name, share in zip(best, shares, strict=True)]
    rated = frame.assign(note=notes, own=probabilities[np.arange(len(targets)), targets])
    return rated[pd.Series(suspected, index=frame.index)]
