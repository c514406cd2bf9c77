"""The product's own JSON. Vertex AI and KServe v1 use it too, without the response's `model`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.protocols.csv_texts import Record
from bert_textclassification.serving.protocols.errors import error_body
from bert_textclassification.serving.protocols.requests import Limits, Outcome, Request, count_records, usable_records
from bert_textclassification.serving.protocols.schemas import PREDICTION_FIELDS, Parameters
from bert_textclassification.serving.protocols.validation import inside, reject_unknown, validated

_TEXT_KEYS = ("instances", "inputs", "text")
_KINDS = {
    str: "a string", int: "a number", float: "a number", bool: "a boolean", list: "a list", dict: "an object",
    type(None): "null",
}  # fmt: skip


def parse_json(text: str, limits: Limits, parameters: Parameters | None = None) -> Request:
    """Parse a JSON request; its own parameters override `parameters`.

    Raises:
        RequestError: the body is not JSON, has no texts or too many, or an unknown parameter.
    """
    content = loads(text)
    parameters = parameters or Parameters()
    name = "instances"
    if isinstance(content, dict):
        if content.get("parameters") is not None:
            in_body = validated(Parameters, content["parameters"], "parameters")
            changes = {key: getattr(in_body, key) for key in in_body.model_fields_set}
            parameters = parameters.model_copy(update=changes)
        name, content = _instances(content)
    items = content if isinstance(content, list) else [content]
    count_records(len(items), name, limits)
    return Request(usable_records(texts_of(items, name), name, limits), parameters, name)


def format_predictions(
    outcomes: Sequence[Outcome], parameters: Parameters, model: Mapping[str, Any] | None = None
) -> bytes:
    """Return the predictions and the model that made them; Vertex AI and KServe v1 expect no model."""
    predictions = {"predictions": [as_dict(outcome, parameters) for outcome in outcomes]}
    return orjson.dumps(predictions if model is None else predictions | {"model": model})


def as_dict(outcome: Outcome, parameters: Parameters) -> dict[str, Any]:
    """Return the JSON fields of a prediction, or of a record's error."""
    if isinstance(outcome, RequestError):
        return error_body(outcome)
    fields: dict[str, Any] = {name: getattr(outcome, name) for name in PREDICTION_FIELDS}
    if parameters.truncation == "windows":
        fields["windows"] = outcome.windows
    if outcome.layers is not None:
        fields["layers"] = outcome.layers
    if parameters.all_scores:
        fields["scores"] = outcome.scores
    if parameters.raw_logits:
        fields["logits"] = outcome.logits
    return fields


def loads(text: str) -> Any:
    """Parse JSON strictly: no duplicate keys, no NaN or Infinity.

    Raises:
        RequestError: `text` is not such JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise RequestError("invalid_json", "The body is nested too deeply.") from None
    except ValueError as problem:
        # int() rejects thousands of digits with a message for Python programmers
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
    """Return the key of the texts, and its value.

    Raises:
        RequestError: there is no such key, there are several, or there is an unknown key.
    """
    given = [name for name in _TEXT_KEYS if name in content]
    if not given:
        raise RequestError("missing_instances", 'The body has no texts; send {"instances": ["..."]}.', "instances")
    if len(given) > 1:
        raise RequestError("ambiguous_instances", f"Send the texts once, not as {' and '.join(given)}.", given[1])
    reject_unknown(content, (*_TEXT_KEYS, "parameters"), "", "unknown_key")
    return given[0], content[given[0]]


def texts_of(items: list[Any], name: str) -> list[Record]:
    """Return the texts of instances; each is a string or an object with a text.

    Raises:
        RequestError: an instance is neither; the error's field starts with `name`, the name of the list.
    """
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
                f"An instance is one text and has no key {other!r:.80}; omit it, and send a second text as a second "
                "instance."
            )
            raise RequestError("unknown_key", message, inside(where, other))
        return text
    raise RequestError("not_a_string", f'An instance must be a string or {{"text": "..."}}, not {kind}.', where)
