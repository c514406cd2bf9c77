"""Describe the validation errors of settings in one sentence."""

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError, ValidationInfo


def one_sentence(problem: ValidationError, model: type[BaseModel]) -> str:
    """Return one sentence with every unknown name and the most similar field of `model`, and every wrong value."""
    return "Fix these settings: " + "; ".join(_explain(error, model) for error in problem.errors()) + "."


def number_or_text(model: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
    """Return `value` unchanged, in a validator of all fields of `model`; `info` has the name of the field.

    Raises:
        ValueError: `value` is a boolean and the field a number. YAML reads yes and on as booleans, and pydantic would
            convert them to 1.
    """
    if isinstance(value, bool) and model.model_fields[str(info.field_name)].annotation in (int, float):
        raise ValueError("must be a number, not yes, no, on or off")
    return value


def _explain(error: Any, model: type[BaseModel]) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        *inside, last = error["loc"]
        near = difflib.get_close_matches(str(last), _names(model, inside), n=1)
        return f"there is no {name!r}" + (f", did you mean {near[0]!r}?" if near else "")
    if error["type"] == "missing":
        return f"{name} is missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{name}={error['input']!r}: {message}" if name else message


def _names(model: type[BaseModel], inside: list[Any]) -> list[str]:
    """Return the field names of the nested model that the path `inside` leads to."""
    for part in inside:
        field = model.model_fields.get(str(part))
        kinds = [field.annotation, *get_args(field.annotation)] if field else []
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)
