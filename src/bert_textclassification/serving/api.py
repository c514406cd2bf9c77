"""The Flask application with the routes of every platform.

`http/routes.py` has the table of routes, `http/service.py` their handlers::

    /ping /livez /readyz               health; also AIP_HEALTH_ROUTE, and / for Azure ML
    /invocations                       predictions; also /score (Azure ML) and AIP_PREDICT_ROUTE
    /execution-parameters              SageMaker batch transform
    /v1/models...                      KServe, version 1
    /v2/...                            Open Inference Protocol, version 2
    /metrics /openapi.json /docs       monitoring and documentation
"""

import logging
from collections.abc import Callable
from functools import partial

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, NotFound

from bert_textclassification.errors import RequestError
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.http.fast_path import FastPathMiddleware
from bert_textclassification.serving.http.messages import Handler, HttpRequest, HttpResponse, error_response
from bert_textclassification.serving.http.service import UNMATCHED, Service
from bert_textclassification.serving.predictor import Predictor

log = logging.getLogger(__name__)


def create_app(config: ServingConfig, predictor: Predictor | None = None) -> Flask:
    """Return the application; the model is loaded and has made a warm-up prediction.

    Raises:
        ArtifactError: the artifact cannot be served.
    """
    predictor = predictor or Predictor.load(config.model_source, config.variant, cache_size=config.cache_size)
    predictor.predict(["warm up"])
    for warning in predictor.artifact.manifest.warnings:
        log.warning("the model: %s", warning)
    service = Service(config, predictor)
    app = Flask(__name__, static_folder=None)
    app.register_error_handler(HTTPException, partial(_http_error, service))
    for method, handlers in (("GET", service.gets), ("POST", service.posts)):
        for path, handler in handlers.items():
            app.add_url_rule(path, f"{method} {path}", _flask_handler(service, path, handler), methods=[method])
    app.wsgi_app = FastPathMiddleware(app.wsgi_app, service)  # type: ignore[method-assign]
    return app


def _flask_handler(service: Service, path: str, handler: Handler) -> Callable[[], Response]:
    return lambda: _response(service.answer(HttpRequest(request.environ), path, handler))


def _response(response: HttpResponse) -> Response:
    return Response(response.body, response.status, response.headers)


def _http_error(service: Service, problem: HTTPException) -> Response:
    """Return an error response for an unknown route or method, with Flask's Allow header."""
    message = "There is no such route; /docs lists them." if isinstance(problem, NotFound) else problem.description
    code, status = problem.name.lower().replace(" ", "_"), problem.code or 500
    response = error_response(request.path, RequestError(code, message or problem.name, status=status))
    response.headers.extend(header for header in problem.get_headers() if header[0].lower() == "allow")
    return _response(service.answer(HttpRequest(request.environ), UNMATCHED, lambda _: response))
