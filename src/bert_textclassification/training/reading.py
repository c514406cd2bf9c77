"""Files and data sets of a hub to tables of labelled texts: what cannot be used is refused with place and remedy.

A data set is what `data_files` finds at a path, or a hub name such as `nyu-mll/glue:sst2`.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data_files import FORMATS, SPLIT_NAMES, SPLITS, find_files
from bert_textclassification.training.findings import Tables

_LARGEST_FIELD = 10_000_000
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")

SLICE = "slice:"  # begins the names of the columns to slice by: one of them may be called source, too
MOST_SLICES, LONGEST_SLICE_NAME = 20, 60  # a column with more values, or longer ones, is an identifier or another text

Row = tuple[str, str, str, int, dict[str, str]]  # text, label, source, line, the other columns by name


def read_tables(config: TrainingConfig) -> Tables:
    """Return the tables that the data set has, by split; an unsplit one is called train."""
    path = Path(config.data)
    if path.exists():
        sources = find_files(path)
        return {name: _frame(_rows_of_files(files, config), name) for name, files in sources.items()}
    if _HUB_NAME.fullmatch(config.data) and path.suffix.lower() not in FORMATS:
        return read_hub_dataset(config)
    raise DataError(f"There is no file or folder {config.data}; give the path of your labelled texts.")


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
    """Return the tables of a `datasets.DatasetDict`; splits without labels (all -1, as GLUE's tests) are left out."""
    tables = {}
    for name in SPLITS:
        own = next((called for called, split in SPLIT_NAMES.items() if split == name and called in found), None)
        if own is None:
            continue
        rows = list(_rows_of_hub_split(found[own], own, config))
        if rows and all(row[1] == "-1" for row in rows):
            continue
        tables[name] = _frame(iter(rows), name)
    if "train" not in tables:
        raise DataError(f"The data set {config.data} has no labelled train split; it has: {', '.join(found)}.")
    return tables


def _rows_of_hub_split(split: Any, name: str, config: TrainingConfig) -> Iterator[Row]:
    import datasets

    kinds = (datasets.Value, datasets.ClassLabel)  # no images, no lists
    plain = [column for column, feature in split.features.items() if isinstance(feature, kinds)]
    _check_columns(plain, f"the split {name} of {config.data}", config)
    for number, cells in enumerate(split.select_columns(plain), start=1):
        named = {column: _class_name(split.features[column], value) for column, value in cells.items()}
        yield _row(named, name, number, config)


def _class_name(feature: Any, value: Any) -> Any:
    names = getattr(feature, "names", None)
    return names[value] if names and value is not None and value >= 0 else value


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


def _rows_of_files(files: list[Path], config: TrainingConfig) -> Iterator[Row]:
    for path in files:
        yield from _rows_of_file(path, config)


def _rows_of_file(path: Path, config: TrainingConfig) -> Iterator[Row]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _rows_of_parquet(path, config)
    if suffix == ".jsonl":
        return _rows_of_json_lines(path, config)
    if suffix in (".csv", ".tsv"):
        return _rows_of_csv(path, config, "\t" if suffix == ".tsv" else ",")
    raise DataError(f"{path} is not a {', '.join(FORMATS)} file; convert it to one of these.")


def _rows_of_csv(path: Path, config: TrainingConfig, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_LARGEST_FIELD)
    reader = csv.reader(io.StringIO(_decoded(path), newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        header = next(reader, [])
        _check_columns(header, str(path), config)
        line = reader.line_num + 1
        for record in reader:
            if record:
                _check_record(record, header, delimiter, f"{path} line {line}")
                yield _row(dict(zip(header, record, strict=True)), str(path), line, config)
            line = reader.line_num + 1
    except csv.Error as problem:
        raise DataError(f"{path} line {line}: {problem}; mend the quotes of the row that starts there.") from None


def _check_record(record: list[str], header: list[str], delimiter: str, where: str) -> None:
    if len(record) != len(header):
        raise DataError(
            f"{where}: {len(record)} fields where the header has {len(header)}; quote texts that hold {delimiter!r} or "
            "line breaks."
        )
    # Most TSV files are written without quoting: a text that begins with a quote would swallow rows up to the next one.
    if delimiter == "\t" and any("\t" in field and ("\n" in field or "\r" in field) for field in record):
        raise DataError(
            f"{where}: a field in quotes holds a tab and a line break, as where rows run together; quote each text "
            "that begins with a quote and double its quotes, or write a space for the tab."
        )


def _rows_of_json_lines(path: Path, config: TrainingConfig) -> Iterator[Row]:
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except ValueError as problem:
            raise DataError(f"{path} line {number}: not valid JSON ({problem}); mend or delete the line.") from None
        if not isinstance(content, dict):
            raise DataError(f'{path} line {number}: must be an object such as {{"text": "...", "label": "..."}}.')
        _check_unicode(content, f"{path} line {number}")
        _check_columns(list(content), f"{path} line {number}", config)
        yield _row(content, str(path), number, config)


def _check_unicode(cells: dict[str, Any], where: str) -> None:
    """Refuse half of a surrogate pair, which JSON can escape but no file and no table can hold."""
    for name, cell in cells.items():
        try:
            f"{name}{cell}".encode()
        except UnicodeEncodeError:
            raise DataError(f"{where}: {name!r} holds half of a surrogate pair; write valid Unicode.") from None


def _rows_of_parquet(path: Path, config: TrainingConfig) -> Iterator[Row]:
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as problem:
        raise DataError(f"{path} is not a readable Parquet file: {problem}; write it again.") from None
    _check_columns(list(frame.columns), str(path), config)
    columns = [frame[name].tolist() for name in frame.columns]
    for number, cells in enumerate(zip(*columns, strict=True), start=1):
        yield _row(dict(zip(map(str, frame.columns), cells, strict=True)), str(path), number, config)


def _decoded(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        at = len(raw) - len(problem.object) + problem.start  # the codec counts from behind a byte order mark
        line = raw.count(b"\n", 0, at) + 1
        raise DataError(
            f"{path} line {line}: byte {at} (0x{raw[at]:02x}) is not UTF-8; save the file as UTF-8."
        ) from None


def _row(cells: dict[str, Any], source: str, line: int, config: TrainingConfig) -> Row:
    text, label = cells[config.text_column], _as_in_csv(cells[config.label_column])
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{source} line {line}: the text is empty; fill it in or delete the row.")
    if not label:
        raise DataError(f"{source} line {line}: the label is empty; fill it in or delete the row.")
    own = (config.text_column, config.label_column)
    return text, label, source, line, {name: _as_in_csv(cell) for name, cell in cells.items() if name not in own}


def _as_in_csv(cell: Any) -> str:
    """Return a cell as a CSV file has it: whole numbers without a point, nothing where there is none."""
    if pd.api.types.is_scalar(cell) and pd.isna(cell):
        return ""
    return str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell).strip()


def _check_columns(columns: list[str], where: str, config: TrainingConfig) -> None:
    for setting in ("text_column", "label_column"):
        wanted = getattr(config, setting)
        if wanted not in columns:
            has = ", ".join(map(str, columns)) or "nothing"
            raise DataError(f"{where} has no column {wanted!r}, it has: {has}; rename it or set {setting}.")


def _frame(rows: Iterator[Row], name: str) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["text", "label", "source", "line", "others"])
    if frame.empty:
        raise DataError(f"The split {name} has no rows; add labelled texts or remove its file.")
    others = pd.DataFrame(frame.pop("others").tolist(), dtype=object).fillna("")
    return frame.join(others.add_prefix(SLICE))
