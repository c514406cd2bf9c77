"""Formats with one text per record: JSON Lines, plain text, CSV. Each record gives one line, in order."""

import csv
import io
from collections.abc import Sequence

import orjson

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.protocols.csv_texts import Record
from bert_textclassification.serving.protocols.native_json import as_dict, loads, texts_of
from bert_textclassification.serving.protocols.requests import Outcome
from bert_textclassification.serving.protocols.schemas import Parameters


def _lines(text: str) -> list[str]:
    """Split a body into records; a line break ends a record, so a final one does not start another."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def read_lines(text: str) -> list[Record]:
    """Return the texts of plain text, one per line."""
    return list(_lines(text))


def read_json_lines(text: str) -> list[Record]:
    """Return the texts of JSON Lines; each line is a string or an object with a text, any other line an error."""
    return [_json_line(line, index) for index, line in enumerate(_lines(text))]


def _json_line(line: str, index: int) -> Record:
    try:
        return texts_of([loads(line)], "instances")[0]
    except RequestError as problem:
        return RequestError(problem.code, problem.message, f"instances[{index}]")


def format_json_lines(outcomes: Sequence[Outcome], parameters: Parameters) -> bytes:
    """Return one JSON object per line."""
    newline = orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(as_dict(outcome, parameters), option=newline) for outcome in outcomes)


def format_lines(outcomes: Sequence[Outcome], parameters: Parameters) -> bytes:
    """Return one line per outcome: label, score and the requested scores and logits, separated by tabs."""
    return "".join("\t".join(_cells(outcome, parameters)) + "\n" for outcome in outcomes).encode()


def format_csv(outcomes: Sequence[Outcome], parameters: Parameters) -> bytes:
    """Return label, score and the requested scores and logits, as CSV without a header."""
    document = io.StringIO(newline="")
    csv.writer(document, lineterminator="\n").writerows(_cells(outcome, parameters) for outcome in outcomes)
    return document.getvalue().encode()


def _cells(outcome: Outcome, parameters: Parameters) -> list[str]:
    """Return label, score and the requested scores and logits; all are empty for an invalid record."""
    if isinstance(outcome, RequestError):
        return [""] * (2 + 2 * parameters.all_scores + 2 * parameters.raw_logits)
    numbers = [outcome.score]
    if parameters.all_scores:
        numbers += outcome.scores.values()
    if parameters.raw_logits:
        numbers += outcome.logits
    return [" ".join(outcome.label.split()), *map(repr, numbers)]
