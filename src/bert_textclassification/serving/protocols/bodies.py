"""Request and response bodies of each content type and platform; nothing else knows them.

JSON in        {"instances": ["...", {"text": "..."}], "parameters": {"truncation": "error"}}
               also {"inputs": ...}, {"text": "..."}, a bare list, a bare string
JSON out       {"predictions": [{"label": "escalate", "score": 0.97, ...}], "model": {"version": ..., "variant": ...}}
JSON Lines     a string or {"text": "..."} a line in, a prediction a line out
CSV in         a record a text, with or without a header (`csv_texts`); quoted line breaks are part of the text
CSV out        `label,score` a record, then what else was asked for, without a header
plain text     one text a line in, label, score and what else was asked for with tabs between them a line out
Open Inference Protocol   a BYTES tensor in, tensors `label`, `score`, `decision`, `tokens`, `truncated` out

Of the formats with one text a line, each record gives exactly one line, in order. A key that is not known is refused:
what a request says is never ignored. Only what the Open Inference Protocol itself defines and this server cannot use is
left aside (PROTOCOL_PARAMETERS).
"""

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import orjson
from pydantic import BaseModel, ValidationError

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.predictor import Prediction, check_texts
from bert_textclassification.serving.protocols.csv_texts import Column, Record, read_texts
from bert_textclassification.serving.protocols.media_types import CSV, JSON, JSON_LINES, TEXT, MediaType, decoded
from bert_textclassification.serving.protocols.schemas import (
    InferOutput,
    InferParameters,
    InferRequest,
    InferTensor,
    LineParameters,
    Parameters,
)

Schema = TypeVar("Schema", bound=BaseModel)
Outcome = Prediction | RequestError
OUTPUTS = {"label": "BYTES", "score": "FP64", "decision": "BYTES", "tokens": "INT64", "truncated": "BOOL"}
# What clients of the Open Inference Protocol send by themselves: Triton's of sequences, scheduling and binary replies
# (which nobody has to give), MLServer's and KServe's of content types and headers.
PROTOCOL_PARAMETERS = (
    "binary_data_output", "content_type", "headers", "priority", "sequence_end", "sequence_id", "sequence_start",
    "timeout",
)  # fmt: skip
TENSOR_PARAMETERS = ("binary_data", "content_type")
_TEXT_CODECS = ("np", "pd", "str")  # MLServer's content types that leave the elements of a BYTES tensor as they are
_TEXT_KEYS = ("instances", "inputs", "text")
_TEXT_FIELD = re.compile(r"instances\[(\d+)\]")  # where `Predictor.predict` says that a text is at fault
_MOST_TENSORS = 8
_KINDS = {
    str: "a string", int: "a number", float: "a number", bool: "a boolean", list: "a list", dict: "an object",
    type(None): "null",
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What a request may hold.

    Attributes:
        texts: most texts.
        chars: most characters of one text.
    """

    texts: int = 10_000
    chars: int = 100_000


@dataclass(frozen=True)
class Request:
    """A parsed request: a text or the reason why there is none for each record, in order, and what is asked for."""

    records: list[Record]
    parameters: Parameters = field(default_factory=Parameters)
    name: str = "instances"

    @property
    def texts(self) -> list[str]:
        """The texts of the records that have one."""
        return [record for record in self.records if isinstance(record, str)]

    def strict(self) -> "Request":
        """Return the request itself.

        Raises:
            RequestError: a record has no usable text.
        """
        for record in self.records:
            if isinstance(record, RequestError):
                raise record
        return self

    def placing_refusals(self, predict: Callable[[], list[Prediction]]) -> list[Prediction]:
        """Return what `predict` returns for `texts`; a text that it refuses is named as the request named it."""
        try:
            return predict()
        except RequestError as problem:
            if found := _TEXT_FIELD.fullmatch(problem.field or ""):
                places = [place for place, record in enumerate(self.records) if isinstance(record, str)]
                problem.field = f"{self.name}[{places[int(found.group(1))]}]"
            raise

    def outcomes(self, predict: Callable[[Sequence[str]], list[Prediction]]) -> list[Outcome]:
        """Return one outcome a record, where a text that `predict` refuses costs its own record alone.

        Raises:
            RequestError: `predict` refuses all of the request, such as for want of time.
        """
        try:
            answers = iter(predict(self.texts))
        except RequestError as problem:
            if not _TEXT_FIELD.fullmatch(problem.field or ""):
                raise
            return [_outcome(predict, record, f"{self.name}[{index}]") for index, record in enumerate(self.records)]
        return [record if isinstance(record, RequestError) else next(answers) for record in self.records]


def _outcome(predict: Callable[[Sequence[str]], list[Prediction]], record: Record, where: str) -> Outcome:
    if isinstance(record, RequestError):
        return record
    try:
        return predict([record])[0]
    except RequestError as problem:
        if not _TEXT_FIELD.fullmatch(problem.field or ""):
            raise
        return RequestError(problem.code, problem.message, where, problem.status)


@dataclass(frozen=True)
class InferenceRequest(Request):
    """A request of the Open Inference Protocol, whose reply has its id and its shape."""

    id: str | None = None
    shape: list[int] = field(default_factory=list)
    outputs: Sequence[str] = tuple(OUTPUTS)


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
        _count(len(text) and text.count("\n", 0, -1) + 1, "instances", limits)
    read: dict[str, Callable[[str], list[Record]]] = {
        JSON_LINES: _read_json_lines,
        TEXT: _read_lines,
        CSV: lambda text: read_texts(text, column, media_type.parameters.get("header"), limits.texts),
    }
    records = read[media_type.name](text)
    if records or not (is_part and text):
        _count(len(records), "instances", limits)
    return Request(_usable(records, "instances", limits), parameters)


def parse_json(text: str, limits: Limits, parameters: Parameters | None = None) -> Request:
    """Parse a JSON request; its own parameters win over those given.

    Raises:
        RequestError: the body is not JSON, or holds no texts, too many, or an unknown parameter.
    """
    content = loads(text)
    asked = parameters or Parameters()
    name = "instances"
    if isinstance(content, dict):
        if content.get("parameters") is not None:
            own = _validated(Parameters, content["parameters"], "parameters")
            asked = asked.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})
        name, content = _instances(content)
    items = content if isinstance(content, list) else [content]
    _count(len(items), name, limits)
    return Request(_usable(_texts(items, name), name, limits), asked, name)


def parse_infer(body: bytes, limits: Limits, asked: str = "") -> InferenceRequest:
    """Parse a request of the Open Inference Protocol, version 2.

    Args:
        body: the decompressed body.
        limits: what it may hold.
        asked: parameters in the form of a query string; those of the body win over them.

    Raises:
        RequestError: the body is not JSON or not one BYTES tensor whose data fill its shape, or asks for too much.
    """
    beside = line_parameters(asked).model_dump(exclude_unset=True)
    _refuse_unknown(beside, InferParameters.model_fields, "parameters")
    request = _infer_request(loads(decoded(body, "utf-8-sig")))
    tensor = request.inputs[0]
    data = _flat(tensor.data, len(tensor.shape))
    size = 1
    for length in tensor.shape:
        size *= length
    if size != len(data):
        raise RequestError(
            "invalid_shape", f"The shape {tensor.shape!r:.80} does not fit {len(data)} elements.", "inputs[0].shape"
        )
    own = _without_protocol(request.parameters, PROTOCOL_PARAMETERS, "parameters")
    parameters = _validated(InferParameters, beside | own, "parameters")
    _refuse_tensor_parameters(tensor.parameters, "inputs[0].parameters")
    _count(len(data), "inputs[0].data", limits)
    return InferenceRequest(
        _usable(_texts(data, "inputs[0].data"), "inputs[0].data", limits),
        Parameters(**parameters.model_dump()),
        "inputs[0].data",
        request.id,
        tensor.shape,
        _outputs(request),
    )


def _infer_request(content: Any) -> InferRequest:
    """Validate the form of a request; of unknown keys the first is named."""
    schemas: dict[str, type[BaseModel]] = {"inputs": InferTensor, "outputs": InferOutput}
    for name, schema in schemas.items() if isinstance(content, dict) else ():
        tensors = content.get(name)
        for index, tensor in enumerate(tensors[:_MOST_TENSORS] if isinstance(tensors, list) else ()):
            if isinstance(tensor, dict):
                _refuse_unknown(tensor, schema.model_fields, f"{name}[{index}]", "unknown_key")
    return _validated(InferRequest, content, "")


def _outputs(request: InferRequest) -> Sequence[str]:
    """Return the names of the tensors that the reply should have: all where the request names none."""
    names = [output.name for output in request.outputs or []]
    for index, output in enumerate(request.outputs or []):
        where = f"outputs[{index}]"
        if output.name not in OUTPUTS or output.name in names[:index]:
            message = f"Each output is one of {', '.join(OUTPUTS)}, once, and not {output.name!r:.80}."
            raise RequestError("invalid_output", message, f"{where}.name")
        _refuse_tensor_parameters(output.parameters, f"{where}.parameters")
    return names or tuple(OUTPUTS)


def _refuse_tensor_parameters(parameters: Mapping[str, Any] | None, where: str) -> None:
    _refuse_unknown(_without_protocol(parameters, TENSOR_PARAMETERS, where), TENSOR_PARAMETERS, where)


def _without_protocol(parameters: Mapping[str, Any] | None, known: Collection[str], where: str) -> dict[str, Any]:
    """Return the parameters that are not the protocol's own.

    Raises:
        RequestError: the texts are binary or encoded.
    """
    parameters = parameters or {}
    if "binary_data_size" in parameters:
        raise binary_tensors(where)
    codec = parameters.get("content_type")
    if codec is not None and codec not in _TEXT_CODECS:
        message = f"Texts with content_type {codec!r:.80} are not decoded here; send plain strings, with str."
        raise RequestError("invalid_parameter", message, f"{where}.content_type")
    return {name: value for name, value in parameters.items() if name not in known}


def binary_tensors(field: str) -> RequestError:
    """Return the refusal of tensors in the binary form that Triton has added to the protocol."""
    message = "Binary tensors are not read here; send the texts as JSON, in tritonclient with binary_data=False."
    return RequestError("binary_tensors", message, field)


def line_parameters(query: str) -> LineParameters:
    """Parse parameters given as a query string.

    Raises:
        RequestError: one is unknown, given twice, or has a wrong value.
    """
    if not query:
        return LineParameters()
    pairs = parse_qsl(_as_utf8(query), keep_blank_values=True)
    if len(dict(pairs)) < len(pairs):
        raise RequestError("invalid_parameter", "A parameter is given twice; give it once.", "parameters")
    return _validated(LineParameters, dict(pairs), "parameters")


def _as_utf8(query: str) -> str:
    """Return a query with the characters that a client did not escape; WSGI hands on bytes as Latin-1."""
    try:
        return query.encode("latin-1").decode()
    except UnicodeError:
        return query


def known_attributes(header: str) -> str:
    """Return those parts of SageMaker's custom attributes that are parameters; others may use the header too."""
    return "&".join(part for part in header.split("&") if part.partition("=")[0] in LineParameters.model_fields)


def format_reply(media_type: str, outcomes: Sequence[Outcome], asked: Parameters, model: Mapping[str, str]) -> bytes:
    """Return the reply in `media_type`: one object, line or record for each outcome, in order."""
    if media_type == JSON:
        return orjson.dumps({"predictions": [as_dict(one, asked) for one in outcomes], "model": model})
    if media_type == JSON_LINES:
        return b"".join(orjson.dumps(as_dict(one, asked), option=orjson.OPT_APPEND_NEWLINE) for one in outcomes)
    if media_type == CSV:
        return _format_csv(outcomes, asked)
    return "".join("\t".join(_cells(one, asked)) + "\n" for one in outcomes).encode()


def format_predictions(outcomes: Sequence[Outcome], asked: Parameters) -> bytes:
    """Return the reply of Vertex AI and of version 1 of KServe."""
    return orjson.dumps({"predictions": [as_dict(one, asked) for one in outcomes]})


def format_infer(
    predictions: Sequence[Prediction], request: InferenceRequest, model_name: str, model_version: str
) -> bytes:
    """Return the reply of the Open Inference Protocol: the tensors asked for, in the shape of the request's."""
    outputs = [
        {
            "name": name,
            "datatype": OUTPUTS[name],
            "shape": request.shape,
            "data": [getattr(one, name) for one in predictions],
        }
        for name in request.outputs
    ]
    reply = {"model_name": model_name, "model_version": model_version, "outputs": outputs}
    return orjson.dumps(reply if request.id is None else reply | {"id": request.id})


def as_dict(outcome: Outcome, asked: Parameters) -> dict[str, Any]:
    """Return a prediction, or the error of a record, as it appears in JSON."""
    if isinstance(outcome, RequestError):
        return {"error": outcome.as_dict()}
    reply: dict[str, Any] = {
        "label": outcome.label,
        "score": outcome.score,
        "decision": outcome.decision,
        "tokens": outcome.tokens,
        "truncated": outcome.truncated,
    }
    if asked.truncation == "windows":
        reply["windows"] = outcome.windows
    if outcome.layers is not None:
        reply["layers"] = outcome.layers
    if asked.all_scores:
        reply["scores"] = outcome.scores
    if asked.raw_logits:
        reply["logits"] = outcome.logits
    return reply


def loads(text: str) -> Any:
    """Parse JSON strictly: no duplicate keys, no NaN or Infinity.

    Raises:
        RequestError: the text is none.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise RequestError("invalid_json", "The body is nested too deeply.") from None
    except ValueError as problem:
        # int() refuses thousands of digits with advice for programmers
        reason = "it has a number of thousands of digits" if "int_max_str" in str(problem) else problem
        raise RequestError("invalid_json", f"The body is not valid JSON: {reason}.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise RequestError("duplicate_key", f"The key {twice!r:.80} is given twice; give it once.")
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _instances(content: dict[str, Any]) -> tuple[str, Any]:
    """Return the key that holds the texts, and its value.

    Raises:
        RequestError: there is no such key, there are several, or one that is not known.
    """
    given = [name for name in _TEXT_KEYS if name in content]
    if not given:
        raise RequestError("missing_instances", 'The body has no texts; send {"instances": ["..."]}.', "instances")
    if len(given) > 1:
        raise RequestError("ambiguous_instances", f"Send the texts once, not as {' and '.join(given)}.", given[1])
    _refuse_unknown(content, (*_TEXT_KEYS, "parameters"), "", "unknown_key")
    return given[0], content[given[0]]


def _texts(items: list[Any], name: str) -> list[Record]:
    return [item if isinstance(item, str) else _text(item, f"{name}[{index}]") for index, item in enumerate(items)]


def _text(instance: Any, where: str) -> str:
    if not isinstance(instance, dict):
        kind = _KINDS[type(instance)]
    elif not isinstance(text := instance.get("text", instance), str):
        kind = "an object without a text" if text is instance else f"an object whose text is {_KINDS[type(text)]}"
    else:
        if len(instance) > 1:
            other = next(key for key in instance if key != "text")
            message = (
                f"An instance is one text and has no key {other!r:.80}; leave it out, and send a second text as an "
                "instance of its own."
            )
            raise RequestError("unknown_key", message, _inside(where, other))
        return text
    raise RequestError("not_a_string", f'An instance must be a string or {{"text": "..."}}, not {kind}.', where)


def _flat(data: list[Any], dimensions: int) -> list[Any]:
    """Return the elements of nested lists in row-major order; what is nested deeper stays a list."""
    for _ in range(dimensions - 1):
        data = [element for item in data for element in (item if isinstance(item, list) else [item])]
    return data


def _lines(text: str) -> list[str]:
    """Return the records of a text: a line break ends a record, so the one at the end starts none."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def _read_lines(text: str) -> list[Record]:
    return list(_lines(text))


def _read_json_lines(text: str) -> list[Record]:
    return [_json_line(line, index) for index, line in enumerate(_lines(text))]


def _json_line(line: str, index: int) -> Record:
    try:
        return _texts([loads(line)], "instances")[0]
    except RequestError as problem:
        return RequestError(problem.code, problem.message, f"instances[{index}]")


def _count(records: int, name: str, limits: Limits) -> None:
    if not records:
        raise RequestError("no_instances", "The request holds no texts; send at least one.", name)
    if records > limits.texts:
        raise RequestError(
            "too_many_instances",
            f"The request holds more than the {limits.texts} texts that are allowed; send several requests.",
            name,
            status=413,
        )


def _usable(records: list[Record], name: str, limits: Limits) -> list[Record]:
    return [_usable_record(record, f"{name}[{index}]", limits.chars) for index, record in enumerate(records)]


def _usable_record(record: Record, where: str, most: int) -> Record:
    if isinstance(record, RequestError):
        return record
    if len(record) > most:
        message = f"The text has {len(record)} characters where {most} are allowed; send it in parts."
        return RequestError("text_too_large", message, where, status=413)
    try:
        check_texts([record])
    except RequestError as problem:
        return RequestError(problem.code, problem.message, where)
    return record


def _format_csv(outcomes: Sequence[Outcome], asked: Parameters) -> bytes:
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


def _validated(schema: type[Schema], content: Any, where: str) -> Schema:
    code = "invalid_parameter" if where else "invalid_request"
    if isinstance(content, dict) and schema.model_config.get("extra") == "forbid":
        # pydantic would describe each unknown key, however many there are
        _refuse_unknown(content, schema.model_fields, where, code if where else "unknown_key")
    try:
        return schema.model_validate(content)
    except ValidationError as problem:
        error = problem.errors(include_url=False)[0]
        field = where
        for part in error["loc"]:
            field += f"[{part}]" if isinstance(part, int) else f".{part:.80}"
        raise RequestError(code, f"{error['msg']}.", field.removeprefix(".") or None) from None


def _refuse_unknown(names: Iterable[str], known: Collection[str], where: str, code: str = "invalid_parameter") -> None:
    """Refuse the first name that is not known."""
    for name in names:
        if name not in known:
            message = f"There is no {name!r:.80} here; known ones: {', '.join(known)}."
            raise RequestError(code, message, _inside(where, name))


def _inside(where: str, name: str) -> str | None:
    """Return the field `name` of the object at `where`; that object itself where the name cannot be shown."""
    return f"{where}.{name:.80}".removeprefix(".") if name.isprintable() else where or None
