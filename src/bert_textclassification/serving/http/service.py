"""The handler of each route, without a web framework: from a WSGI environment to a response.

Flask routes requests here (`api.py`); prediction requests come straight from the WSGI server (`fast_path.py`).
"""

import hmac
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial

from bert_textclassification import __version__
from bert_textclassification.engines.base import Scheduler
from bert_textclassification.errors import RequestError
from bert_textclassification.serving.admission import Admission, ClientGone
from bert_textclassification.serving.config import MEBIBYTE, ServingConfig
from bert_textclassification.serving.http import negotiation, openapi
from bert_textclassification.serving.http.messages import (
    Handler,
    HttpRequest,
    HttpResponse,
    error_response,
    json_response,
)
from bert_textclassification.serving.http.routes import routes
from bert_textclassification.serving.metrics import Metrics
from bert_textclassification.serving.predictor import Prediction, Predictor
from bert_textclassification.serving.protocols import formats, native_json, open_inference, requests
from bert_textclassification.serving.protocols.media_types import JSON
from bert_textclassification.serving.resources import available_cores

log = logging.getLogger(__name__)
BATCHES_PER_CORE = 2
PLATFORMS = {"onnx": "onnxruntime_onnx", "native": "native_safetensors"}  # the protocol's form: <project>_<format>
UNMATCHED = "unmatched"  # the metrics' label for all unknown paths


class Service:
    """The routes of a predictor, with its admission control and its metrics."""

    def __init__(self, config: ServingConfig, predictor: Predictor) -> None:
        self._config = config
        self._predictor = predictor
        cores = config.threads or int(max(1, available_cores()))
        self._admission = Admission(cores, config.max_queue, config.request_timeout_s, BATCHES_PER_CORE)
        self._limits = requests.Limits(config.max_texts, config.max_text_chars)
        self._version = predictor.artifact.version
        decision = predictor.artifact.manifest.decision
        self._model = {
            "version": self._version,
            "variant": predictor.variant_name,
            "temperature": predictor.temperature,
            **decision.model_dump(include={"threshold", "review_band"}, exclude_none=True),
        }
        self._metrics = Metrics(predictor.artifact, predictor.variant_name, config.model_name)
        self.routes = routes(config, self._version)
        self._open = {route.path for route in self.routes if route.is_open}
        self._description = openapi.document(self.routes, __version__, has_token=config.api_token is not None)
        self.gets, self.posts = self._handlers("GET"), self._handlers("POST")
        # Export every request counter from the start, at 0.
        self._metrics.expect([*dict.fromkeys(route.path for route in self.routes), UNMATCHED])

    def _handlers(self, method: str) -> dict[str, Handler]:
        return {route.path: getattr(self, f"_{route.handler}") for route in self.routes if route.method == method}

    def answer(self, request: HttpRequest, route: str, handler: Handler) -> HttpResponse:
        """Run the handler, turn an exception into an error response, and count the request for `route`."""
        try:
            self._authorize(request)
            response = handler(request)
        except RequestError as problem:
            response = error_response(request.path, problem)
        except ClientGone:
            response = HttpResponse(499, b"", [])  # nginx's status for a closed connection; only the metrics use it
        except Exception as problem:  # the traceback goes to the log, never to the client
            log.exception("internal error", exc_info=problem)
            message = "The server failed on this request; the reason is in its log."
            failure = RequestError("internal_error", message, status=500)
            response = error_response(request.path, failure)
        seconds = time.perf_counter() - request.started
        self._metrics.count_request(route, request.environ["REQUEST_METHOD"], response.status, seconds)
        return response

    def _authorize(self, request: HttpRequest) -> None:
        token = self._config.api_token
        predicts = request.environ["REQUEST_METHOD"] == "POST" and request.path in self.posts
        if token is None or (request.path in self._open and not predicts):
            return
        scheme, _, given = (request.header("HTTP_AUTHORIZATION") or "").partition(" ")
        expected = token.get_secret_value().encode()
        if not hmac.compare_digest(given.strip().encode("latin-1"), expected) or scheme.lower() != "bearer":
            message = "Send the token of this server as `Authorization: Bearer ...`."
            raise RequestError("unauthorized", message, "Authorization", status=401)

    # -- health and metadata

    def _ready(self, request: HttpRequest) -> HttpResponse:
        return json_response({"status": "ready", "model": self._model})

    def _v2_live(self, request: HttpRequest) -> HttpResponse:
        return json_response({"live": True})

    def _v2_ready(self, request: HttpRequest) -> HttpResponse:
        return json_response({"ready": True})

    def _v1_models(self, request: HttpRequest) -> HttpResponse:
        return json_response({"models": [self._config.model_name]})

    def _model_is_ready(self, request: HttpRequest) -> HttpResponse:
        return json_response({"name": self._config.model_name, "ready": True})

    def _v2_server(self, request: HttpRequest) -> HttpResponse:
        return json_response({"name": "bert-textclassification", "version": __version__, "extensions": []})

    def _openapi(self, request: HttpRequest) -> HttpResponse:
        return json_response(self._description)

    def _docs(self, request: HttpRequest) -> HttpResponse:
        return openapi.page(self._description)

    def _execution_parameters(self, request: HttpRequest) -> HttpResponse:
        """Return the concurrency, batch strategy and payload limit for SageMaker's batch transform."""
        single = self._config.batch_strategy.lower().startswith("single")
        return json_response(
            {
                "MaxConcurrentTransforms": self._admission.cores * (self._config.workers or 1),
                "BatchStrategy": "SINGLE_RECORD" if single else "MULTI_RECORD",
                "MaxPayloadInMB": max(1, self._config.max_body_bytes // MEBIBYTE),
            }
        )

    def _metrics_text(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(
            200, self._metrics.exposition(), [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")]
        )

    def _v2_model(self, request: HttpRequest) -> HttpResponse:
        return json_response(
            {
                "name": self._config.model_name,
                "versions": [self._version],
                "platform": PLATFORMS[self._predictor.variant.engine],
                "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
                "outputs": [
                    {"name": name, "datatype": kind, "shape": [-1]} for name, kind in open_inference.OUTPUTS.items()
                ],
            }
        )

    # -- predictions

    def _invocations(self, request: HttpRequest) -> HttpResponse:
        """Answer a request in any supported content type, in the one that the client prefers."""
        media_type = negotiation.content_type(request.header("CONTENT_TYPE"))
        accept = negotiation.accepted(request.header("HTTP_ACCEPT"))
        response_type = negotiation.best_offer(accept, default=media_type.name)
        body = request.body(self._config.max_body_bytes)
        lenient = self._config.batch and media_type.name != JSON
        parsed = formats.parse(body, media_type, self._limits, request.parameters, self._config.csv_column, lenient)
        outcomes = self._predict_each(request, parsed) if lenient else self._predict_all(request, parsed.strict())
        threshold = parsed.parameters.threshold
        model = self._model if threshold is None else self._model | {"threshold": threshold}
        response_body = formats.format_response(response_type, outcomes, parsed.parameters, model)
        return self._response(request, response_body, response_type)

    def _predict(self, request: HttpRequest) -> HttpResponse:
        """Answer a request of Vertex AI or of KServe v1."""
        body = request.body(self._config.max_body_bytes)
        parsed = formats.parse(body, negotiation.content_type(JSON), self._limits, request.parameters).strict()
        predictions = self._predict_all(request, parsed)
        return self._response(request, native_json.format_predictions(predictions, parsed.parameters), JSON)

    def _infer(self, request: HttpRequest) -> HttpResponse:
        """Answer a request of the Open Inference Protocol."""
        if request.header("HTTP_INFERENCE_HEADER_CONTENT_LENGTH"):
            raise open_inference.binary_tensors("Inference-Header-Content-Length")
        parsed = open_inference.parse_infer(request.body(self._config.max_body_bytes), self._limits, request.parameters)
        predictions = self._predict_all(request, parsed.strict())
        response_body = open_inference.format_infer(predictions, parsed, self._config.model_name, self._version)
        return self._response(request, response_body, JSON)

    def _predict_all(self, request: HttpRequest, parsed: requests.Request) -> list[Prediction]:
        """Classify every text of a request; one invalid text rejects the whole request."""
        with self._admission.enter(request.is_abandoned) as scheduler:
            predictions = parsed.predict_all(self._predict_function(parsed, scheduler))
        self._count(request, parsed.texts, predictions, scheduler.waited_s)
        return predictions

    def _predict_each(self, request: HttpRequest, parsed: requests.Request) -> Sequence[requests.Outcome]:
        """Classify the records of a part of a file independently; log the number of errors, without any text."""
        with self._admission.enter(request.is_abandoned) as scheduler:
            outcomes = parsed.predict_each(self._predict_function(parsed, scheduler))
        pairs = zip(parsed.records, outcomes, strict=True)
        texts = [text for text, outcome in pairs if isinstance(outcome, Prediction)]
        predictions = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
        errors = [outcome for outcome in outcomes if isinstance(outcome, RequestError)]
        self._count(request, texts, predictions, scheduler.waited_s)
        if errors:
            log.warning(
                "%d of %d records were rejected and have an error line; the first: %s at %s",
                len(errors), len(outcomes), errors[0].code, errors[0].field,
            )  # fmt: skip
        return outcomes

    def _predict_function(
        self, parsed: requests.Request, scheduler: Scheduler
    ) -> Callable[[Sequence[str]], list[Prediction]]:
        truncation, threshold = parsed.parameters.truncation, parsed.parameters.threshold
        return partial(self._predictor.predict, truncation=truncation, threshold=threshold, scheduler=scheduler)

    def _count(
        self, request: HttpRequest, texts: Sequence[object], predictions: Sequence[Prediction], waited_s: float
    ) -> None:
        require_finite(predictions)
        self._metrics.count_predictions(predictions, waited_s)
        tokens = sum(prediction.tokens for prediction in predictions)
        hits = sum(prediction.cached for prediction in predictions)
        request.log_line = f"{len(predictions)} {tokens} {hits} {waited_s:.6f}"
        if self._config.log_texts:
            log_texts(texts, predictions, request.header("HTTP_X_REQUEST_ID"))

    def _response(self, request: HttpRequest, body: bytes, media_type: str) -> HttpResponse:
        content_type = JSON if media_type == JSON else f"{media_type}; charset=utf-8"
        # nginx removes the last header.
        headers = [("Content-Type", content_type), ("X-Model-Version", self._version), ("X-Log", request.log_line)]
        return HttpResponse(200, body, headers)


def require_finite(predictions: Sequence[Prediction]) -> None:
    """Reject a score that is not finite, which a business rule can produce: JSON would show null.

    Raises:
        RequestError: a score or a logit is infinite or not a number (500).
    """
    for prediction in predictions:
        if not all(map(math.isfinite, (prediction.score, *prediction.scores.values(), *prediction.logits))):
            message = "The model's outputs are not finite numbers; serve another variant with MODEL_VARIANT."
            log.error(message)
            raise RequestError("not_finite", message, status=500)


def log_texts(texts: Sequence[object], predictions: Sequence[Prediction], request_id: str | None) -> None:
    """Log each text with its label and score."""
    for text, prediction in zip(texts, predictions, strict=True):
        fields = {"request_id": request_id, "text": text, "label": prediction.label, "score": prediction.score}
        log.info("prediction", extra={"fields": fields})
