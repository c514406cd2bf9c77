"""Request and response bodies of each content type; nothing else knows them.

JSON in   {"instances": ["...", {"text": "..."}], "parameters": {"truncation": "error"}}
          also {"inputs": ...}, {"text": "..."}, a bare list, a bare string
JSON out  {"predictions": [{"label": "escalate", "score": 0.97, ...}], "model": {"version": ..., "variant": ...}}
CSV in    one text a record, with or without the header `text`; quoted line breaks are part of the text
CSV out   `label,score` a record, in order, without a header
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.predictor import Prediction

JSON = "application/json"
CSV = "text/csv"

csv.field_size_limit(2**31 - 1)  # the body limit bounds a text; the default would refuse one over 128 kB as no CSV


class Parameters(BaseModel):
    """What a request may ask for beside the labels."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    truncation: Literal["truncate", "error"] = Field(
        default="truncate", description="What to do with a text longer than the model reads"
    )
    threshold: float | None = Field(default=None, gt=0, lt=1, description="Overrides the artifact's threshold")
    all_scores: bool = Field(default=False, description="Also return the score of each label")
    raw_logits: bool = Field(default=False, description="Also return the model's raw outputs")


@dataclass(frozen=True)
class Request:
    """A parsed request: the texts, in order, and what is asked for."""

    texts: list[str]
    parameters: Parameters = field(default_factory=Parameters)


def parse_json(body: bytes, max_texts: int) -> Request:
    """Parse a JSON request.

    Raises:
        RequestError: the body is not JSON, has no texts, too many, or an unknown parameter.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise RequestError("invalid_json", f"The body is not valid JSON: {problem}.") from None
    parameters: Any = {}
    name = "instances"
    if isinstance(content, dict):
        parameters = {} if content.get("parameters") is None else content["parameters"]
        name, content = _instances(content)
    items = content if isinstance(content, list) else [content]
    texts = [_text(item, f"{name}[{index}]") for index, item in enumerate(items)]
    return Request(_counted(texts, name, max_texts), _parameters(parameters))


def parse_csv(body: bytes, max_texts: int) -> Request:
    """Parse a CSV request: the column `text` where the first record is a header, else the first column.

    Raises:
        RequestError: the body is not UTF-8 or not CSV, or has no texts or too many.
    """
    try:
        decoded = body.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise RequestError("invalid_encoding", f"The body is not UTF-8 at byte {problem.start}.") from None
    try:
        records = [record for record in csv.reader(io.StringIO(decoded, newline=""), strict=True) if record]
    except csv.Error as problem:
        raise RequestError("invalid_csv", f"The body is not valid CSV: {problem}.") from None
    column = 0
    if records and "text" in (header := [cell.strip().lower() for cell in records[0]]):
        column = header.index("text")
        records = records[1:]
    texts = [_cell(record, column, index) for index, record in enumerate(records)]
    return Request(_counted(texts, "instances", max_texts))


def format_json(predictions: Sequence[Prediction], parameters: Parameters, model: dict[str, str]) -> bytes:
    """Return the JSON reply."""
    return orjson.dumps(
        {"predictions": [_as_dict(prediction, parameters) for prediction in predictions], "model": model}
    )


def format_csv(predictions: Sequence[Prediction]) -> bytes:
    """Return the CSV reply: one `label,score` line for each text, in order."""
    reply = io.StringIO(newline="")
    writer = csv.writer(reply, lineterminator="\n")
    writer.writerows((prediction.label, repr(prediction.score)) for prediction in predictions)
    return reply.getvalue().encode()


def _as_dict(prediction: Prediction, parameters: Parameters) -> dict[str, Any]:
    reply: dict[str, Any] = {
        "label": prediction.label,
        "score": prediction.score,
        "tokens": prediction.tokens,
        "truncated": prediction.truncated,
    }
    if parameters.all_scores:
        reply["scores"] = prediction.scores
    if parameters.raw_logits:
        reply["logits"] = prediction.logits
    return reply


def _instances(content: dict[str, Any]) -> tuple[str, Any]:
    for name in ("instances", "inputs", "text"):
        if name in content:
            return name, content[name]
    raise RequestError("missing_instances", 'The body has no texts; send {"instances": ["..."]}.', "instances")


def _text(item: Any, where: str) -> str:
    if isinstance(item, dict) and "text" in item:
        item = item["text"]
    if not isinstance(item, str):
        raise RequestError(
            "not_a_string", f'An instance must be a string or {{"text": "..."}}, not {item!r:.40}.', where
        )
    return item


def _cell(record: list[str], column: int, index: int) -> str:
    if column >= len(record):
        raise RequestError("missing_column", f"Record {index + 1} has no text column.", f"instances[{index}]")
    return record[column]


def _counted(texts: list[str], name: str, max_texts: int) -> list[str]:
    if not texts:
        raise RequestError("no_instances", "The request holds no texts; send at least one.", name)
    if len(texts) > max_texts:
        raise RequestError(
            "too_many_instances",
            f"The request holds {len(texts)} texts where {max_texts} are allowed; send several requests.",
            name,
            status=413,
        )
    return texts


def _parameters(content: Any) -> Parameters:
    try:
        return Parameters.model_validate(content)
    except ValidationError as problem:
        error = problem.errors()[0]
        where = ".".join(["parameters", *(str(part) for part in error["loc"])])
        known = ", ".join(Parameters.model_fields)
        message = (
            f"There is no such parameter; known ones: {known}."
            if error["type"] == "extra_forbidden"
            else error["msg"] + "."
        )
        raise RequestError("invalid_parameter", message, where) from None
