"""What each route answers, without a web framework: from a WSGI environment to a reply.

Flask routes requests here (`api.py`); those for predictions come straight from the WSGI server.
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
BATCHES_A_CORE = 2
PLATFORMS = {"onnx": "onnxruntime_onnx", "native": "native_safetensors"}  # the protocol wants <project>_<format>
UNMATCHED = "unmatched"  # what the metrics call every route that there is not


class Service:
    """A predictor behind its routes, with its admission and its metrics."""

    def __init__(self, config: ServingConfig, predictor: Predictor) -> None:
        self._config = config
        self._predictor = predictor
        cores = config.threads or int(max(1, available_cores()))
        self._admission = Admission(cores, config.max_queue, config.request_timeout_s, BATCHES_A_CORE)
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
        # What counts requests is complete from the start.
        self._metrics.expect([*dict.fromkeys(route.path for route in self.routes), UNMATCHED])

    def _handlers(self, method: str) -> dict[str, Handler]:
        return {route.path: getattr(self, f"_{route.handler}") for route in self.routes if route.method == method}

    def answer(self, call: HttpRequest, route: str, view: Handler) -> HttpResponse:
        """Return what `view` answers, or why it does not, and count it for `route`."""
        try:
            self._authorize(call)
            reply = view(call)
        except RequestError as problem:
            reply = error_response(call.path, problem)
        except ClientGone:
            reply = HttpResponse(499, b"", [])  # nginx's number for it; nobody reads this
        except Exception as problem:  # whatever it is, the client gets no trace of it and the log does
            log.exception("internal error", exc_info=problem)
            failure = RequestError("internal_error", "The server failed on this request; its log says why.", status=500)
            reply = error_response(call.path, failure)
        seconds = time.perf_counter() - call.started
        self._metrics.count_request(route, call.environ["REQUEST_METHOD"], reply.status, seconds)
        return reply

    def _authorize(self, call: HttpRequest) -> None:
        token = self._config.api_token
        predicts = call.environ["REQUEST_METHOD"] == "POST" and call.path in self.posts
        if token is None or (call.path in self._open and not predicts):
            return
        scheme, _, given = (call.header("HTTP_AUTHORIZATION") or "").partition(" ")
        expected = token.get_secret_value().encode()
        if not hmac.compare_digest(given.strip().encode("latin-1"), expected) or scheme.lower() != "bearer":
            message = "Send the token of this server as `Authorization: Bearer ...`."
            raise RequestError("unauthorized", message, "Authorization", status=401)

    # -- health and facts

    def _ready(self, call: HttpRequest) -> HttpResponse:
        return json_response({"status": "ready", "model": self._model})

    def _v2_live(self, call: HttpRequest) -> HttpResponse:
        return json_response({"live": True})

    def _v2_ready(self, call: HttpRequest) -> HttpResponse:
        return json_response({"ready": True})

    def _v1_models(self, call: HttpRequest) -> HttpResponse:
        return json_response({"models": [self._config.model_name]})

    def _model_is_ready(self, call: HttpRequest) -> HttpResponse:
        return json_response({"name": self._config.model_name, "ready": True})

    def _v2_server(self, call: HttpRequest) -> HttpResponse:
        return json_response({"name": "bert-textclassification", "version": __version__, "extensions": []})

    def _openapi(self, call: HttpRequest) -> HttpResponse:
        return json_response(self._description)

    def _docs(self, call: HttpRequest) -> HttpResponse:
        return openapi.page(self._description)

    def _execution_parameters(self, call: HttpRequest) -> HttpResponse:
        """Tell SageMaker's batch transform what suits this server."""
        single = self._config.batch_strategy.lower().startswith("single")
        return json_response(
            {
                "MaxConcurrentTransforms": self._admission.cores * (self._config.workers or 1),
                "BatchStrategy": "SINGLE_RECORD" if single else "MULTI_RECORD",
                "MaxPayloadInMB": max(1, self._config.max_body_bytes // MEBIBYTE),
            }
        )

    def _metrics_text(self, call: HttpRequest) -> HttpResponse:
        return HttpResponse(
            200, self._metrics.exposition(), [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")]
        )

    def _v2_model(self, call: HttpRequest) -> HttpResponse:
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

    def _invocations(self, call: HttpRequest) -> HttpResponse:
        """Answer a request in any content type, in the one that the client prefers."""
        media_type = negotiation.content_type(call.header("CONTENT_TYPE"))
        reply_type = negotiation.best_offer(negotiation.accepted(call.header("HTTP_ACCEPT")), first=media_type.name)
        body = call.body(self._config.max_body_bytes)
        lenient = self._config.batch and media_type.name != JSON
        parsed = formats.parse(body, media_type, self._limits, call.parameters, self._config.csv_column, lenient)
        outcomes = self._outcomes(call, parsed) if lenient else self._answers(call, parsed.strict())
        threshold = parsed.parameters.threshold
        model = self._model if threshold is None else self._model | {"threshold": threshold}
        reply = formats.format_reply(reply_type, outcomes, parsed.parameters, model)
        return self._reply(call, reply, reply_type)

    def _predict(self, call: HttpRequest) -> HttpResponse:
        """Answer a request of Vertex AI or of version 1 of KServe."""
        body = call.body(self._config.max_body_bytes)
        parsed = formats.parse(body, negotiation.content_type(JSON), self._limits, call.parameters).strict()
        return self._reply(call, native_json.format_predictions(self._answers(call, parsed), parsed.parameters), JSON)

    def _infer(self, call: HttpRequest) -> HttpResponse:
        """Answer a request of the Open Inference Protocol."""
        if call.header("HTTP_INFERENCE_HEADER_CONTENT_LENGTH"):
            raise open_inference.binary_tensors("Inference-Header-Content-Length")
        parsed = open_inference.parse_infer(call.body(self._config.max_body_bytes), self._limits, call.parameters)
        predictions = self._answers(call, parsed.strict())
        reply = open_inference.format_infer(predictions, parsed, self._config.model_name, self._version)
        return self._reply(call, reply, JSON)

    def _answers(self, call: HttpRequest, parsed: requests.Request) -> list[Prediction]:
        """Answer every text of a request, or refuse all of it."""
        with self._admission.enter(call.is_abandoned) as scheduler:
            found = parsed.placing_refusals(partial(self._ask(parsed, scheduler), parsed.texts))
        self._count(call, parsed.texts, found, scheduler.waited_s)
        return found

    def _outcomes(self, call: HttpRequest, parsed: requests.Request) -> Sequence[requests.Outcome]:
        """Answer the records of a part of a file, each by itself; the log has how many were refused, and no text."""
        with self._admission.enter(call.is_abandoned) as scheduler:
            outcomes = parsed.outcomes(self._ask(parsed, scheduler))
        texts = [text for text, one in zip(parsed.records, outcomes, strict=True) if isinstance(one, Prediction)]
        found = [one for one in outcomes if isinstance(one, Prediction)]
        refused = [one for one in outcomes if isinstance(one, RequestError)]
        self._count(call, texts, found, scheduler.waited_s)
        if refused:
            log.warning(
                "%d of %d records were refused and have an error line; the first: %s at %s",
                len(refused), len(outcomes), refused[0].code, refused[0].field,
            )  # fmt: skip
        return outcomes

    def _ask(self, parsed: requests.Request, scheduler: Scheduler) -> Callable[[Sequence[str]], list[Prediction]]:
        asked = parsed.parameters
        return partial(
            self._predictor.predict, truncation=asked.truncation, threshold=asked.threshold, scheduler=scheduler
        )

    def _count(self, call: HttpRequest, texts: Sequence[object], found: Sequence[Prediction], waited_s: float) -> None:
        refuse_no_number(found)
        self._metrics.count_predictions(found, waited_s)
        tokens, hits = sum(one.tokens for one in found), sum(one.cached for one in found)
        call.log_line = f"{len(found)} {tokens} {hits} {waited_s:.6f}"
        if self._config.log_texts:
            log_texts(texts, found, call.header("HTTP_X_REQUEST_ID"))

    def _reply(self, call: HttpRequest, body: bytes, media_type: str) -> HttpResponse:
        content_type = JSON if media_type == JSON else f"{media_type}; charset=utf-8"
        # nginx takes the last header away.
        headers = [("Content-Type", content_type), ("X-Model-Version", self._version), ("X-Log", call.log_line)]
        return HttpResponse(200, body, headers)


def refuse_no_number(predictions: Sequence[Prediction]) -> None:
    """Refuse to answer with a score that is no number, as a business rule may give it: JSON would show null.

    Raises:
        RequestError: a score or a logit is infinite or not a number (500).
    """
    for one in predictions:
        if not all(map(math.isfinite, (one.score, *one.scores.values(), *one.logits))):
            message = "The model's outputs are not finite numbers; serve another variant with MODEL_VARIANT."
            log.error(message)
            raise RequestError("not_finite", message, status=500)


def log_texts(texts: Sequence[object], predictions: Sequence[Prediction], request_id: str | None) -> None:
    """Log each text with what was said of it."""
    for text, one in zip(texts, predictions, strict=True):
        fields = {"request_id": request_id, "text": text, "label": one.label, "score": one.score}
        log.info("prediction", extra={"fields": fields})
