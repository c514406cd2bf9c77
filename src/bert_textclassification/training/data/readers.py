"""Files of labelled texts to records, each a line or row number and the cells by column name.

A reader refuses what its format makes impossible to read, with place and remedy; what a text and a label are is decided
in `reading`, for all formats alike.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.files import ending, place, require_readable

_LARGEST_FIELD = 10_000_000
_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "vertical bars"}
_OTHER_CONTENT = {
    b"\x1f\x8b": "is compressed by gzip; add .gz to its name",
    b"PK\x03\x04": "is a zip archive or an Excel workbook; unpack it, or save it as CSV UTF-8",
    b"PAR1": "is a Parquet file; name it .parquet",
    b"version https://git-lfs": "is a pointer of Git LFS; fetch the file with `git lfs pull`",
}
_SECOND_TEXT = "text_pair"  # of models that read two
_AROUND_NAMES = re.compile(r"^[\s\ufeff]+|[\s\ufeff]+$")

Record = tuple[int, dict[str, Any]]


def read_records(path: Path, config: TrainingConfig) -> Iterator[Record]:
    """Return the records of a file, with the names of columns as `column_names` returns them.

    Raises:
        DataError: the file cannot be read, or lacks the column of the texts or the labels.
    """
    require_readable(path)
    return _READERS[ending(path).removesuffix(".gz")](path, config)


def column_names(names: Iterable[Any], where: str, config: TrainingConfig) -> list[str]:
    """Return the names of columns without blanks and byte order marks around them.

    Raises:
        DataError: a name is there twice, the column of the texts or the labels is missing, or there is a second text.
    """
    plain = plain_names(names)
    twice = [name for name, count in Counter(plain).items() if count > 1 and name]
    if twice:
        raise DataError(f"{where} has the column {twice[0]!r} twice; give every column a name of its own.")
    if _SECOND_TEXT in plain and config.text_column != _SECOND_TEXT:
        raise DataError(
            f"{where} has a column {_SECOND_TEXT!r}, but a row is one text, as a request to the server is; join both "
            f"texts in the column {config.text_column!r}, or remove {_SECOND_TEXT!r}."
        )
    for setting in ("text_column", "label_column"):
        wanted = getattr(config, setting)
        if wanted not in plain:
            has = ", ".join(plain) or "nothing"
            raise DataError(f"{where} has no column {wanted!r}, it has: {has}; rename it or set {setting}.")
    return plain


def plain_names(names: Iterable[Any]) -> list[str]:
    """Return the names of columns without blanks and byte order marks around them."""
    return [_AROUND_NAMES.sub("", str(name)) for name in names]


def class_name(names: list[str] | None, value: Any) -> Any:
    """Return the name of the class with a number; the value itself where there is none, as for the unlabelled -1."""
    has_name = isinstance(value, int) and 0 <= value < len(names or [])
    return names[value] if names and has_name else value


def _csv_records(path: Path, config: TrainingConfig, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(_LARGEST_FIELD)
    text = _decoded(path)
    _refuse_other_separator(text, delimiter, path, config)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        header = column_names(next(reader, []), str(path), config)
        line = reader.line_num + 1
        for record in reader:
            if record:
                _check_record(record, header, delimiter, place(path, line))
                yield line, dict(zip(header, record, strict=True))
            line = reader.line_num + 1
    except csv.Error as problem:
        raise DataError(f"{place(path, line)}: {problem}; mend the quotes of the row that starts there.") from None


def _refuse_other_separator(text: str, delimiter: str, path: Path, config: TrainingConfig) -> None:
    """Refuse a file whose first line has the column of the texts only if another character separates its fields."""
    line = re.split(r"[\r\n]", text, maxsplit=1)[0]
    for separator in (delimiter, *_SEPARATORS):
        names = [_AROUND_NAMES.sub("", name) for name in next(csv.reader([line], delimiter=separator), [])]
        if config.text_column in names and separator != delimiter:
            remedy = "name it .tsv or " if separator == "\t" else "name it .csv or " if separator == "," else ""
            raise DataError(
                f"{path} seems to separate its fields by {_SEPARATORS[separator]}, not by {_SEPARATORS[delimiter]}; "
                f"{remedy}save it with {_SEPARATORS[delimiter]}."
            )
        if config.text_column in names:
            return


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


def _json_records(path: Path, config: TrainingConfig) -> Iterator[Record]:
    """Yield the records of JSON Lines, or of one JSON array of objects."""
    text = _decoded(path)
    values = _array(text, path) if re.match(r"\s*\[", text) else _lines(text, path)
    for number, where, content in values:
        if not isinstance(content, dict):
            raise DataError(f'{where}: must be an object such as {{"text": "...", "label": "..."}}.')
        _check_unicode(content, where)
        yield number, dict(zip(column_names(content, where, config), content.values(), strict=True))


def _array(text: str, path: Path) -> Iterator[tuple[int, str, Any]]:
    content = _parsed(text, str(path), "mend it")
    for number, value in enumerate(content, start=1):
        yield number, f"{path} row {number}", value


def _lines(text: str, path: Path) -> Iterator[tuple[int, str, Any]]:
    remedy = "write one object a line, or an array of objects"
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path} line {number}"
            yield number, where, _parsed(line, where, remedy)
            remedy = "mend or delete the line"


def _parsed(text: str, where: str, remedy: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except ValueError as problem:
        raise DataError(f"{where}: not valid JSON ({problem}); {remedy}.") from None
    except RecursionError:
        raise DataError(f"{where}: lists or objects are nested too deeply; {remedy}.") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return content


def _check_unicode(cells: dict[str, Any], where: str) -> None:
    """Refuse half of a surrogate pair, which JSON can escape but no file and no table can hold."""
    for name, cell in cells.items():
        try:
            f"{name}{cell}".encode()
        except UnicodeEncodeError:
            raise DataError(f"{where}: {name!r} holds half of a surrogate pair; write valid Unicode.") from None


def _parquet_records(path: Path, config: TrainingConfig) -> Iterator[Record]:
    try:
        table = pq.ParquetFile(path).read()
    except PermissionError as problem:
        raise _unreadable(path, problem) from None
    except (OSError, pa.ArrowException) as problem:
        raise DataError(f"{path} is not a readable Parquet file: {problem}; write it again.") from None
    names = column_names(table.column_names, str(path), config)
    classes = _class_names(table.schema)
    needed = (config.text_column, config.label_column)
    columns = {
        name: [class_name(classes.get(field.name), cell) for cell in _cells(column)]
        if name in needed or not pa.types.is_nested(field.type)
        else [None] * len(table)  # its values are not looked at
        for name, field, column in zip(names, table.schema, table.columns, strict=True)
        if name in needed or not field.name.startswith("__index_level_")  # pandas' row names
    }
    for number, cells in enumerate(zip(*columns.values(), strict=True), start=1):
        yield number, dict(zip(columns, cells, strict=True))


def _cells(column: pa.ChunkedArray) -> list[Any]:
    cells: list[Any] = column.to_pylist()
    if getattr(column.type, "extension_name", "") == "arrow.json":  # as the feature Json of datasets is stored
        return [None if cell is None else json.loads(cell) for cell in cells]
    return cells


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of classes by column, as the library datasets writes them into a file's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature["names"] for name, feature in features.items() if feature["_type"] == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _decoded(path: Path) -> str:
    raw = _unpacked(path)
    for beginning, remedy in _OTHER_CONTENT.items():
        if raw.startswith(beginning):
            raise DataError(f"{path} {remedy}.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        at = len(raw) - len(problem.object) + problem.start  # the codec counts from behind a byte order mark
        line = raw.count(b"\n", 0, at) + 1
        raise DataError(
            f"{path} line {line}: byte {at} (0x{raw[at]:02x}) is not UTF-8; save the file as UTF-8."
        ) from None


def _unpacked(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise _unreadable(path, problem) from None
    if not ending(path).endswith(".gz"):
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(f"{path} is not a whole gzip file ({problem}); compress or copy it again.") from None


def _unreadable(path: Path, problem: OSError) -> DataError:
    return DataError(f"{path} cannot be read ({problem.strerror}); make it readable for the user who trains.")


_READERS: dict[str, Callable[[Path, TrainingConfig], Iterator[Record]]] = {
    ".csv": partial(_csv_records, delimiter=","),
    ".tsv": partial(_csv_records, delimiter="\t"),
    ".jsonl": _json_records,
    ".ndjson": _json_records,
    ".json": _json_records,
    ".parquet": _parquet_records,
}
