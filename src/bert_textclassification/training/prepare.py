"""Labelled texts ready to train on: read, label, check, clean, split.

For example::

    splits = load_splits(TrainingConfig(data="local_test/test_dir/input/data"))
    splits.train            # DataFrame with text, label, source, line, and slice:NAME for a column NAME to slice by
    splits.labels           # ("routine", "escalate"): negative, positive
    splits.issues           # what is doubtful in the data

Rows that cannot be used are refused with file, line and remedy.
"""

from pathlib import Path

import pandas as pd

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.files import behavioral_tests_file, find_files, unread_files
from bert_textclassification.training.data.issues import merge
from bert_textclassification.training.data.rows import (
    MOST_SLICES,
    keep_slices,
    read_rows,
    rows_of_split,
    unused_columns,
)
from bert_textclassification.training.data.splits import Splits, choose_labels, require_both_labels, split_rows
from bert_textclassification.training.data_checks import CHECKS
from bert_textclassification.training.data_quality.cleaning import check_and_clean

_NAMED_FILES = 5


def load_splits(config: TrainingConfig) -> Splits:
    """Read, label, check, clean and split the data that `config` names.

    Raises:
        DataError: the data cannot be used; the message names file, line and remedy.
    """
    read = read_rows(config)
    rows = keep_slices(read)
    labels, reason = choose_labels(rows, config.positive_label)
    # Copies of a text leave train before the split: they would end up in several splits.
    rows, duplicates = check_and_clean(rows, _checks_before_split(config), config)
    rows = split_rows(rows, config)
    require_both_labels(rows, labels)
    # The other rows leave train after the split: validation and test keep such rows, as the server will get them.
    config, max_length = _with_settled_length(config, rows)
    rows, others = check_and_clean(rows, _checks_after_split(config), config)
    notes = (
        f"Positive label: {labels[1]!r}, negative: {labels[0]!r} ({reason}).",
        *_notes_on_files(config),
        *_note_on_columns(unused_columns(read, rows)),
        *_note_on_fractions(read, config),
    )
    splits = {name: rows_of_split(rows, name).drop(columns="split") for name in rows["split"].unique()}
    return Splits(**splits, labels=labels, issues=merge([*duplicates, *others]), notes=notes, max_length=max_length)


def _checks_before_split(config: TrainingConfig) -> list[str]:
    return [name for name, check in CHECKS.items() if check.before_split and name in config.drop_issues]


def _checks_after_split(config: TrainingConfig) -> list[str]:
    """Return the quick checks, those of copies again for copies between the splits, and slow ones that drop rows."""
    return [name for name, check in CHECKS.items() if not check.is_slow or name in config.drop_issues]


def _with_settled_length(config: TrainingConfig, rows: pd.DataFrame) -> tuple[TrainingConfig, int | None]:
    """Decide max_length before longer texts leave train: the remaining rows alone would give a smaller one."""
    if "too_long" not in config.drop_issues:
        return config, None
    from bert_textclassification.training.data_quality.max_length import find_max_length  # takes a second: transformers

    length = find_max_length(config, rows_of_split(rows, "train"))
    return config.model_copy(update={"max_length": length}), length


def _notes_on_files(config: TrainingConfig) -> list[str]:
    """Return sentences on the files of a data folder: those of train where there are several, and those not read."""
    folder = Path(config.data)
    if not folder.is_dir():
        return []
    train, behaviors = find_files(folder)["train"], behavioral_tests_file(config)
    unread = [file for file in unread_files(folder) if behaviors is None or file.resolve() != behaviors.resolve()]
    several = [f"Read as one table, train: {_listed(train, folder)}."] if len(train) > 1 else []
    return [*several, *([f"Not read as labelled texts: {_listed(unread, folder)}."] if unread else [])]


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


def _note_on_fractions(read: pd.DataFrame, config: TrainingConfig) -> list[str]:
    return [
        f"{name}_fraction changes nothing: the data have a {name} split."
        for name in ("validation", "test")
        if (read["split"] == name).any() and config.is_changed(f"{name}_fraction")
    ]
