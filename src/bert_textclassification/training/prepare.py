"""Labelled texts ready to train on: read, cleaned, split.

    splits = load_splits(TrainingConfig(data="local_test/test_dir/input/data"))
    splits.train            # DataFrame with text, label, source, line, and slice:NAME for a column NAME to slice by
    splits.labels           # ("routine", "escalate"): negative, positive

What cannot be used is refused with file, line and remedy; what is only doubtful is in `Splits.findings`.
"""

from pathlib import Path

import pandas as pd

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import FINDINGS, TrainingConfig
from bert_textclassification.training.data.files import find_files, own_file, unread_files
from bert_textclassification.training.data.issues import merged
from bert_textclassification.training.data.rows import MOST_SLICES, Tables, keep_slices, read_tables, unused_columns
from bert_textclassification.training.data.splits import JUDGING_ROWS, Splits, choose_labels, fill_splits, hold_back
from bert_textclassification.training.data_quality.cleaning import BEFORE_SPLITTING, QUICK, clean

_NAMED_FILES = 5


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


def _with_settled_length(config: TrainingConfig, tables: Tables) -> tuple[TrainingConfig, int | None]:
    """Decide max_length before texts of more tokens leave train: the rest alone would have another, and be cut."""
    if "too_long" not in config.drop:
        return config, None
    from bert_textclassification.training.data_quality.max_length import find_max_length

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
