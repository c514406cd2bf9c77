"""Labelled texts in three splits: which label is positive, which rows are held out of train."""

import hashlib
from dataclasses import dataclass

import pandas as pd
from sklearn.model_selection import train_test_split

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.files import SPLITS, place
from bert_textclassification.training.data.issues import Finding
from bert_textclassification.training.data.rows import Tables
from bert_textclassification.training.labels import positive_label

JUDGING_ROWS = 2000  # a loss of 0.25 points is the least that so many rows can tell from chance
_LARGEST_SHARE_HELD_BACK = 0.05


@dataclass(frozen=True)
class Splits:
    """Labelled texts ready to train on: frames with the columns text, label, source, line, and those to slice by.

    Attributes:
        labels: the negative and the positive label.
        held_back: rows of train that are not trained on, where validation is too small to judge variants on alone.
        notes: sentences to print at the start of a run: which label is positive and why, what was not read.
        max_length: tokens read of a text, where rows have left train for having more; None where that is open.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    labels: tuple[str, str]
    findings: list[Finding]
    held_back: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    max_length: int | None = None

    def items(self) -> list[tuple[str, pd.DataFrame]]:
        """Return (name, frame) of the splits."""
        three = [(name, getattr(self, name)) for name in SPLITS]
        return three if self.held_back is None else [*three, ("held_back", self.held_back)]

    def targets(self, frame: pd.DataFrame) -> list[int]:
        """Return 1 for each row of `frame` with the positive label, else 0."""
        return [int(label == self.labels[1]) for label in frame["label"]]


def choose_labels(tables: Tables, given: str | None) -> tuple[tuple[str, str], str]:
    """Return (negative, positive) by the rules of `labels.positive_label`, and why that one is positive.

    Raises:
        DataError: train has not exactly two labels, `given` is neither, or a split has a third label.
    """
    train = tables["train"]
    counts = train["label"].value_counts()
    if len(counts) != 2:
        raise DataError(_wrong_number_of_labels(train, counts))
    first, second = sorted(counts.index)
    for frame in tables.values():
        for _, row in frame[~frame["label"].isin([first, second])].iterrows():
            raise DataError(
                f"{place(row['source'], row['line'])}: the label {row['label']!r} is not in train, which has {first!r} "
                f"and {second!r}; correct it or delete the row."
            )
    positive, why = positive_label({first: int(counts[first]), second: int(counts[second])}, given)
    return (first, second) if positive == second else (second, first), why


def fill_splits(tables: Tables, config: TrainingConfig) -> Tables:
    """Return all three splits, those that are missing held out of train, stratified; train comes shuffled.

    Raises:
        DataError: a class has too few rows to be in every split.
    """
    train = tables["train"]
    rows = len(train)
    filled = {}
    for name, fraction in (("test", config.test_fraction), ("validation", config.validation_fraction)):
        if name in tables:
            filled[name] = tables[name]
        else:
            train, filled[name] = _hold_out(train, round(rows * fraction), name, config.seed)
    shuffled = train.sample(frac=1, random_state=config.seed)
    return {"train": shuffled.reset_index(drop=True), **filled}


def hold_back(train: pd.DataFrame, rows: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return train without `rows` stratified rows, and those; all of train and None where they are too much of it."""
    if rows <= 0 or rows > _LARGEST_SHARE_HELD_BACK * len(train):
        return train, None
    rest, held_back = _hold_out(train, rows, "held_back", seed)
    return rest.reset_index(drop=True), held_back


def fingerprint(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of the texts and labels of `frame`, in order."""
    digest = hashlib.sha256()
    for text, label in zip(frame["text"], frame["label"], strict=True):
        digest.update(f"{text}\x1f{label}\x1e".encode())
    return digest.hexdigest()


def fingerprints(splits: Splits) -> dict[str, str]:
    """Return the fingerprint of each split."""
    return {name: fingerprint(frame) for name, frame in splits.items()}


def _wrong_number_of_labels(train: pd.DataFrame, counts: "pd.Series[int]") -> str:
    if len(counts) == 1:
        return f"train has the one label {counts.index[0]!r}; a classifier needs examples of two."
    rarest = train[train["label"] == counts.index[-1]].iloc[0]
    return (
        f"{place(rarest['source'], rarest['line'])}: train has {len(counts)} labels "
        f"({', '.join(counts.index[:5])}) where two are needed; {rarest['label']!r} is the rarest: correct "
        "or merge labels."
    )


def _hold_out(frame: pd.DataFrame, rows: int, name: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    try:
        rest, held_out = train_test_split(frame, test_size=rows, stratify=frame["label"], random_state=seed)
    except ValueError:
        raise DataError(
            f"{len(frame)} rows are too few to hold out {rows} of both labels for {name}; add rows or give the split."
        ) from None
    return rest, held_out.reset_index(drop=True)
