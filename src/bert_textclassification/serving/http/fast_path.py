"""The fast path: prediction requests bypass the web framework."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from bert_textclassification.serving.http.messages import HttpRequest
from bert_textclassification.serving.http.service import Service


class FastPathMiddleware:
    """WSGI middleware: prediction requests bypass the framework.

    Flask takes 0.1 ms of such a request, and 0.3 ms when the model has just evicted its code from the CPU caches.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], service: Service) -> None:
        self._application = application
        self._service = service

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a prediction request; pass any other to the application."""
        path = environ["PATH_INFO"]
        handler = self._service.posts.get(path) if environ["REQUEST_METHOD"] == "POST" else None
        if handler is None:
            return self._application(environ, start_response)
        response = self._service.answer(HttpRequest(environ), path, handler)
        start_response(_status_line(response.status), [*response.headers, ("Content-Length", str(len(response.body)))])
        return [response.body]


def _status_line(status: int) -> str:
    return "200 OK" if status == 200 else f"{status} {PHRASES.get(status, 'Client Closed Request')}"


PHRASES = {status.value: status.phrase for status in HTTPStatus}
