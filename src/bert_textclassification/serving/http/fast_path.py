"""The fast path: a request for a prediction does not pass through the web framework."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from bert_textclassification.serving.http.messages import HttpRequest
from bert_textclassification.serving.http.service import Service


class FastPathMiddleware:
    """WSGI middleware: a request for a prediction does not pass through the framework.

    Flask's part of such a request, hot 0.1 ms, takes 0.3 ms when the model has just been through the caches.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], service: Service) -> None:
        self._application = application
        self._service = service

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request for a prediction; pass on any other."""
        path = environ["PATH_INFO"]
        view = self._service.posts.get(path) if environ["REQUEST_METHOD"] == "POST" else None
        if view is None:
            return self._application(environ, start_response)
        reply = self._service.answer(HttpRequest(environ), path, view)
        start_response(_status_line(reply.status), [*reply.headers, ("Content-Length", str(len(reply.body)))])
        return [reply.body]


def _status_line(status: int) -> str:
    return "200 OK" if status == 200 else f"{status} {PHRASES.get(status, 'Client Closed Request')}"


PHRASES = {status.value: status.phrase for status in HTTPStatus}
