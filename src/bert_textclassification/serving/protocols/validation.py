"""Validate requests against their schemas; the error describes the first mistake in one sentence."""

from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bert_textclassification.errors import RequestError

Schema = TypeVar("Schema", bound=BaseModel)


def validated(schema: type[Schema], content: Any, where: str) -> Schema:
    """Return `content` as `schema`.

    Raises:
        RequestError: the content is invalid; the error's field is below `where`.
    """
    code = "invalid_parameter" if where else "invalid_request"
    if isinstance(content, dict) and schema.model_config.get("extra") == "forbid":
        # pydantic would list every unknown key
        reject_unknown(content, schema.model_fields, where, code if where else "unknown_key")
    try:
        return schema.model_validate(content)
    except ValidationError as problem:
        error = problem.errors(include_url=False)[0]
        field = where
        for part in error["loc"]:
            field += f"[{part}]" if isinstance(part, int) else f".{part:.80}"
        raise RequestError(code, f"{error['msg']}.", field.removeprefix(".") or None) from None


def reject_unknown(names: Iterable[str], known: Collection[str], where: str, code: str = "invalid_parameter") -> None:
    """Raise an error for the first unknown name."""
    for name in names:
        if name not in known:
            message = f"Unknown name {name!r:.80}; use one of: {', '.join(known)}."
            raise RequestError(code, message, inside(where, name))


def inside(where: str, name: str) -> str | None:
    """Return the path of field `name` in the object at `where`; the object's own path if the name is not printable."""
    return f"{where}.{name:.80}".removeprefix(".") if name.isprintable() else where or None
