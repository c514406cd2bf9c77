"""What each route answers, without a web framework: from a WSGI environment to a reply.

Flask routes requests here (`api.py`); those for predictions come straight from the WSGI server.
"""

import hmac
import logging
import math
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson

from bert_textclassification import __version__
from bert_textclassification.engines.base import Turn
from bert_textclassification.errors import RequestError
from bert_textclassification.serving.admission import RETRY_AFTER_S, Admission, ClientGone
from bert_textclassification.serving.config import MEBIBYTE, ServingConfig
from bert_textclassification.serving.http import negotiation
from bert_textclassification.serving.metrics import Metrics
from bert_textclassification.serving.predictor import Prediction, Predictor
from bert_textclassification.serving.protocols import bodies as protocols
from bert_textclassification.serving.protocols.media_types import JSON
from bert_textclassification.serving.resources import available_cores

log = logging.getLogger(__name__)
BATCHES_A_CORE = 2
PLATFORMS = {"onnx": "onnxruntime_onnx", "native": "native_safetensors"}  # the protocol wants <project>_<format>
UNMATCHED = "unmatched"  # what the metrics call every route that there is not
OPEN_TO_ALL = ("/", "/ping", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready")


class Reply(NamedTuple):
    """A reply: its status, its body, and its headers, of which the content type comes first."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]


class Call:
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
        return "&".join(filter(None, (query, protocols.known_attributes(header))))

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


View = Callable[[Call], Reply]


class Service:
    """A predictor behind its routes, with its admission and its metrics."""

    def __init__(self, config: ServingConfig, predictor: Predictor) -> None:
        self._config = config
        self._predictor = predictor
        cores = config.threads or int(max(1, available_cores()))
        self._admission = Admission(cores, config.max_waiting, config.request_timeout_s, BATCHES_A_CORE)
        self._limits = protocols.Limits(config.max_texts, config.max_text_chars)
        self._version = predictor.artifact.version
        decision = predictor.artifact.manifest.decision
        self._model = {
            "version": self._version,
            "variant": predictor.variant_name,
            "temperature": predictor.temperature,
            **decision.model_dump(include={"threshold", "review_band"}, exclude_none=True),
        }
        self._metrics = Metrics(predictor.artifact, predictor.variant_name, config.model_name)
        self._open = {*OPEN_TO_ALL, config.health_route}
        self.gets, self.posts = self._facts(), self._predictions()

    def expect(self, routes: Sequence[str]) -> None:
        """Say which routes there are, so that what counts their requests is complete from the start."""
        self._metrics.expect([*routes, UNMATCHED])

    def answer(self, call: Call, route: str, view: View) -> Reply:
        """Return what `view` answers, or why it does not, and count it for `route`."""
        try:
            self._authorize(call)
            reply = view(call)
        except RequestError as problem:
            reply = refusal(call.path, problem)
        except ClientGone:
            reply = Reply(499, b"", [])  # nginx's number for it; nobody reads this
        except Exception as problem:  # whatever it is, the client gets no trace of it and the log does
            log.exception("internal error", exc_info=problem)
            failure = RequestError("internal_error", "The server failed on this request; its log says why.", status=500)
            reply = refusal(call.path, failure)
        seconds = time.perf_counter() - call.started
        self._metrics.count_request(route, call.environ["REQUEST_METHOD"], reply.status, seconds)
        return reply

    def _authorize(self, call: Call) -> None:
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

    def _facts(self) -> dict[str, View]:
        name = self._config.model_name
        model, model_v2, versioned = f"/v1/models/{name}", f"/v2/models/{name}", f"/v2/models/{name}/versions/"
        return {
            **dict.fromkeys(
                ("/", "/ping", "/livez", "/readyz", self._config.health_route),
                lambda _: json_reply({"status": "ready", "model": self._model}),
            ),
            "/execution-parameters": self._execution_parameters,
            "/metrics": self._exposition,
            "/v1/models": lambda _: json_reply({"models": [name]}),
            model: lambda _: json_reply({"name": name, "ready": True}),
            "/v2": lambda _: json_reply({"name": "bert-textclassification", "version": __version__, "extensions": []}),
            "/v2/health/live": lambda _: json_reply({"live": True}),
            "/v2/health/ready": lambda _: json_reply({"ready": True}),
            **dict.fromkeys((model_v2, versioned + self._version), self._model_metadata),
            **dict.fromkeys(
                (f"{model_v2}/ready", f"{versioned}{self._version}/ready"),
                lambda _: json_reply({"name": name, "ready": True}),
            ),
        }

    def _execution_parameters(self, call: Call) -> Reply:
        """Tell SageMaker's batch transform what suits this server."""
        single = self._config.batch_strategy.lower().startswith("single")
        return json_reply(
            {
                "MaxConcurrentTransforms": self._admission.cores * (self._config.workers or 1),
                "BatchStrategy": "SINGLE_RECORD" if single else "MULTI_RECORD",
                "MaxPayloadInMB": max(1, self._config.max_body_bytes // MEBIBYTE),
            }
        )

    def _exposition(self, call: Call) -> Reply:
        return Reply(200, self._metrics.exposition(), [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")])

    def _model_metadata(self, call: Call) -> Reply:
        return json_reply(
            {
                "name": self._config.model_name,
                "versions": [self._version],
                "platform": PLATFORMS[self._predictor.variant.engine],
                "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
                "outputs": [
                    {"name": name, "datatype": kind, "shape": [-1]} for name, kind in protocols.OUTPUTS.items()
                ],
            }
        )

    # -- predictions

    def _predictions(self) -> dict[str, View]:
        name = self._config.model_name
        return {
            self._config.predict_route: self._plain_predictions,
            f"/v1/models/{name}:predict": self._plain_predictions,
            f"/v2/models/{name}/infer": self._infer,
            f"/v2/models/{name}/versions/{self._version}/infer": self._infer,
            "/invocations": self._invocations,
            "/score": self._invocations,
        }

    def _invocations(self, call: Call) -> Reply:
        """Answer a request in any content type, in the one that the client prefers."""
        media_type = negotiation.content_type(call.header("CONTENT_TYPE"))
        reply_type = negotiation.best_offer(negotiation.accepted(call.header("HTTP_ACCEPT")), first=media_type.name)
        body = call.body(self._config.max_body_bytes)
        lenient = self._config.batch and media_type.name != JSON
        parsed = protocols.parse(body, media_type, self._limits, call.parameters, self._config.csv_column, lenient)
        outcomes = self._outcomes(call, parsed) if lenient else self._predict(call, parsed.strict())
        reply = protocols.format_reply(reply_type, outcomes, parsed.parameters, self._model)
        return self._reply(call, reply, reply_type)

    def _plain_predictions(self, call: Call) -> Reply:
        """Answer a request of Vertex AI or of version 1 of KServe."""
        body = call.body(self._config.max_body_bytes)
        parsed = protocols.parse(body, negotiation.content_type(JSON), self._limits, call.parameters).strict()
        return self._reply(call, protocols.format_predictions(self._predict(call, parsed), parsed.parameters), JSON)

    def _infer(self, call: Call) -> Reply:
        """Answer a request of the Open Inference Protocol."""
        if call.header("HTTP_INFERENCE_HEADER_CONTENT_LENGTH"):
            raise protocols.binary_tensors("Inference-Header-Content-Length")
        parsed = protocols.parse_infer(call.body(self._config.max_body_bytes), self._limits, call.parameters)
        predictions = self._predict(call, parsed.strict())
        reply = protocols.format_infer(predictions, parsed, self._config.model_name, self._version)
        return self._reply(call, reply, JSON)

    def _predict(self, call: Call, parsed: protocols.Request) -> list[Prediction]:
        """Answer every text of a request, or refuse all of it."""
        with self._admission.enter(call.is_abandoned) as turns:
            found = parsed.placing_refusals(partial(self._ask(parsed, turns), parsed.texts))
        self._count(call, parsed.texts, found, turns.waited_s)
        return found

    def _outcomes(self, call: Call, parsed: protocols.Request) -> Sequence[protocols.Outcome]:
        """Answer the records of a part of a file, each by itself; the log has how many were refused, and no text."""
        with self._admission.enter(call.is_abandoned) as turns:
            outcomes = parsed.outcomes(self._ask(parsed, turns))
        texts = [text for text, one in zip(parsed.records, outcomes, strict=True) if isinstance(one, Prediction)]
        found = [one for one in outcomes if isinstance(one, Prediction)]
        refused = [one for one in outcomes if isinstance(one, RequestError)]
        self._count(call, texts, found, turns.waited_s)
        if refused:
            log.warning(
                "%d of %d records were refused and have an error line; the first: %s at %s",
                len(refused), len(outcomes), refused[0].code, refused[0].field,
            )  # fmt: skip
        return outcomes

    def _ask(self, parsed: protocols.Request, turns: Turn) -> Callable[[Sequence[str]], list[Prediction]]:
        asked = parsed.parameters
        return partial(self._predictor.predict, truncation=asked.truncation, threshold=asked.threshold, turn=turns)

    def _count(self, call: Call, texts: Sequence[object], found: Sequence[Prediction], waited_s: float) -> None:
        refuse_no_number(found)
        self._metrics.count_predictions(found, waited_s)
        tokens, hits = sum(one.tokens for one in found), sum(one.cached for one in found)
        call.log_line = f"{len(found)} {tokens} {hits} {waited_s:.6f}"
        if self._config.log_texts:
            log_texts(texts, found, call.header("HTTP_X_REQUEST_ID"))

    def _reply(self, call: Call, body: bytes, media_type: str) -> Reply:
        content_type = JSON if media_type == JSON else f"{media_type}; charset=utf-8"
        # nginx takes the last header away.
        headers = [("Content-Type", content_type), ("X-Model-Version", self._version), ("X-Log", call.log_line)]
        return Reply(200, body, headers)


def json_reply(content: object, status: int = 200) -> Reply:
    """Return `content` as JSON."""
    return Reply(status, orjson.dumps(content), [("Content-Type", JSON)])


def refusal(path: str, problem: RequestError) -> Reply:
    """Return a refusal, in the shape that the platform of this path expects."""
    error: Mapping[str, Any] = problem.as_dict()
    if path.startswith(("/v1/", "/v2/")):
        reply = json_reply({"error": error["message"], "code": error["code"], "field": error["field"]}, problem.status)
    else:
        reply = json_reply({"error": error}, problem.status)
    if problem.status == 503:
        reply.headers.append(("Retry-After", str(RETRY_AFTER_S)))
    if problem.status == 401:
        reply.headers.append(("WWW-Authenticate", "Bearer"))
    return reply


def too_large(most: int) -> RequestError:
    """Return the refusal of a body of over `most` bytes."""
    return RequestError("body_too_large", f"The body is over {most} bytes; send several requests.", status=413)


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
