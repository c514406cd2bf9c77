"""The two formats of an error's body: the server's own, and that of KServe and the Open Inference Protocol."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import BaseModel

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.protocols import schemas

PLATFORM_PATHS = re.compile(r"^/v[12]/")  # KServe and Open Inference Protocol; nginx uses the pattern, too


class ErrorShape(NamedTuple):
    """The error format of a protocol.

    Attributes:
        schema: schema of the body, for OpenAPI.
        body: converts an error into the body.
    """

    schema: type[BaseModel]
    body: Callable[[RequestError], dict[str, Any]]


def error_body(problem: RequestError) -> dict[str, Any]:
    """Return the body of an error; JSON Lines use it as the line of an invalid record."""
    return {"error": problem.as_dict()}


def platform_error_body(problem: RequestError) -> dict[str, Any]:
    """Return the body of an error for KServe and the Open Inference Protocol, where `error` is the message."""
    return {"error": problem.message, "code": problem.code, "field": problem.field}


SERVER_ERROR = ErrorShape(schemas.Error, error_body)
PLATFORM_ERROR = ErrorShape(schemas.PlatformError, platform_error_body)


def error_shape(path: str) -> ErrorShape:
    """Return the error format of a path."""
    return PLATFORM_ERROR if PLATFORM_PATHS.match(path) else SERVER_ERROR
