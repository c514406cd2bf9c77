"""Formats with one text a record: JSON Lines, plain text, CSV. Each record gives one line, in order."""

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
    """Return the records of a text: a line break ends a record, so the one at the end starts none."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def read_lines(text: str) -> list[Record]:
    """Return the texts of plain text, one a line."""
    return list(_lines(text))


def read_json_lines(text: str) -> list[Record]:
    """Return the texts of JSON Lines, a string or an object with a text a line; a line that is neither is an error."""
    return [_json_line(line, index) for index, line in enumerate(_lines(text))]


def _json_line(line: str, index: int) -> Record:
    try:
        return texts_of([loads(line)], "instances")[0]
    except RequestError as problem:
        return RequestError(problem.code, problem.message, f"instances[{index}]")


def format_json_lines(outcomes: Sequence[Outcome], asked: Parameters) -> bytes:
    """Return a JSON object a line."""
    return b"".join(orjson.dumps(as_dict(one, asked), option=orjson.OPT_APPEND_NEWLINE) for one in outcomes)


def format_lines(outcomes: Sequence[Outcome], asked: Parameters) -> bytes:
    """Return label, score and what else was asked for, with tabs between them, a line each."""
    return "".join("\t".join(_cells(one, asked)) + "\n" for one in outcomes).encode()


def format_csv(outcomes: Sequence[Outcome], asked: Parameters) -> bytes:
    """Return label, score and what else was asked for, as CSV without a header."""
    reply = io.StringIO(newline="")
    csv.writer(reply, lineterminator="\n").writerows(_cells(one, asked) for one in outcomes)
    return reply.getvalue().encode()


def _cells(outcome: Outcome, asked: Parameters) -> list[str]:
    """Return label, score and what else was asked for; all empty for a record that could not be read."""
    if isinstance(outcome, RequestError):
        return [""] * (2 + 2 * asked.all_scores + 2 * asked.raw_logits)
    numbers = [outcome.score]
    if asked.all_scores:
        numbers += outcome.scores.values()
    if asked.raw_logits:
        numbers += outcome.logits
    return [" ".join(outcome.label.split()), *map(repr, numbers)]
