"""Find the field of each CSV record that holds the text.

The request (`column=`) or CSV_COLUMN selects the column:
    review      a name: the first record is a header that contains it, in any case
    2           a position, counted from 1
    review,2    both: by name if the first record is a header that contains it, else by position. Batch transform splits
                a file between lines, and only the first part has the header. A header with the name at another
                position is an error
The default is the column `text` of a header, or the only field of each record.

The first record is a header if the media type says so (`text/csv; header=present`, RFC 4180), if it contains the name,
or, with a position alone, if its field there is `text`. With `header=absent` it is never a header.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

from bert_textclassification.errors import RequestError

csv.field_size_limit(2**31 - 1)  # the body limit bounds a text; csv's default rejects fields over 128 kB

Record = str | RequestError  # a text, or the error in its place
Fields = list[str] | csv.Error  # the fields of a record, or the parser's error
DEFAULT_NAME = "text"
MAX_COLUMNS = 9999
FIELD = "parameters.column"
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_QUOTE = "put double quotes around a text that contains commas"
# Quotes that csv reads as part of the text because they are not the first character of the field.
_WRAPPED = re.compile(r"""\s+"[^"]*"\s*""")
_OPENS = re.compile(r"""[^"]*\s"[^\s"][^"]*|\s*'[^']*""")
_CLOSES = re.compile(r"""[^"]*[^\s"]"(?:\s[^"]*)?|[^']*'\s*""")


@dataclass(frozen=True)
class Column:
    """The column of the texts.

    Attributes:
        given: the parameter as sent; None selects the default.
        name: the name in the header, in lower case; None with a position alone.
        index: the field's index, from 0; None with a name alone.
    """

    given: str | None = None
    name: str | None = DEFAULT_NAME
    index: int | None = None

    @classmethod
    def parse(cls, given: str | None) -> Self:
        """Parse a name, a position from 1, or both separated by a comma.

        Raises:
            RequestError: the position is out of bounds.
        """
        if given is None:
            return cls()
        name, comma, number = given.rpartition(",")
        if not (number.isascii() and number.isdigit()):
            return cls(given, given.strip().lower())
        if len(number) > len(str(MAX_COLUMNS)) or not int(number):
            message = f"The position of a column is a number from 1 to {MAX_COLUMNS}, not {number:.20}."
            raise RequestError("invalid_parameter", message, FIELD)
        return cls(given, name.strip().lower() if comma else None, int(number) - 1)


def read_texts(body: str, column: Column, header: str | None, max_texts: int) -> list[Record]:
    """Return the text of each record of `body`, or the error in its place, in order.

    Args:
        body: the CSV document.
        column: the column of the texts.
        header: `header` parameter of the media type: `present`, `absent`, or None.
        max_texts: reading stops after one text more than this.

    Raises:
        RequestError: `header` has another value.
    """
    if header not in (None, "present", "absent"):
        message = f"The media type has header={header!r:.80}; say present or absent."
        raise RequestError("invalid_parameter", message, "Content-Type")
    records = list(islice(_records(body), max_texts + 2))  # a header, and one text too many
    if not records:
        return []
    try:
        if header is None:
            _reject_table_with_other_separator(records)
        first = _first(records[0], body, column, header)
        index, has_header = _locate(first, column, header)
    except RequestError as problem:
        return [problem] * (len(records) - (header == "present"))
    data = records[has_header:]
    if index is None:
        return [_only_field(record, number, None if header else first) for number, record in enumerate(data)]
    # Without a header the first record may be the only irregular one: take the most common width.
    widths = Counter(len(record) for record in data if isinstance(record, list))
    width = len(first) if has_header or not widths else widths.most_common(1)[0][0]
    return [_field(record, number, index, width) for number, record in enumerate(data)]


def _records(body: str) -> Iterator[Fields]:
    """Yield the fields of each record, or the parser's error; after an error, parsing resumes on the next line."""
    reader = csv.reader(io.StringIO(body, newline=""), strict=True)
    while True:
        try:
            yield next(reader) or [""]
        except StopIteration:
            return
        except csv.Error as problem:
            yield problem


def _first(record: Fields, body: str, column: Column, header: str | None) -> list[str]:
    """Return the first record, which may be the header; no fields if it is invalid and no header is needed.

    Raises:
        RequestError: the record is invalid and must be the header.
    """
    if not isinstance(record, csv.Error):
        return record
    _reject_separator(body.partition("\n")[0], column)
    if header == "present" or (column.index is None and column.name != DEFAULT_NAME):
        raise _invalid(record, 0)
    return []


def _invalid(problem: csv.Error, number: int) -> RequestError:
    message = f"Record {number + 1} is not valid CSV ({problem}); {_QUOTE}, and write a quote inside it twice."
    return RequestError("invalid_csv", message, f"instances[{number}]")


def _reject_table_with_other_separator(records: Sequence[Fields]) -> None:
    """Reject one-field records that form a table with another separator: a header of names, equally many in each."""
    lines = [record[0] for record in records if isinstance(record, list) and len(record) == 1]
    if len(lines) < max(2, len(records)):
        return
    for separator, plural in _SEPARATORS.items():
        names = lines[0].split(separator)
        if (
            len(names) > 1
            and all(map(str.isidentifier, names))
            and {line.count(separator) for line in lines} == {len(names) - 1}
        ):
            raise _separated_by(plural)


def _separated_by(plural: str) -> RequestError:
    return RequestError("invalid_csv", f"The fields are separated by {plural}; separate them by commas.")


def _locate(first: Sequence[str], column: Column, header: str | None) -> tuple[int | None, bool]:
    """Return the index of the texts' field (None: the only field), and whether the first record is a header.

    Raises:
        RequestError: the column is missing or ambiguous.
    """
    names = [] if header == "absent" else [field.strip().lower() for field in first]
    if len(names) == 1:
        _reject_separator(names[0], column)
    # A number counts as a name only with `header=present`: otherwise it may be an id in the first record.
    wanted = column.given if column.name is None and header == "present" else column.name
    if wanted in names:
        index = _index(names, wanted)
        if column.index not in (None, index) and wanted == column.name:
            message = (
                f"The header has {wanted!r:.80} as field {index + 1}, but column={column.given:.80} says field "
                f"{column.index + 1}; give position {index + 1}."
            )
            raise RequestError("ambiguous_column", message, FIELD)
        return index, True
    if column.index is not None:
        is_named_text = column.name is None and names[column.index : column.index + 1] == [DEFAULT_NAME]
        return column.index, header == "present" or is_named_text
    has_other_header = header == "present" and (len(names) > 1 or column.given is not None)
    if column.name != DEFAULT_NAME or has_other_header:
        raise _missing(first, column, header)
    return None, header == "present"


def _index(names: Sequence[str], name: str) -> int:
    if (count := names.count(name)) > 1:
        message = f"The header has {count} columns {name!r:.80}; give the position of the one with the texts."
        raise RequestError("ambiguous_column", message, FIELD)
    return names.index(name)


def _missing(first: Sequence[str], column: Column, header: str | None) -> RequestError:
    name = column.given or DEFAULT_NAME
    if header == "absent":
        message = f"Without a header there is no column {name!r:.80}; give its position, such as column=2."
        return RequestError("missing_column", message, FIELD)
    columns = ", ".join(" ".join(field.split())[:30] for field in first[:8]) + ", ..." * (len(first) > 8)
    columns = columns.encode(errors="replace").decode()  # a response is UTF-8
    example = _example(first, column)
    quote = "" if header else f", or {_QUOTE}"
    message = (
        f"There is no column {name!r:.80}, only {columns}; give the name or the position of the column with the texts, "
        f"such as {example}{quote}."
    )
    return RequestError("missing_column", message, FIELD)


def _example(first: Sequence[str], column: Column) -> str:
    """Suggest a parameter: a name of the first line if that looks like a header, else a position."""
    if column.given and column.given[:1].isidentifier():
        return f"column={column.given:.30},2"
    if column.given is None and len(first) > 1 and all(re.fullmatch(r"[A-Za-z_][\w -]{0,29}", name) for name in first):
        return f"column={first[-1]} if the first line is a header, else column=2"
    return "column=2"


def _reject_separator(line: str, column: Column) -> None:
    """Reject a first line that is a header with the column's name but another separator."""
    for separator, plural in _SEPARATORS.items():
        names = [name.strip(' "\r').lower() for name in line.split(separator)]
        if len(names) > 1 and (column.name or DEFAULT_NAME) in names:
            raise _separated_by(plural)


def _only_field(record: Fields, number: int, header: Sequence[str] | None) -> Record:
    """Return the only field of a record; a first record with several fields may be a header without the column."""
    if isinstance(record, csv.Error):
        return _invalid(record, number)
    if len(record) == 1:
        return record[0]
    if record is header:
        return _missing(record, Column(), None)
    message = f"Record {number + 1} has {len(record)} fields instead of one; {_QUOTE}, or name the column."
    return RequestError("field_count", message, f"instances[{number}]")


def _field(record: Fields, number: int, index: int, width: int) -> Record:
    if isinstance(record, csv.Error):
        return _invalid(record, number)
    if _has_late_quote(record):
        message = f"Record {number + 1} has a quote inside a field; start that field with a double quote."
        return RequestError("invalid_csv", message, f"instances[{number}]")
    fields = f"{len(record)} field" + "s" * (len(record) != 1)
    if index >= len(record):
        separators = [plural for separator, plural in _SEPARATORS.items() if separator in record[0]]
        hint = f"; separate fields by commas, not by {separators[0]}" if len(record) == 1 and separators else ""
        message = f"Record {number + 1} has {fields}, but the text is field {index + 1}{hint}."
        return RequestError("missing_column", message, f"instances[{number}]")
    if len(record) != width:
        message = f"Record {number + 1} has {fields}, but the others have {width}; {_QUOTE}."
        return RequestError("field_count", message, f"instances[{number}]")
    return record[index]


def _has_late_quote(record: Sequence[str]) -> bool:
    """Whether a quoted text was split at its commas, or kept its quotes, because characters precede the quote."""
    if any(map(_WRAPPED.fullmatch, record)):
        return True
    opened = [number for number, field in enumerate(record) if _OPENS.fullmatch(field)]
    return bool(opened) and any(map(_CLOSES.fullmatch, record[opened[0] + 1 :]))
