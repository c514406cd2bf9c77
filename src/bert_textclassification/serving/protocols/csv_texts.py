"""The texts of a CSV body: which field of each record is the text.

The column of the texts is given in the request (`column=`) or by CSV_COLUMN:
    review      a name: the first record is a header that has it, in any case
    2           a position, counted from 1
    review,2    both: by name where the first record is a header that has it, else by position. Batch transform splits a
                file between lines, and only the first part has the header. Where the header has the name elsewhere, the
                request is refused
Without it, the texts are the column `text` of a header, or the only field of each record.

The first record is a header if the media type says so (`text/csv; header=present`, RFC 4180), if it has the name, or,
with a position alone, if its field there is `text`. `header=absent` says that it is none.
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

csv.field_size_limit(2**31 - 1)  # the body limit bounds a text; the default would refuse one over 128 kB as no CSV

Record = str | RequestError  # a text, or why there is none
Fields = list[str] | csv.Error  # of a record, or why it is no CSV
DEFAULT_NAME = "text"
MOST_COLUMNS = 9999
FIELD = "parameters.column"
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_QUOTE = "put double quotes around a text that holds commas"
# What csv takes for a part of a text, because the quote is not the first character of its field.
_WRAPPED = re.compile(r"""\s+"[^"]*"\s*""")
_OPENS = re.compile(r"""[^"]*\s"[^\s"][^"]*|\s*'[^']*""")
_CLOSES = re.compile(r"""[^"]*[^\s"]"(?:\s[^"]*)?|[^']*'\s*""")


@dataclass(frozen=True)
class Column:
    """Where the texts are.

    Attributes:
        given: what was given; None stands for the default.
        name: a name in the header, in lower case; None with a position alone.
        index: which field, from 0; None with a name alone.
    """

    given: str | None = None
    name: str | None = DEFAULT_NAME
    index: int | None = None

    @classmethod
    def parse(cls, given: str | None) -> Self:
        """Read a name, a position from 1, or both with a comma between them.

        Raises:
            RequestError: the position is out of bounds.
        """
        if given is None:
            return cls()
        name, comma, number = given.rpartition(",")
        if not (number.isascii() and number.isdigit()):
            return cls(given, given.strip().lower())
        if len(number) > len(str(MOST_COLUMNS)) or not int(number):
            message = f"The position of a column is a number from 1 to {MOST_COLUMNS}, not {number:.20}."
            raise RequestError("invalid_parameter", message, FIELD)
        return cls(given, name.strip().lower() if comma else None, int(number) - 1)


def read_texts(body: str, column: Column, header: str | None, most: int) -> list[Record]:
    """Return the text of each record of `body`, or why it has none, in order.

    Args:
        body: the CSV.
        column: where the texts are.
        header: what the media type says of the first record: `present`, `absent`, or nothing.
        most: how many texts are allowed; what follows one more is left unread.

    Raises:
        RequestError: what is said of the header is not known here.
    """
    if header not in (None, "present", "absent"):
        message = f"The media type has header={header!r:.80}; say present or absent."
        raise RequestError("invalid_parameter", message, "Content-Type")
    records = list(islice(_records(body), most + 2))  # with a header, one too many
    if not records:
        return []
    try:
        if header is None:
            _refuse_other_separator(records)
        first = _first(records[0], body, column, header)
        index, has_header = _locate(first, column, header)
    except RequestError as problem:
        return [problem] * (len(records) - (header == "present"))
    data = records[has_header:]
    if index is None:
        return [_only_field(record, number, None if header else first) for number, record in enumerate(data)]
    # Where there is no header, a single odd record may be the first.
    widths = Counter(len(record) for record in data if isinstance(record, list))
    width = len(first) if has_header or not widths else widths.most_common(1)[0][0]
    return [_field(record, number, index, width) for number, record in enumerate(data)]


def _records(body: str) -> Iterator[Fields]:
    """Yield the fields of each record, or what makes it no CSV; the next record begins on the line after that."""
    reader = csv.reader(io.StringIO(body, newline=""), strict=True)
    while True:
        try:
            yield next(reader) or [""]
        except StopIteration:
            return
        except csv.Error as problem:
            yield problem


def _first(record: Fields, body: str, column: Column, header: str | None) -> list[str]:
    """Return the first record, which may be the header; no fields where it is no CSV and no header is needed.

    Raises:
        RequestError: it is no CSV and should be the header.
    """
    if not isinstance(record, csv.Error):
        return record
    _refuse_separator(body.partition("\n")[0], column)
    if header == "present" or (column.index is None and column.name != DEFAULT_NAME):
        raise _invalid(record, 0)
    return []


def _invalid(problem: csv.Error, number: int) -> RequestError:
    message = f"Record {number + 1} is not valid CSV ({problem}); {_QUOTE}, and write a quote inside it twice."
    return RequestError("invalid_csv", message, f"instances[{number}]")


def _refuse_other_separator(records: Sequence[Fields]) -> None:
    """Refuse records of one field that is a table of its own: a header of names, and as many separators in each."""
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
    """Return which field holds the texts, None for the only one, and whether the first record is a header.

    Raises:
        RequestError: that cannot be told.
    """
    names = [] if header == "absent" else [field.strip().lower() for field in first]
    if len(names) == 1:
        _refuse_separator(names[0], column)
    # A number is taken as a name only where there must be a header: elsewhere it may be an id in the first record.
    wanted = column.given if column.name is None and header == "present" else column.name
    if wanted in names:
        found = _index(names, wanted)
        if column.index not in (None, found) and wanted == column.name:
            message = (
                f"The header has {wanted!r:.80} as field {found + 1}, and column={column.given:.80} says field "
                f"{column.index + 1}; give the position that it has."
            )
            raise RequestError("ambiguous_column", message, FIELD)
        return found, True
    if column.index is not None:
        is_named_text = column.name is None and names[column.index : column.index + 1] == [DEFAULT_NAME]
        return column.index, header == "present" or is_named_text
    has_other_header = header == "present" and (len(names) > 1 or column.given is not None)
    if column.name != DEFAULT_NAME or has_other_header:
        raise _missing(first, column, header)
    return None, header == "present"


def _index(names: Sequence[str], name: str) -> int:
    if (count := names.count(name)) > 1:
        message = f"The header has {count} columns {name!r:.80}; give the position of the one that holds the texts."
        raise RequestError("ambiguous_column", message, FIELD)
    return names.index(name)


def _missing(first: Sequence[str], column: Column, header: str | None) -> RequestError:
    name = column.given or DEFAULT_NAME
    if header == "absent":
        message = f"Without a header no column is named {name!r:.80}; give its position, such as column=2."
        return RequestError("missing_column", message, FIELD)
    there = ", ".join(" ".join(field.split())[:30] for field in first[:8]) + ", ..." * (len(first) > 8)
    there = there.encode(errors="replace").decode()  # no reply can repeat what is no UTF-8
    example = _example(first, column)
    quote = "" if header else f", or {_QUOTE}"
    message = (
        f"There is no column {name!r:.80}, there {'is' if len(first) == 1 else 'are'} {there}; give the name or the "
        f"position of the column that holds the texts, such as {example}{quote}."
    )
    return RequestError("missing_column", message, FIELD)


def _example(first: Sequence[str], column: Column) -> str:
    """Return a parameter that may be meant: a name of the first line where this looks like a header, or a position."""
    if column.given and column.given[:1].isidentifier():
        return f"column={column.given:.30},2"
    if column.given is None and len(first) > 1 and all(re.fullmatch(r"[A-Za-z_][\w -]{0,29}", name) for name in first):
        return f"column={first[-1]} where the first line is a header, else column=2"
    return "column=2"


def _refuse_separator(line: str, column: Column) -> None:
    """Refuse a first line that is a header with the column's name, but for its separator."""
    for separator, plural in _SEPARATORS.items():
        names = [name.strip(' "\r').lower() for name in line.split(separator)]
        if len(names) > 1 and (column.name or DEFAULT_NAME) in names:
            raise _separated_by(plural)


def _only_field(record: Fields, number: int, header: Sequence[str] | None) -> Record:
    """Return the only field of a record; several may be a header without a name that is known."""
    if isinstance(record, csv.Error):
        return _invalid(record, number)
    if len(record) == 1:
        return record[0]
    if record is header:
        return _missing(record, Column(), None)
    message = f"Record {number + 1} has {len(record)} fields where one is expected; {_QUOTE}, or name the column."
    return RequestError("field_count", message, f"instances[{number}]")


def _field(record: Fields, number: int, index: int, width: int) -> Record:
    if isinstance(record, csv.Error):
        return _invalid(record, number)
    if _has_late_quote(record):
        message = f"Record {number + 1} has a quote inside a field; begin that field with the quote, a double one."
        return RequestError("invalid_csv", message, f"instances[{number}]")
    fields = f"{len(record)} field" + "s" * (len(record) != 1)
    if index >= len(record):
        separators = [plural for separator, plural in _SEPARATORS.items() if separator in record[0]]
        hint = f"; separate fields by commas, not by {separators[0]}" if len(record) == 1 and separators else ""
        message = f"Record {number + 1} has {fields} and no field {index + 1}, which holds the text{hint}."
        return RequestError("missing_column", message, f"instances[{number}]")
    if len(record) != width:
        message = f"Record {number + 1} has {fields} where the others have {width}; {_QUOTE}."
        return RequestError("field_count", message, f"instances[{number}]")
    return record[index]


def _has_late_quote(record: Sequence[str]) -> bool:
    """Whether a quoted text was cut at its commas, or keeps its quotes, because something stands before them."""
    if any(map(_WRAPPED.fullmatch, record)):
        return True
    opened = [number for number, field in enumerate(record) if _OPENS.fullmatch(field)]
    return bool(opened) and any(map(_CLOSES.fullmatch, record[opened[0] + 1 :]))
