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
    """A reply: its status, its body, and its headers, of which the content type comes first."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]


class HttpRequest:
    """One HTTP request.

    Attributes:
        environ: the WSGI environment.
        log_line: what nginx logs of the answer: texts, tokens, cache hits, seconds in the queue.
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
        """The path that was asked for."""
        path: str = self.environ["PATH_INFO"]
        return path

    @property
    def parameters(self) -> str:
        """Parameters beside the body: the query, and one header, as SageMaker forwards no query."""
        query: str = self.environ.get("QUERY_STRING", "")
        header: str = self.environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES", "")
        return "&".join(filter(None, (query, parameters.known_attributes(header))))

    def body(self, most: int) -> bytes:
        """Return the decompressed body of at most `most` bytes.

        Raises:
            RequestError: it has more (413), or is compressed in a way that cannot be read.
        """
        length = self.environ.get("CONTENT_LENGTH")
        if not length and not self.environ.get("wsgi.input_terminated"):
            return b""
        if length and int(length) > most:
            raise too_large(most)
        raw: bytes = self.environ["wsgi.input"].read(int(length) if length else most + 1)
        if len(raw) > most:
            raise too_large(most)
        return negotiation.decompressed(raw, self.header("HTTP_CONTENT_ENCODING"), most)

    def is_abandoned(self) -> bool:
        """Whether the other side has closed; nginx does when its own client has gone."""
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
    """Return the response to a request that was refused, in the shape that the platform of this path expects."""
    reply = json_response(error_shape(path).body(problem), problem.status)
    if problem.status == 503:
        reply.headers.append(("Retry-After", str(RETRY_AFTER_S)))
    if problem.status == 401:
        reply.headers.append(("WWW-Authenticate", "Bearer"))
    return reply


def too_large(most: int) -> RequestError:
    """Return the error of a body of over `most` bytes."""
    return RequestError("body_too_large", f"The body is over {most} bytes; send several requests.", status=413)
