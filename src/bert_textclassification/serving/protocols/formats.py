"""Bodies of `/invocations` in each content type, and the modules of the other protocols.

JSON in        {"instances": ["...", {"text": "..."}], "parameters": {"truncation": "error"}}
               also {"inputs": ...}, {"text": "..."}, a bare list, a bare string
JSON out       {"predictions": [{"label": "escalate", "score": 0.97, ...}], "model": {"version": ..., "variant": ...}}
JSON Lines     in: one string or {"text": "..."} per line; out: one prediction per line
CSV in         one text per record, with or without a header (`csv_texts`); quoted line breaks belong to the text
CSV out        one record per text: `label,score`, then the requested scores and logits, without a header
plain text     in: one text per line; out: the same columns as CSV, separated by tabs
Open Inference Protocol   (`open_inference`) in: a BYTES tensor; out: tensors `label`, `score`, `decision`, `tokens`,
               `truncated`

In line formats each record gives exactly one line, in order. An unknown key is an error: no part of a request is
silently ignored. The exceptions are parameters that the Open Inference Protocol defines and this server does not use
(`open_inference.PROTOCOL_PARAMETERS`).
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
    """How to read the body of a line format.

    Attributes:
        column: the column of the texts in CSV.
        header: `header` parameter of the CSV media type: `present`, `absent`, or None.
        max_texts: maximum number of texts.
    """

    column: Column
    header: str | None
    max_texts: int


class Format(NamedTuple):
    """Reader and writer of a format with one text per record."""

    read: Callable[[str, ReadOptions], list[Record]]
    write: Callable[[Sequence[Outcome], Parameters], bytes]


# By media type. JSON is not among them: one document holds all texts and its own parameters.
FORMATS = {
    JSON_LINES: Format(lambda text, options: read_json_lines(text), format_json_lines),
    CSV: Format(lambda text, options: read_texts(text, *options), format_csv),
    TEXT: Format(lambda text, options: read_lines(text), format_lines),
}


def parse(
    body: bytes,
    media_type: MediaType,
    limits: Limits,
    query: str = "",
    csv_column: str | None = None,
    is_part: bool = False,
) -> Request:
    """Parse a request of any content type.

    Args:
        body: the decompressed body.
        media_type: the body's media type.
        limits: the request limits.
        query: parameters as a query string, for bodies without parameters.
        csv_column: the column of the texts in CSV, unless `query` names one.
        is_part: whether the body is a part of a file; a part of a CSV file may be the header alone.

    Raises:
        RequestError: the body is invalid, has no texts or too many, or an unknown parameter.
    """
    parameters = line_parameters(query)
    if media_type.name != CSV and parameters.column is not None:
        raise RequestError("invalid_parameter", f"Only {CSV} has columns; omit it.", "parameters.column")
    # In a part of a file, invalid UTF-8 fails only its own record: each such byte becomes a lone surrogate.
    is_lenient = is_part and media_type.charset == "utf-8-sig"
    text = decoded(body, media_type.charset, "surrogateescape" if is_lenient else "strict")
    if media_type.name == JSON:
        return parse_json(text, limits, parameters)
    column = Column.parse(parameters.column or csv_column)
    # Each record has at least its line break: count these first, so that an oversized body is not parsed.
    if media_type.name != CSV:
        count_records(len(text) and text.count("\n", 0, -1) + 1, "instances", limits)
    options = ReadOptions(column, media_type.parameters.get("header"), limits.texts)
    records = FORMATS[media_type.name].read(text, options)
    if records or not (is_part and text):
        count_records(len(records), "instances", limits)
    return Request(usable_records(records, "instances", limits), parameters)


def format_response(
    media_type: str, outcomes: Sequence[Outcome], parameters: Parameters, model: Mapping[str, Any]
) -> bytes:
    """Return the response in `media_type`: one object, line or record for each outcome, in order."""
    if media_type == JSON:
        return format_predictions(outcomes, parameters, model)
    return FORMATS[media_type].write(outcomes, parameters)
