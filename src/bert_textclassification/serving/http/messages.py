"""HTTP requests and responses, without a web framework."""

import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.admission import RETRY_AFTER_S
from bert_textclassification.serving.http import negotiation
from bert_textclassification.serving.protocols import parameters
from bert_textclassification.serving.protocols.errors import error_shape
from bert_textclassification.serving.protocols.media_types import JSON


class HttpResponse(NamedTuple):
    """One HTTP response; the first header is the content type."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]


class HttpRequest:
    """One HTTP request.

    Attributes:
        environ: the WSGI environment.
        log_line: texts, tokens, cache hits and seconds in the queue, for nginx's access log.
    """

    __slots__ = ("environ", "log_line", "started")

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        self.started = time.perf_counter()
        self.log_line = ""

    def header(self, name: str) -> str | None:
        """Return a header by its WSGI name, such as HTTP_ACCEPT."""
        value: str | None = self.environ.get(name)
        return value

    @property
    def path(self) -> str:
        """The requested path."""
        path: str = self.environ["PATH_INFO"]
        return path

    @property
    def parameters(self) -> str:
        """Parameters outside the body: the query, and one header because SageMaker forwards no query."""
        query: str = self.environ.get("QUERY_STRING", "")
        header: str = self.environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES", "")
        return "&".join(filter(None, (query, parameters.known_attributes(header))))

    def body(self, max_bytes: int) -> bytes:
        """Return the decompressed body.

        Raises:
            RequestError: the body exceeds `max_bytes` (413), or its compression is unsupported or damaged.
        """
        length = self.environ.get("CONTENT_LENGTH")
        if not length and not self.environ.get("wsgi.input_terminated"):
            return b""
        if length and int(length) > max_bytes:
            raise too_large(max_bytes)
        raw: bytes = self.environ["wsgi.input"].read(int(length) if length else max_bytes + 1)
        if len(raw) > max_bytes:
            raise too_large(max_bytes)
        return negotiation.decompressed(raw, self.header("HTTP_CONTENT_ENCODING"), max_bytes)

    def is_abandoned(self) -> bool:
        """Whether the peer has closed the connection; nginx closes it when its own client disconnects."""
        client: socket.socket | None = self.environ.get("gunicorn.socket")
        if client is None:
            return False
        try:
            return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


Handler = Callable[[HttpRequest], HttpResponse]


def json_response(content: object, status: int = 200) -> HttpResponse:
    """Return `content` as JSON."""
    return HttpResponse(status, orjson.dumps(content), [("Content-Type", JSON)])


def error_response(path: str, problem: RequestError) -> HttpResponse:
    """Return the response to a rejected request, in the shape that the platform of this path expects."""
    response = json_response(error_shape(path).body(problem), problem.status)
    if problem.status == 503:
        response.headers.append(("Retry-After", str(RETRY_AFTER_S)))
    if problem.status == 401:
        response.headers.append(("WWW-Authenticate", "Bearer"))
    return response


def too_large(max_bytes: int) -> RequestError:
    """Return the error for a body over `max_bytes` bytes."""
    return RequestError("body_too_large", f"The body is over {max_bytes} bytes; send several requests.", status=413)
