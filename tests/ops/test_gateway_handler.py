"""The function of the HTTP API under Lambda's runtime client, with the project's server as the endpoint.

Small HTTP servers stand in for Lambda's Runtime API and for the SageMaker runtime in front of the server.
"""

import base64
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.ops.lambda_runtime import JSON, Api, Runtime, event


class SageMaker(Api):
    """The SageMaker runtime with one endpoint, whose container is the project's server.

    If `fault` is set, it returns the response instead.
    """

    def __init__(self, server) -> None:
        super().__init__()
        self._container = server
        self.calls: list[dict[str, str]] = []
        self.fault: Any = None

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        self.calls.append(headers)
        if self.fault is not None:
            return self.fault()
        assert path == "/endpoints/tickets/invocations"
        names = ("Content-Type", "Accept", "X-Amzn-SageMaker-Custom-Attributes")
        status, reply = self._container.request(
            "POST", "/invocations", body, {name: headers[name] for name in names if name in headers}
        )
        if status == 200:
            media_type = headers.get("Accept", "application/json")
            return 200, {"Content-Type": media_type, "x-Amzn-Invoked-Production-Variant": "blue"}, reply
        return model_error(status, reply.decode())


def model_error(status: int, body: str) -> tuple[int, dict[str, str], bytes]:
    fields = {"OriginalStatusCode": status, "OriginalMessage": body, "Message": f"Received {status}: {body}"}
    return api_error(424, "ModelError", **fields)


def api_error(status: int, code: str, **fields: Any) -> tuple[int, dict[str, str], bytes]:
    return status, {"x-amzn-ErrorType": code, "Content-Type": "application/json"}, json.dumps(fields).encode()


def function(endpoint: str, **environment: str) -> Runtime:
    settings = {
        "ENDPOINT_NAME": "tickets",
        "MAX_BODY_BYTES": "20000",
        "READ_TIMEOUT_S": "3",
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": f"http://{endpoint}",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    return Runtime.of_folder(ROOT / "ops/gateway", "handler.handler", **settings | environment)


@pytest.fixture(scope="module")
def sagemaker(tiny_server):
    with SageMaker(tiny_server) as api:
        yield api


@pytest.fixture(scope="module")
def running(sagemaker):
    with function(sagemaker.address) as runtime:
        yield runtime


@pytest.fixture
def gateway(running, sagemaker):
    """The function with a healthy endpoint. A test must read the log line of each request, or the next test gets it."""
    sagemaker.fault = None
    sagemaker.calls.clear()
    running.time_s = 28.0
    return running


def invoke(gateway: Runtime, request: dict[str, Any]) -> tuple[int, Any, dict[str, Any]]:
    """Invoke the function; return status and content of the response, and the log line."""
    answer = gateway.invoke(request)
    return answer["statusCode"], json.loads(answer["body"]), gateway.last_line()


@pytest.mark.parametrize(
    "body", ['{"instances": ["a leak", "thanks"]}', '{"text": "a leak"}', '["a leak", "thanks"]', '"a leak"']
)
def test_one_text_or_many_get_the_predictions_of_the_server(gateway, tiny_server, body):
    status, answer, _ = invoke(gateway, event(body))
    assert (status, answer) == (200, json.loads(tiny_server.request("POST", "/invocations", body.encode(), JSON)[1]))


def test_a_body_in_base64_is_decoded(gateway):
    status, answer, line = invoke(gateway, event(base64.b64encode(b'"a leak"').decode(), is_base64=True))
    assert (status, len(answer["predictions"]), line["BytesIn"]) == (200, 1, 8)


def test_the_client_chooses_the_format_and_the_parameters(gateway):
    headers = {"content-type": "text/csv; charset=utf-8", "accept": "application/json"}
    status, answer, _ = invoke(gateway, event("text\na leak\n", headers, query="all_scores=true"))
    assert status == 200
    assert "scores" in answer["predictions"][0]


def test_a_request_keeps_its_id_up_to_the_endpoint(gateway, sagemaker):
    answer = gateway.invoke(event('"a leak"'))
    assert answer["headers"]["x-request-id"] == gateway.last_line()["RequestId"] == "request-1"
    assert sagemaker.calls[0]["X-Amzn-SageMaker-Inference-Id"] == "request-1"


def test_each_request_leaves_one_line_of_metrics_without_its_texts(gateway):
    _, _, line = invoke(gateway, event('"a leak in the kitchen"'))
    metrics = {metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert metrics == {"Seconds", "Attempts", "BytesIn", "Refused", "Throttled", "Failed"}
    assert metrics | {"Endpoint"} < set(line)
    assert (line["Status"], line["Outcome"], line["Variant"], line["Failed"]) == (200, "ok", "blue", 0)
    assert "kitchen" not in json.dumps(line)


@pytest.mark.parametrize(
    ("request_event", "expected_status", "code"),
    [
        (event('"a"', {"content-type": "image/png"}), 415, "unsupported_media_type"),
        (event('"a"', JSON | {"content-encoding": "gzip"}), 415, "unsupported_encoding"),
        (event('"a"', JSON | {"accept": "ä"}), 400, "bad_request"),
        (event(""), 400, "empty_body"),
        (event("no base64!", is_base64=True), 400, "invalid_body"),
        (event("\ud800"), 400, "invalid_body"),
        (event(json.dumps("a" * 20_000)), 413, "body_too_large"),
        (event('"a"', query="a" * 1025), 414, "uri_too_long"),
        (event('"a"') | {"version": "1.0"}, 400, "unknown_event"),
    ],
)
def test_an_invalid_request_never_reaches_the_endpoint(gateway, sagemaker, request_event, expected_status, code):
    status, answer, line = invoke(gateway, request_event)
    assert (status, answer["error"]["code"], line["Refused"], sagemaker.calls) == (expected_status, code, 1, [])


def test_an_error_of_the_model_is_returned_unchanged(gateway, tiny_server, sagemaker):
    body = '{"instances": [""]}'
    status, answer, line = invoke(gateway, event(body))
    expected = tiny_server.request("POST", "/invocations", body.encode(), JSON)
    assert (status, answer) == (expected[0], json.loads(expected[1]))
    assert (line["Attempts"], line["Outcome"], line["Detail"]) == (1, answer["error"]["code"], "ModelError")


BUSY = '{"error": {"code": "overloaded", "message": "Come back.", "field": null}}'


@pytest.mark.parametrize(
    ("fault", "status", "code", "attempts"),
    [
        (lambda: api_error(400, "ThrottlingException", Message="Rate exceeded"), 429, "throttled", 3),
        (lambda: api_error(503, "ServiceUnavailable", Message="Later"), 503, "unavailable", 3),
        (lambda: api_error(429, "ModelNotReadyException", Message="Loading"), 503, "unavailable", 3),
        (lambda: model_error(429, BUSY), 429, "overloaded", 1),
        (lambda: model_error(503, BUSY), 503, "overloaded", 1),
    ],
)
def test_the_response_of_a_busy_model_has_retry_after(gateway, sagemaker, fault, status, code, attempts):
    sagemaker.fault = fault
    answer = gateway.invoke(event('"a"'))
    line = gateway.last_line()
    assert (answer["statusCode"], answer["headers"]["retry-after"]) == (status, "1")
    assert (line["Outcome"], line["Throttled"], line["Attempts"], len(sagemaker.calls)) == (code, 1, attempts, attempts)


@pytest.mark.parametrize(
    ("fault", "expected_status", "code", "attempts"),
    [
        (lambda: time.sleep(4), 504, "endpoint_timeout", 1),
        (lambda: None, 502, "endpoint_unreachable", 3),
        (lambda: model_error(500, "<html>"), 500, "model_error", 1),
        (lambda: api_error(500, "InternalFailure", Message="No"), 502, "endpoint_failed", 3),
        (lambda: api_error(403, "AccessDeniedException", Message="No"), 502, "endpoint_forbidden", 1),
        (lambda: api_error(400, "ValidationError", Message="Endpoint tickets not found."), 502, "endpoint_missing", 1),
    ],
)
def test_a_failing_endpoint_is_explained(gateway, sagemaker, fault, expected_status, code, attempts):
    sagemaker.fault = fault
    status, answer, line = invoke(gateway, event('"a"'))
    assert (status, answer["error"]["code"], line["Attempts"]) == (expected_status, code, attempts)


def test_a_missing_endpoint_is_named(gateway, sagemaker):
    sagemaker.fault = lambda: api_error(400, "ValidationError", Message="Endpoint tickets of account 1 not found.")
    _, answer, _ = invoke(gateway, event('"a"'))
    assert answer["error"]["message"].startswith("There is no endpoint tickets; deploy it")


def test_a_transient_error_is_retried(gateway, sagemaker):
    def fail_once():
        sagemaker.fault = None
        return api_error(503, "ServiceUnavailable", Message="Later")

    sagemaker.fault = fail_once
    status, answer, line = invoke(gateway, event('"a"'))
    assert (status, len(answer["predictions"]), line["Attempts"]) == (200, 1, 2)


def test_nothing_is_retried_without_time_for_the_response(gateway, sagemaker):
    sagemaker.fault = lambda: api_error(503, "ServiceUnavailable", Message="Later")
    gateway.time_s = 2.5
    assert invoke(gateway, event('"a"'))[2]["Attempts"] == 1


def test_a_response_that_is_too_large_for_lambda_is_an_error(gateway, sagemaker):
    sagemaker.fault = lambda: (200, {"Content-Type": "application/json"}, b'"' * 4_600_000)
    status, answer, _ = invoke(gateway, event('"a"'))
    assert (status, answer["error"]["code"]) == (413, "answer_too_large")


def test_an_endpoint_where_nobody_listens_is_unreachable():
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed_server:
        address = f"127.0.0.1:{closed_server.server_port}"
    with function(address) as runtime:
        status, answer, line = invoke(runtime, event('"a"'))
    assert (status, answer["error"]["code"], line["Attempts"]) == (502, "endpoint_unreachable", 3)
