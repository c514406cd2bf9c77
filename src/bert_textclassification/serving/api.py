"""The Flask application: the routes of every platform. What they answer is in `service`.

/ping /livez /readyz               health; also AIP_HEALTH_ROUTE, and / for Azure ML
/invocations                       SageMaker and everybody; also /score (Azure ML) and AIP_PREDICT_ROUTE
/execution-parameters              SageMaker batch transform
/v1/models...                      KServe, version 1
/v2/...                            Open Inference Protocol, version 2
/metrics /openapi.json /docs       for people and their tools
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, NotFound

from bert_textclassification import __version__
from bert_textclassification.errors import RequestError
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.http import openapi
from bert_textclassification.serving.http.routes import UNMATCHED, Call, Reply, Service, View, json_reply, refusal
from bert_textclassification.serving.predictor import Predictor

log = logging.getLogger(__name__)


def create_app(config: ServingConfig, predictor: Predictor | None = None) -> Flask:
    """Return the application, ready to answer: the model is loaded and has made a prediction.

    Raises:
        ArtifactError: the artifact cannot be served.
    """
    predictor = predictor or Predictor.load(config.model_source, config.variant, cache_texts=config.cache_texts)
    predictor.predict(["warm up"])
    for warning in predictor.artifact.manifest.warnings:
        log.warning("the model: %s", warning)
    service = Service(config, predictor)
    app = Flask(__name__, static_folder=None)
    app.register_error_handler(HTTPException, partial(_http_error, service))
    for method, views in (("GET", service.gets), ("POST", service.posts)):
        for path, view in views.items():
            app.add_url_rule(path, f"{method} {path}", _flask_view(service, path, view), methods=[method])
    _describe(app, service, config)
    service.expect([rule.rule for rule in app.url_map.iter_rules()])
    app.wsgi_app = StraightToPredictions(app.wsgi_app, service)  # type: ignore[method-assign]
    return app


class StraightToPredictions:
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
        reply = self._service.answer(Call(environ), path, view)
        start_response(_status_line(reply.status), [*reply.headers, ("Content-Length", str(len(reply.body)))])
        return [reply.body]


def _status_line(status: int) -> str:
    return "200 OK" if status == 200 else f"{status} {PHRASES.get(status, 'Client Closed Request')}"


PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _describe(app: Flask, service: Service, config: ServingConfig) -> None:
    description: dict[str, Any] = {}
    pages: dict[str, View] = {
        "/openapi.json": lambda _: json_reply(description),
        "/docs": lambda _: openapi.page(description),
    }
    for path, view in pages.items():
        app.add_url_rule(path, path, _flask_view(service, path, view), methods=["GET"])
    description |= openapi.document(app.url_map, config, __version__)


def _flask_view(service: Service, path: str, view: View) -> Callable[[], Response]:
    return lambda: _response(service.answer(Call(request.environ), path, view))


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, reply.headers)


def _http_error(service: Service, problem: HTTPException) -> Response:
    """Answer what has no route as every other refusal, with the header that names the methods there are."""
    message = "There is no such route; /docs lists them." if isinstance(problem, NotFound) else problem.description
    code, status = problem.name.lower().replace(" ", "_"), problem.code or 500
    refused = refusal(request.path, RequestError(code, message or problem.name, status=status))
    refused.headers.extend(header for header in problem.get_headers() if header[0].lower() == "allow")
    return _response(service.answer(Call(request.environ), UNMATCHED, lambda _: refused))
