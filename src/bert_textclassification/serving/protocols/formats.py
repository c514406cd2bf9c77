"""Bodies of `/invocations` in each content type, and where the other protocols are.

JSON in        {"instances": ["...", {"text": "..."}], "parameters": {"truncation": "error"}}
               also {"inputs": ...}, {"text": "..."}, a bare list, a bare string
JSON out       {"predictions": [{"label": "escalate", "score": 0.97, ...}], "model": {"version": ..., "variant": ...}}
JSON Lines     a string or {"text": "..."} a line in, a prediction a line out
CSV in         a record a text, with or without a header (`csv_texts`); quoted line breaks are part of the text
CSV out        `label,score` a record, then what else was asked for, without a header
plain text     one text a line in, label, score and what else was asked for with tabs between them a line out
Open Inference Protocol   (`open_inference`) a BYTES tensor in; out: tensors `label`, `score`, `decision`, `tokens`,
               `truncated`

Of the formats with one text a line, each record gives exactly one line, in order. A key that is not known is refused:
what a request says is never ignored. Only what the Open Inference Protocol itself defines and this server cannot use is
left aside (`open_inference.PROTOCOL_PARAMETERS`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.protocols.csv_texts import Column, Record, read_texts
from bert_textclassification.serving.protocols.lines import (
    format_csv,
    format_json_lines,
    format_lines,
    read_json_lines,
    read_lines,
)
from bert_textclassification.serving.protocols.media_types import CSV, JSON, JSON_LINES, TEXT, MediaType, decoded
from bert_textclassification.serving.protocols.native_json import format_predictions, parse_json
from bert_textclassification.serving.protocols.parameters import line_parameters
from bert_textclassification.serving.protocols.requests import Limits, Outcome, Request, count_records, usable_records
from bert_textclassification.serving.protocols.schemas import Parameters


class ReadOptions(NamedTuple):
    """What is known of a body beside its content.

    Attributes:
        column: where the texts of CSV are.
        header: whether CSV has a header: `present`, `absent`, or None where its media type does not say.
        most: texts that are allowed.
    """

    column: Column
    header: str | None
    most: int


class Format(NamedTuple):
    """How a format with one text a record is read and written."""

    read: Callable[[str, ReadOptions], list[Record]]
    write: Callable[[Sequence[Outcome], Parameters], bytes]


# By media type. JSON is none of them: it has parameters of its own, and one document for all texts.
FORMATS = {
    JSON_LINES: Format(lambda text, options: read_json_lines(text), format_json_lines),
    CSV: Format(lambda text, options: read_texts(text, *options), format_csv),
    TEXT: Format(lambda text, options: read_lines(text), format_lines),
}


def parse(
    body: bytes,
    media_type: MediaType,
    limits: Limits,
    asked: str = "",
    csv_column: str | None = None,
    is_part: bool = False,
) -> Request:
    """Parse a request of any content type.

    Args:
        body: the decompressed body.
        media_type: what it is.
        limits: what it may hold.
        asked: parameters in the form of a query string, for bodies that have no room for them.
        csv_column: where the texts of CSV are, unless `asked` says so.
        is_part: whether the body is a part of a file, which in CSV may be the header alone.

    Raises:
        RequestError: the body cannot be read, or holds no texts, too many, or an unknown parameter.
    """
    parameters = line_parameters(asked)
    if media_type.name != CSV and parameters.column is not None:
        raise RequestError("invalid_parameter", f"Only {CSV} has columns; leave it out.", "parameters.column")
    # In a part of a file what is no UTF-8 costs its own record alone: each such byte is half of a surrogate pair then.
    is_lenient = is_part and media_type.charset == "utf-8-sig"
    text = decoded(body, media_type.charset, "surrogateescape" if is_lenient else "strict")
    if media_type.name == JSON:
        return parse_json(text, limits, parameters)
    column = Column.parse(parameters.column or csv_column)
    # A record has at least the line break that ends it: what has too many is not taken apart.
    if media_type.name != CSV:
        count_records(len(text) and text.count("\n", 0, -1) + 1, "instances", limits)
    options = ReadOptions(column, media_type.parameters.get("header"), limits.texts)
    records = FORMATS[media_type.name].read(text, options)
    if records or not (is_part and text):
        count_records(len(records), "instances", limits)
    return Request(usable_records(records, "instances", limits), parameters)


def format_reply(media_type: str, outcomes: Sequence[Outcome], asked: Parameters, model: Mapping[str, Any]) -> bytes:
    """Return the reply in `media_type`: one object, line or record for each outcome, in order."""
    if media_type == JSON:
        return format_predictions(outcomes, asked, model)
    return FORMATS[media_type].write(outcomes, asked)
