"""Labelled texts ready to train on: read, cleaned, split.

    splits = load_splits(TrainingConfig(data="local_test/test_dir/input/data"))
    splits.train            # DataFrame with text, label, source, line, and slice:NAME for a column NAME to slice by
    splits.labels           # ("routine", "escalate"): negative, positive

What cannot be used is refused with file, line and remedy; what is only doubtful is in `Splits.findings`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sklearn.model_selection import train_test_split

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import FINDINGS, TrainingConfig
from bert_textclassification.training.data.files import SPLITS, find_files, unread_files
from bert_textclassification.training.data.issues import Finding, Tables, merged, place
from bert_textclassification.training.data.tables import MOST_SLICES, keep_slices, read_tables, unused_columns
from bert_textclassification.training.data_quality.checks import BEFORE_SPLITTING, QUICK, clean
from bert_textclassification.training.evaluation.behavioral.file import own_file
from bert_textclassification.training.labels import positive_label

JUDGING_ROWS = 2000  # a loss of 0.25 points is the least that so many rows can tell from chance
_LARGEST_SHARE_HELD_BACK = 0.05
_NAMED_FILES = 5


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


def load_splits(config: TrainingConfig) -> Splits:
    """Read, validate, clean and split the data that `config` names.

    Raises:
        DataError: the data cannot be used; the message names file, line and remedy.
    """
    read = read_tables(config)
    tables = keep_slices(read)
    unused = [*_note_on_columns(unused_columns(read, tables)), *_note_on_fractions(read, config)]
    labels, why = choose_labels(tables, config.positive_label)
    tables, before = clean(tables, [kind for kind in BEFORE_SPLITTING if kind in config.drop], config)
    tables = fill_splits(tables, config)
    tables["train"], held_back = hold_back(tables["train"], JUDGING_ROWS - len(tables["validation"]), config.seed)
    tables |= {} if held_back is None else {"held_back": held_back}
    for name, frame in tables.items():
        _refuse_one_class(name, frame, labels)
    config, max_length = _with_settled_length(config, tables)
    tables, after = clean(tables, [kind for kind in FINDINGS if kind in QUICK or kind in config.drop], config)
    notes = (f"Positive label: {labels[1]!r}, negative: {labels[0]!r} ({why}).", *_notes_on_files(config), *unused)
    return Splits(**tables, labels=labels, findings=merged([*before, *after]), notes=notes, max_length=max_length)


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


def _with_settled_length(config: TrainingConfig, tables: Tables) -> tuple[TrainingConfig, int | None]:
    """Decide max_length before texts of more tokens leave train: the rest alone would have another, and be cut."""
    if "too_long" not in config.drop:
        return config, None
    from bert_textclassification.training.data_quality.max_length import (
        find_max_length,  # here: else reading data waits for torch
    )

    length = find_max_length(config, tables)
    return config.model_copy(update={"max_length": length}), length


def _notes_on_files(config: TrainingConfig) -> list[str]:
    """Return sentences on the files of a data folder: those of train where they are many, and those not read."""
    path = Path(config.data)
    if not path.is_dir():
        return []
    train, own = find_files(path)["train"], own_file(config)
    unread = [file for file in unread_files(path) if own is None or file.resolve() != own.resolve()]
    several = [f"Read as one table, train: {_listed(train, path)}."] if len(train) > 1 else []
    return [*several, *([f"Not read as labelled texts: {_listed(unread, path)}."] if unread else [])]


def _listed(files: list[Path], folder: Path) -> str:
    more = f" and {len(files) - _NAMED_FILES} more" if len(files) > _NAMED_FILES else ""
    return ", ".join(str(file.relative_to(folder)) for file in files[:_NAMED_FILES]) + more


def _note_on_columns(unused: list[str]) -> list[str]:
    """Return a sentence on the columns that are neither texts nor labels nor anything to slice by."""
    if not unused:
        return []
    return [
        f"Columns that are not used: {', '.join(unused)}; results are shown by the values of a column where it has 2 "
        f"to {MOST_SLICES} short ones."
    ]


def _note_on_fractions(read: Tables, config: TrainingConfig) -> list[str]:
    return [
        f"{name}_fraction changes nothing: the data have a {name} split."
        for name in ("validation", "test")
        if name in read and config.is_changed(f"{name}_fraction")
    ]


def _refuse_one_class(name: str, frame: pd.DataFrame, labels: tuple[str, str]) -> None:
    missing = set(labels) - set(frame["label"])
    if missing:
        source = frame["source"].iloc[0]
        raise DataError(f"{name} ({source}) has no row labelled {missing.pop()!r}; add some or choose other splits.")


def _hold_out(frame: pd.DataFrame, rows: int, name: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    try:
        rest, held_out = train_test_split(frame, test_size=rows, stratify=frame["label"], random_state=seed)
    except ValueError:
        raise DataError(
            f"{len(frame)} rows are too few to hold out {rows} of both labels for {name}; add rows or give the split."
        ) from None
    return rest, held_out.reset_index(drop=True)
