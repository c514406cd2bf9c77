"""Files and data sets of a hub to tables of labelled texts: what cannot be used is refused with place and remedy.

A data set is what `files` finds at a path, or a hub name such as `nyu-mll/glue:sst2`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.files import SPLIT_NAMES, SPLITS, find_files, place, require_found
from bert_textclassification.training.data.readers import class_name, column_names, plain_names, read_records
from bert_textclassification.training.labels import label_of, named, plain

Tables = dict[str, pd.DataFrame]  # by split, train among them, with the columns text, label, source, line

SLICE = "slice:"  # begins the names of the columns to slice by: one of them may be called source, too
MOST_SLICES, LONGEST_SLICE_NAME = 20, 60  # a column with more values, or longer ones, is an identifier or another text

Row = tuple[str, str, str, int, dict[str, str]]  # text, label, source, line, the other columns by name


def read_tables(config: TrainingConfig) -> Tables:
    """Return the tables that the data set has, by split; an unsplit one is called train."""
    path = Path(config.data)
    if path.exists():
        sources = find_files(path)
        return {name: _frame(_rows_of_files(files, config), name) for name, files in sources.items()}
    require_found(config.data)
    return read_hub_dataset(config)


def read_hub_dataset(config: TrainingConfig) -> Tables:
    """Return the splits of a data set of the Hugging Face hub; `name:configuration` chooses a configuration.

    Raises:
        DataError: the hub does not answer, has no such data set, or it lacks a column.
    """
    import datasets  # imported here: reading files needs none of it

    name, _, configuration = config.data.partition(":")
    try:
        found = datasets.load_dataset(name, configuration or None)
    except Exception as problem:  # the library raises its own, requests', and the hub client's errors
        raise DataError(
            f"{config.data} is neither a path here nor a data set that the hub gave ({type(problem).__name__}); check "
            "the name and the network, or give a local file."
        ) from problem
    return tables_of_hub_splits(found, config)


def tables_of_hub_splits(found: Any, config: TrainingConfig) -> Tables:
    """Return the tables of a `datasets.DatasetDict`.

    Splits without labels (none in any row, or -1 in all, as GLUE's tests, where train has no -1) and splits of other
    names are left out; a line on stderr names them.
    """
    tables: Tables = {}
    for called in sorted(found, key=[*SPLIT_NAMES, *found].index):
        name = SPLIT_NAMES.get(called)
        wanted = name and name not in tables and not _is_unlabelled(found[called], name, tables, config)
        rows = list(_rows_of_hub_split(found[called], called, config)) if wanted else []
        if name and rows:
            tables[name] = _frame(iter(rows), name)
        else:
            print(f"note: the split {called} of {config.data} is not used", file=sys.stderr, flush=True)
    if "train" not in tables:
        raise DataError(f"The data set {config.data} has no labelled train split; it has: {', '.join(found)}.")
    return {name: tables[name] for name in SPLITS if name in tables}


def _is_unlabelled(split: Any, name: str, tables: Tables, config: TrainingConfig) -> bool:
    names = plain_names(split.features)
    if config.label_column not in names:
        return name != "train"  # of which the missing column is told
    labels = {_value(cell) for cell in split[list(split.features)[names.index(config.label_column)]]}
    labelled_so = "train" in tables and "-1" in set(tables["train"]["label"])
    return bool(labels) and labels <= ({""} if labelled_so else {"", "-1"})


def _rows_of_hub_split(split: Any, called: str, config: TrainingConfig) -> Iterator[Row]:
    where = f"the split {called} of {config.data}"
    names = dict(zip(split.features, column_names(split.features, where, config), strict=True))
    single = {column: feature for column, feature in split.features.items() if _holds_single_values(feature)}
    for column, name in names.items():
        if column not in single and name in (config.text_column, config.label_column):
            kind = type(split.features[column]).__name__
            raise DataError(f"{where}: the column {name!r} is a feature of the kind {kind}; choose one with one value.")
    classes = {column: getattr(feature, "names", None) for column, feature in single.items()}
    others = {name: None for column, name in names.items() if column not in single}  # whose values are not looked at
    for number, cells in enumerate(split.select_columns(list(single)), start=1):
        row = {names[at]: class_name(classes[at], cell) for at, cell in cells.items()}
        yield _row(row | others, called, number, config)


def _holds_single_values(feature: Any) -> bool:
    """Whether a feature has no images and no lists; `Json` may have texts and numbers in one column."""
    import datasets

    kinds = (datasets.Value, datasets.ClassLabel, getattr(datasets, "Json", datasets.Value))  # Json came with 5
    return isinstance(feature, kinds)


def keep_slices(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables with those further columns of the data that have 2 to MOST_SLICES short values in all."""
    values: dict[str, set[str]] = {}
    for frame in tables.values():
        for name in frame.columns[frame.columns.str.startswith(SLICE)]:
            values.setdefault(name, set()).update(frame[name])
    kept = [
        name
        for name, found in values.items()
        if 2 <= len(found) <= MOST_SLICES and max(map(len, found)) <= LONGEST_SLICE_NAME
    ]
    columns = ["text", "label", "source", "line", *kept]
    return {name: frame.reindex(columns=columns, fill_value="") for name, frame in tables.items()}


def unused_columns(read: Tables, kept: Tables) -> list[str]:
    """Return the names of the columns that were read and that `keep_slices` did not keep."""
    names = {name: None for frame in read.values() for name in frame.columns if name not in kept["train"].columns}
    return [name.removeprefix(SLICE) for name in names]


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
    own = (config.text_column, config.label_column, "")
    return text, label, source, number, {name: _value(cell) for name, cell in cells.items() if name not in own}


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
