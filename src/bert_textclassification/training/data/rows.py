"""Read the rows of a data set: one table of labelled texts, from files or from a hub.

    rows = read_rows(config)    # DataFrame with text, label, source, line, split, and slice:NAME for each other column

A data set is what `files` finds at a path, or a hub name such as `nyu-mll/glue:sst2`. A row that cannot be used is
refused with its place and the remedy.
"""

import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.files import SPLIT_NAMES, SPLITS, find_files, place, require_found
from bert_textclassification.training.data.readers import class_name, column_names, plain_names, read_records
from bert_textclassification.training.labels import label_of, named, plain

COLUMNS = ["text", "label", "source", "line", "split"]
SLICE = "slice:"  # prefix of the columns to slice by: one of them may be called source, too
MOST_SLICES, LONGEST_SLICE_NAME = 20, 60  # a column with more values, or longer ones, is an identifier or another text

Row = tuple[str, str, str, int, dict[str, str]]  # text, label, source, line, the other columns by name


def read_rows(config: TrainingConfig) -> pd.DataFrame:
    """Return the rows of the data set; where it has no splits, all of them are in train.

    Raises:
        DataError: the data cannot be used; the message names file, line and remedy.
    """
    path = Path(config.data)
    if path.exists():
        splits = find_files(path)
        return join_splits({name: _frame(_rows_of_files(files, config), name) for name, files in splits.items()})
    require_found(config.data)
    return read_hub_dataset(config)


def join_splits(splits: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all splits, given by name, in one table with the column split."""
    return pd.concat([rows.assign(split=name) for name, rows in splits.items()], ignore_index=True)


def rows_of_split(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows of one split, in order."""
    return rows[rows["split"] == name].reset_index(drop=True)


def read_hub_dataset(config: TrainingConfig) -> pd.DataFrame:
    """Return the rows of a data set of the Hugging Face hub; `name:configuration` chooses a configuration.

    Raises:
        DataError: the hub does not answer, has no such data set, or it lacks a column.
    """
    import datasets  # imported here: reading files needs none of it

    name, _, configuration = config.data.partition(":")
    try:
        dataset = datasets.load_dataset(name, configuration or None)
    except Exception as problem:  # the library raises its own, requests', and the hub client's errors
        raise DataError(
            f"{config.data} is neither a path here nor a data set that the hub gave ({type(problem).__name__}); check "
            "the name and the network, or give a local file."
        ) from problem
    return rows_of_hub_dataset(dataset, config)


def rows_of_hub_dataset(dataset: Any, config: TrainingConfig) -> pd.DataFrame:
    """Return the rows of a `datasets.DatasetDict`.

    Splits without labels (none in any row, or -1 in all, as GLUE's tests, where train has no -1) and splits of other
    names are left out; a line on stderr names them.

    Raises:
        DataError: there is no labelled train split, or a row cannot be used.
    """
    splits: dict[str, pd.DataFrame] = {}
    for hub_name in sorted(dataset, key=[*SPLIT_NAMES, *dataset].index):
        name = SPLIT_NAMES.get(hub_name)
        is_used = name and name not in splits and not _is_unlabelled(dataset[hub_name], name, splits, config)
        rows = list(_rows_of_hub_split(dataset[hub_name], hub_name, config)) if is_used else []
        if name and rows:
            splits[name] = _frame(iter(rows), name)
        else:
            print(f"note: the split {hub_name} of {config.data} is not used", file=sys.stderr, flush=True)
    if "train" not in splits:
        raise DataError(f"The data set {config.data} has no labelled train split; it has: {', '.join(dataset)}.")
    return join_splits({name: splits[name] for name in SPLITS if name in splits})


def _is_unlabelled(split: Any, name: str, splits: Mapping[str, pd.DataFrame], config: TrainingConfig) -> bool:
    names = plain_names(split.features)
    if config.label_column not in names:
        return name != "train"  # for train, the error names the missing column
    labels = {_value(cell) for cell in split[list(split.features)[names.index(config.label_column)]]}
    is_label = "train" in splits and "-1" in set(splits["train"]["label"])
    return bool(labels) and labels <= ({""} if is_label else {"", "-1"})


def _rows_of_hub_split(split: Any, hub_name: str, config: TrainingConfig) -> Iterator[Row]:
    where = f"the split {hub_name} of {config.data}"
    names = dict(zip(split.features, column_names(split.features, where, config), strict=True))
    single = {column: feature for column, feature in split.features.items() if _holds_single_values(feature)}
    for column, name in names.items():
        if column not in single and name in (config.text_column, config.label_column):
            kind = type(split.features[column]).__name__
            raise DataError(f"{where}: the column {name!r} is a feature of the kind {kind}; choose one with one value.")
    classes = {column: getattr(feature, "names", None) for column, feature in single.items()}
    others = {name: None for column, name in names.items() if column not in single}  # their values are not read
    for number, cells in enumerate(split.select_columns(list(single)), start=1):
        row = {names[column]: class_name(classes[column], cell) for column, cell in cells.items()}
        yield _row(row | others, hub_name, number, config)


def _holds_single_values(feature: Any) -> bool:
    """Whether a feature has no images and no lists; `Json` may have texts and numbers in one column."""
    import datasets

    kinds = (datasets.Value, datasets.ClassLabel, getattr(datasets, "Json", datasets.Value))  # Json came with 5
    return isinstance(feature, kinds)


def keep_slices(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with those other columns of the data that have 2 to MOST_SLICES short values in all."""
    slices = rows.columns[rows.columns.str.startswith(SLICE)]
    kept = [name for name in slices if _is_slice(rows[name].dropna().unique())]  # a split without the column has NaN
    return rows[[*COLUMNS, *kept]].fillna(dict.fromkeys(kept, ""))


def _is_slice(values: Collection[str]) -> bool:
    return 2 <= len(values) <= MOST_SLICES and max(map(len, values)) <= LONGEST_SLICE_NAME


def unused_columns(read: pd.DataFrame, kept: pd.DataFrame) -> list[str]:
    """Return the names of the columns that were read and that `keep_slices` did not keep."""
    return [name.removeprefix(SLICE) for name in read.columns if name not in kept.columns]


def _rows_of_files(files: list[Path], config: TrainingConfig) -> Iterator[Row]:
    for path in files:
        for number, cells in read_records(path, config):
            yield _row(cells, str(path), number, config)


def _row(cells: dict[str, Any], source: str, number: int, config: TrainingConfig) -> Row:
    text, label = plain(cells[config.text_column]), _label(cells[config.label_column], source, number)
    if text is None or text != text or (isinstance(text, str) and not text.strip()):  # NaN
        raise DataError(f"{place(source, number)}: the text is empty; fill it in or delete the row.")
    if not isinstance(text, str):
        raise DataError(f"{place(source, number)}: the text is {named(text)}; write a text, or delete the row.")
    not_sliced = (config.text_column, config.label_column, "")
    slices = {name: _value(cell) for name, cell in cells.items() if name not in not_sliced}
    return text, label, source, number, slices


def _label(cell: Any, source: str, number: int) -> str:
    try:
        label = label_of(cell)
    except ValueError as problem:
        raise DataError(
            f"{place(source, number)}: the label is {problem}; write one text, number or boolean for each row."
        ) from None
    if not label:
        raise DataError(f"{place(source, number)}: the label is empty; fill it in or delete the row.")
    return label


def _value(cell: Any) -> str:
    """Return a cell of a further column, spelt as a label is, so that all formats give the same slices."""
    try:
        return label_of(cell)
    except ValueError:
        return str(cell)


def _frame(rows: Iterator[Row], name: str) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["text", "label", "source", "line", "others"])
    if frame.empty:
        raise DataError(f"The split {name} has no rows; add labelled texts or remove its file.")
    others = pd.DataFrame(frame.pop("others").tolist(), dtype=object).fillna("")
    return frame.join(others.add_prefix(SLICE))
