"""Label and split the rows: which label is positive, which rows are held out of train."""

import hashlib
from dataclasses import dataclass

import pandas as pd
from sklearn.model_selection import train_test_split

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.files import SPLITS, place
from bert_textclassification.training.data.issues import Issue
from bert_textclassification.training.data.rows import join_splits, rows_of_split
from bert_textclassification.training.labels import positive_label

JUDGING_ROWS = 2000  # with so many rows, the smallest loss that a test can detect is 0.25 points
_LARGEST_SHARE_HELD_BACK = 0.05


@dataclass(frozen=True)
class Splits:
    """The rows to train and evaluate on: text, label, source, line, and slice:NAME for a column NAME to slice by.

    Attributes:
        labels: the negative and the positive label.
        issues: what the checks have found so far.
        held_back: rows of train that are not trained on, where validation is too small to judge variants on alone.
        notes: sentences to print at the start of a run: which label is positive and why, what was not read.
        max_length: tokens read of a text, where rows with more have left train; None where it is not decided.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    labels: tuple[str, str]
    issues: list[Issue]
    held_back: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    max_length: int | None = None

    def items(self) -> list[tuple[str, pd.DataFrame]]:
        """Return the name and the rows of each split."""
        three = [(name, getattr(self, name)) for name in SPLITS]
        return three if self.held_back is None else [*three, ("held_back", self.held_back)]

    def rows(self) -> pd.DataFrame:
        """Return the rows of all splits in one table with the column split."""
        return join_splits(dict(self.items()))

    def targets(self, rows: pd.DataFrame) -> list[int]:
        """Return 1 for each row with the positive label, else 0."""
        return [int(label == self.labels[1]) for label in rows["label"]]


def choose_labels(rows: pd.DataFrame, given: str | None) -> tuple[tuple[str, str], str]:
    """Return (negative, positive) by the rules of `labels.positive_label`, and the reason for that choice.

    Raises:
        DataError: train does not have exactly two labels, `given` is neither, or a split has a third label.
    """
    train = rows_of_split(rows, "train")
    counts = train["label"].value_counts()
    if len(counts) != 2:
        raise DataError(_wrong_number_of_labels(train, counts))
    first, second = sorted(counts.index)
    for _, row in rows[~rows["label"].isin([first, second])].iterrows():
        raise DataError(
            f"{place(row['source'], row['line'])}: the label {row['label']!r} is not in train, which has {first!r} "
            f"and {second!r}; correct it or delete the row."
        )
    positive, reason = positive_label({first: int(counts[first]), second: int(counts[second])}, given)
    return (first, second) if positive == second else (second, first), reason


def split_rows(rows: pd.DataFrame, config: TrainingConfig) -> pd.DataFrame:
    """Return the rows in all three splits, and `held_back`; missing splits are held out of train, stratified.

    Train comes shuffled. The splits are in the order train, test, validation, held_back; the order matters, because a
    check names the first of several rows with the same text.

    Raises:
        DataError: a class has too few rows to be in every split.
    """
    train = rows_of_split(rows, "train")
    train_size = len(train)
    evaluated = {}
    for name, fraction in (("test", config.test_fraction), ("validation", config.validation_fraction)):
        if (rows["split"] == name).any():
            evaluated[name] = rows_of_split(rows, name)
        else:
            train, evaluated[name] = _hold_out(train, round(train_size * fraction), name, config.seed)
    train = train.sample(frac=1, random_state=config.seed)
    train, held_back = hold_back(train, JUDGING_ROWS - len(evaluated["validation"]), config.seed)
    splits = {"train": train, **evaluated}
    return join_splits(splits if held_back is None else splits | {"held_back": held_back})


def hold_back(train: pd.DataFrame, count: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return train without `count` stratified rows, and those; all of train and None where they are too many."""
    if count <= 0 or count > _LARGEST_SHARE_HELD_BACK * len(train):
        return train, None
    return _hold_out(train, count, "held_back", seed)


def require_both_labels(rows: pd.DataFrame, labels: tuple[str, str]) -> None:
    """Check that each split has rows of both labels.

    Raises:
        DataError: a split has rows of one label alone.
    """
    for name in rows["split"].unique():
        split = rows_of_split(rows, name)
        if missing := set(labels) - set(split["label"]):
            source = split["source"].iloc[0]
            raise DataError(
                f"{name} ({source}) has no row labelled {missing.pop()!r}; add some or choose other splits."
            )


def fingerprint(rows: pd.DataFrame) -> str:
    """Return the SHA-256 of the texts and labels of `rows`, in order."""
    digest = hashlib.sha256()
    for text, label in zip(rows["text"], rows["label"], strict=True):
        digest.update(f"{text}\x1f{label}\x1e".encode())
    return digest.hexdigest()


def fingerprints(splits: Splits) -> dict[str, str]:
    """Return the fingerprint of each split."""
    return {name: fingerprint(rows) for name, rows in splits.items()}


def _wrong_number_of_labels(train: pd.DataFrame, counts: "pd.Series[int]") -> str:
    if len(counts) == 1:
        return f"train has the one label {counts.index[0]!r}; a classifier needs examples of two."
    rarest = train[train["label"] == counts.index[-1]].iloc[0]
    return (
        f"{place(rarest['source'], rarest['line'])}: train has {len(counts)} labels "
        f"({', '.join(counts.index[:5])}) where two are needed; {rarest['label']!r} is the rarest: correct "
        "or merge labels."
    )


def _hold_out(rows: pd.DataFrame, count: int, name: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows without `count` of them, stratified by label, and those."""
    try:
        rest, held_out = train_test_split(rows, test_size=count, stratify=rows["label"], random_state=seed)
    except ValueError:
        raise DataError(
            f"{len(rows)} rows are too few to hold out {count} of both labels for {name}; add rows or give the split."
        ) from None
    return rest, held_out
