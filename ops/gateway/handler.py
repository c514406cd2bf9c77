"""The Lambda function between an HTTP API and the SageMaker endpoint: it checks, forwards, and explains errors.

POST /invocations accepts what the container accepts (JSON, JSON Lines, CSV, plain text; one text or many) and returns
the container's response. Query parameters reach it, too. Every error has the container's form:

    {"error": {"code": "endpoint_missing", "message": "...", "field": null}}

Each request prints one line in CloudWatch's embedded metric format, without any text. This file is the function's whole
code: it imports the standard library and boto3 only.
"""

import base64
import json
import os
import random
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, ConnectTimeoutError, HTTPClientError, ReadTimeoutError

ENDPOINT = os.environ["ENDPOINT_NAME"]
NAMESPACE = os.environ.get("METRICS_NAMESPACE", "BertTextClassification")
MAX_BODY_BYTES = int(os.environ.get("MAX_BODY_BYTES", "4000000"))
MAX_ANSWER_BYTES = 4_500_000  # Lambda returns 6 MB of JSON, in which the response is an escaped string
CONNECT_TIMEOUT_S = float(os.environ.get("CONNECT_TIMEOUT_S", "1"))
READ_TIMEOUT_S = float(os.environ.get("READ_TIMEOUT_S", "20"))
ATTEMPTS = int(os.environ.get("ATTEMPTS", "3"))
RETRY_AFTER_S = "1"

CONTENT_TYPES = (
    "application/json", "application/jsonlines", "application/jsonl", "application/x-jsonlines", "application/x-ndjson",
    "text/csv", "text/plain",
)  # fmt: skip
THROTTLED = {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"}
NOT_READY = {"ServiceUnavailable", "ServiceUnavailableException", "ModelNotReadyException"}
PASSING = {*THROTTLED, *NOT_READY, "InternalFailure", "InternalDependencyException"}

# This file retries, not boto3, because only this file knows how much of API Gateway's time is left.
_TIMEOUTS = {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": READ_TIMEOUT_S}
_CONFIG = Config(**_TIMEOUTS, retries={"total_max_attempts": 1}, tcp_keepalive=True)
_RUNTIME = boto3.client("sagemaker-runtime", config=_CONFIG)


class Refusal(Exception):
    """An error response.

    Args:
        status: the HTTP status.
        code: a stable, machine-readable name of the problem.
        message: one sentence for people.
        body: the container's own response, if there is one; otherwise the body has code and message.
    """

    def __init__(self, status: int, code: str, message: str, body: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code
        self.body = body or json.dumps({"error": {"code": code, "message": message, "field": None}})


class Answer(NamedTuple):
    """The response of the endpoint."""

    body: bytes
    content_type: str
    variant: str


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Handle one event of an HTTP API (payload format 2.0)."""
    started = time.perf_counter()
    facts: dict[str, Any] = {"Attempts": 0, "BytesIn": 0, "Outcome": "ok", "Variant": None, "Detail": None}
    request_id = str(event.get("requestContext", {}).get("requestId", context.aws_request_id))
    try:
        request = parse(event) | {"EndpointName": ENDPOINT, "InferenceId": request_id[:64]}
        facts["BytesIn"] = len(request["Body"])
        answer = invoke(request, context, facts)
        facts["Variant"] = answer.variant
        reply = respond(200, text_of(answer), answer.content_type)
    except Refusal as refusal:
        facts["Outcome"] = refusal.code
        reply = respond(refusal.status, refusal.body, "application/json")
    reply["headers"]["x-request-id"] = request_id
    emit(reply, request_id, time.perf_counter() - started, facts)
    return reply


def parse(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request to the endpoint: body, content type, accepted type, and query.

    Raises:
        Refusal: the event is not one of an HTTP API, or its body is empty, too large or of an unknown type.
    """
    if event.get("version") != "2.0":
        raise Refusal(400, "unknown_event", "This is no event of an HTTP API; set its payload format version to 2.0.")
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    content_type, accept = headers.get("content-type", "application/json"), headers.get("accept")
    if not f"{content_type}{accept}".isascii():
        raise Refusal(400, "bad_request", "Content-Type or Accept is not ASCII; send ASCII characters only.")
    if content_type.partition(";")[0].strip().lower() not in CONTENT_TYPES:
        known = ", ".join(CONTENT_TYPES)
        message = f"The content type {content_type!r:.80} is not supported; send one of: {known}."
        raise Refusal(415, "unsupported_media_type", message)
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refusal(
            415, "unsupported_encoding", "Compressed bodies are not supported; send the body without compression."
        )
    query = event.get("rawQueryString", "")
    if len(query) > 1024:
        raise Refusal(414, "uri_too_long", "The query is over 1,024 characters; send texts in the body of a POST.")
    wanted = {"Accept": accept, "CustomAttributes": query}
    body = body_of(event)
    return {"Body": body, "ContentType": content_type} | {name: value for name, value in wanted.items() if value}


def body_of(event: Mapping[str, Any]) -> bytes:
    """Return the body as the client sent it.

    Raises:
        Refusal: it is empty, too large, or not valid base64 although the event says so.
    """
    text = event.get("body") or ""
    try:
        body = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode()
    except ValueError:
        raise Refusal(400, "invalid_body", "The body cannot be read; send the request again.") from None
    if not body:
        raise Refusal(400, "empty_body", 'The body is empty; send {"instances": ["a text"]}.')
    if len(body) > MAX_BODY_BYTES:
        raise Refusal(413, "body_too_large", f"The body is over {MAX_BODY_BYTES} bytes; send several requests.")
    return body


def invoke(request: Mapping[str, Any], context: Any, facts: dict[str, Any]) -> Answer:
    """Call the endpoint; retry where that may help and there is time for a whole attempt.

    Raises:
        Refusal: why there is no prediction.
    """
    while True:
        facts["Attempts"] += 1
        try:
            reply = _RUNTIME.invoke_endpoint(**request)
            return Answer(reply["Body"].read(), reply["ContentType"], reply.get("InvokedProductionVariant", ""))
        except (ClientError, HTTPClientError, ConnectionError) as problem:
            facts["Detail"] = _description(problem)
            pause = random.uniform(0.05, 0.1) * 2 ** facts["Attempts"]  # noqa: S311 - no secret depends on it
            if facts["Attempts"] >= ATTEMPTS or not may_help(problem) or _seconds_left(context) < pause:
                raise explained(problem) from problem
        time.sleep(pause)


def may_help(problem: Exception) -> bool:
    """Whether a retry may succeed; a request that the model refused or was slow at would only add load."""
    if isinstance(problem, ClientError):
        return problem.response["Error"]["Code"] in PASSING
    return not isinstance(problem, ReadTimeoutError)


def _seconds_left(context: Any) -> float:
    """Return how long a pause may be so that a whole attempt and the response still fit."""
    left: float = context.get_remaining_time_in_millis() / 1000
    return left - CONNECT_TIMEOUT_S - READ_TIMEOUT_S - 0.5


def explained(problem: ClientError | HTTPClientError | ConnectionError) -> Refusal:
    """Return the response to the client for an error of the endpoint."""
    if isinstance(problem, ReadTimeoutError | ConnectTimeoutError):
        return Refusal(504, "endpoint_timeout", "The model did not answer in time; send fewer or shorter texts.")
    if not isinstance(problem, ClientError):
        return Refusal(502, "endpoint_unreachable", "The model's endpoint cannot be reached; try again later.")
    code = problem.response["Error"]["Code"]
    if code == "ModelError":
        return of_the_container(problem.response)
    if code in THROTTLED:
        return Refusal(429, "throttled", "Too many requests; try again later.")
    if code in NOT_READY:
        return Refusal(503, "unavailable", "The model is not ready to answer; try again.")
    if code == "ValidationError" and "not found" in _description(problem).lower():
        message = f"There is no endpoint {ENDPOINT}; deploy it, or set the name of one that exists."
        return Refusal(502, "endpoint_missing", message)
    if code.startswith("AccessDenied"):
        message = f"The API may not call the endpoint {ENDPOINT}; allow sagemaker:InvokeEndpoint."
        return Refusal(502, "endpoint_forbidden", message)
    return Refusal(502, "endpoint_failed", "The model's endpoint failed on this request; the log of the API says why.")


def of_the_container(response: Mapping[str, Any]) -> Refusal:
    """Return the container's own error response, which SageMaker wraps in a ModelError."""
    status, body = int(response.get("OriginalStatusCode", 500)), str(response.get("OriginalMessage", ""))
    try:
        error = json.loads(body)["error"]
        return Refusal(status, str(error["code"]), "", body)
    except (ValueError, TypeError, KeyError):  # written by something in front of the container, or by another container
        return Refusal(status, "model_error", f"The model answered {status}; the log of its endpoint says why.")


def text_of(answer: Answer) -> str:
    """Return the text of the response.

    Raises:
        Refusal: it is larger than Lambda can return.
    """
    if len(answer.body) > MAX_ANSWER_BYTES:
        raise Refusal(413, "answer_too_large", f"The answer is over {MAX_ANSWER_BYTES} bytes; send fewer texts.")
    return answer.body.decode("utf-8")


def respond(status: int, body: str, content_type: str) -> dict[str, Any]:
    """Return a response in API Gateway's form; status 429 and 503 have `retry-after`."""
    headers = {"content-type": content_type, "cache-control": "no-store", "x-content-type-options": "nosniff"}
    if status in (429, 503):
        headers["retry-after"] = RETRY_AFTER_S
    return {"statusCode": status, "headers": headers, "body": body, "isBase64Encoded": False}


def emit(reply: Mapping[str, Any], request_id: str, seconds: float, facts: Mapping[str, Any]) -> None:
    """Print one line that CloudWatch turns into metrics, without any text or body."""
    status: int = reply["statusCode"]
    metrics = {
        "Seconds": ("Seconds", round(seconds, 4)),
        "Attempts": ("Count", facts["Attempts"]),
        "BytesIn": ("Bytes", facts["BytesIn"]),
        "Refused": ("Count", int(400 <= status < 500 and status != 429)),
        "Throttled": ("Count", int(status in (429, 503))),
        "Failed": ("Count", int(status >= 500 and status != 503)),
    }
    units = [{"Name": name, "Unit": unit} for name, (unit, _) in metrics.items()]
    directive = {"Namespace": NAMESPACE, "Dimensions": [["Endpoint"]], "Metrics": units}
    line = {
        "_aws": {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]},
        "Endpoint": ENDPOINT,
        "Status": status,
        "RequestId": request_id,
        "Outcome": facts["Outcome"],
        "Variant": facts["Variant"],
        "Detail": facts["Detail"],
        **{name: value for name, (_, value) in metrics.items()},
    }
    print(json.dumps(line), flush=True)


def _description(problem: Exception) -> str:
    """Return a description for the log; of a ModelError only the code, because its message quotes the container."""
    if not isinstance(problem, ClientError):
        return type(problem).__name__
    error = problem.response["Error"]
    return str(error["Code"] if error["Code"] == "ModelError" else f"{error['Code']}: {error.get('Message', '')}")
