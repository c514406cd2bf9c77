"""The Flask application: routes and errors. What a body means is in `protocols`, what a text means in `predictor`."""

import logging

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from bert_textclassification.errors import RequestError
from bert_textclassification.serving import protocols
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.predictor import Predictor

log = logging.getLogger(__name__)


def create_app(config: ServingConfig, predictor: Predictor | None = None) -> Flask:
    """Return the application, ready to answer: the model is loaded and has made a prediction.

    Raises:
        ArtifactError: the artifact cannot be served.
    """
    predictor = predictor or Predictor.load(config.model_dir, config.variant)
    predictor.predict(["warm up"])
    model = {"version": predictor.artifact.version, "variant": predictor.variant_name}

    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes
    app.register_error_handler(RequestError, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _internal_error)

    @app.get("/ping")
    def ping() -> Response:
        return _json({"status": "ready", "model": model})

    @app.post("/invocations")
    def invocations() -> Response:
        is_csv = _media_type() == protocols.CSV
        parse = protocols.parse_csv if is_csv else protocols.parse_json
        parsed = parse(request.get_data(cache=False), config.max_texts)
        asked = parsed.parameters
        predictions = predictor.predict(parsed.texts, truncation=asked.truncation, threshold=asked.threshold)
        offers = _offers(is_csv)
        if request.accept_mimetypes.best_match(offers, default=offers[0]) == protocols.CSV:
            return Response(protocols.format_csv(predictions), mimetype=protocols.CSV)
        return Response(protocols.format_json(predictions, asked, model), mimetype=protocols.JSON)

    return app


def _media_type() -> str:
    """Return the request's media type without parameters; JSON when it names none."""
    media_type = request.mimetype or protocols.JSON
    if media_type not in (protocols.JSON, protocols.CSV):
        raise RequestError(
            "unsupported_media_type",
            f"The content type {media_type!r} is not read here; send {protocols.JSON} or {protocols.CSV}.",
            "Content-Type",
            status=415,
        )
    return media_type


def _offers(is_csv: bool) -> list[str]:
    """Return what can be replied, the kind of the request first: it is taken when the client does not mind."""
    return [protocols.CSV, protocols.JSON] if is_csv else [protocols.JSON, protocols.CSV]


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, mimetype=protocols.JSON)


def _error(status: int, code: str, message: str, field: str | None = None) -> Response:
    return _json({"error": {"code": code, "message": message, "field": field}}, status)


def _refused(problem: RequestError) -> Response:
    return _error(problem.status, problem.code, problem.message, problem.field)


def _http_error(problem: HTTPException) -> Response:
    code = problem.name.lower().replace(" ", "_")
    response = _error(problem.code or 500, code, problem.description or problem.name)
    for name, value in problem.get_headers():
        if name.lower() == "allow":
            response.headers[name] = value
    return response


def _internal_error(problem: Exception) -> Response:
    log.exception("internal error", exc_info=problem)
    return _error(500, "internal_error", "The server failed on this request; its log says why.")
