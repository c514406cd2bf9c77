"""The Flask application through its test client: routes, content types, and every error as JSON."""

import csv
import io

import pytest

from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving.api import create_app
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.predictor import Predictor

JSON, CSV = "application/json", "text/csv"
TEXTS = ["My boiler is leaking gas!", "hello", "a, b\nand c"]


@pytest.fixture(scope="module")
def predictor(tiny_artifact):
    return Predictor.load(tiny_artifact.folder)


@pytest.fixture(scope="module")
def client(tiny_artifact):
    config = ServingConfig(model_dir=tiny_artifact.folder, max_texts=5, max_body_bytes=4096)
    return create_app(config).test_client()


def test_ping_says_which_model_is_ready(client, tiny_artifact):
    reply = client.get("/ping")
    model = {"version": tiny_artifact.version, "variant": "int8"}
    assert (reply.status_code, reply.json) == (200, {"status": "ready", "model": model})


def test_json_gives_the_predictions_of_the_predictor(client, predictor):
    reply = client.post("/invocations", json={"instances": TEXTS})
    expected = [(one.label, one.score, one.tokens) for one in predictor.predict(TEXTS)]
    assert reply.status_code == 200
    assert [(one["label"], one["score"], one["tokens"]) for one in reply.json["predictions"]] == expected
    assert reply.json["model"] == {"version": predictor.artifact.version, "variant": "int8"}


def test_csv_gives_one_line_per_text(client, predictor):
    reply = client.post("/invocations", data=_csv(TEXTS), content_type=CSV)
    assert (reply.status_code, reply.mimetype) == (200, CSV)
    assert _answers(reply) == [(one.label, one.score) for one in predictor.predict(TEXTS)]


@pytest.mark.parametrize(
    ("sent", "accept", "received"),
    [
        (JSON, None, JSON),
        (CSV, None, CSV),
        (JSON, "*/*", JSON),
        (CSV, "*/*", CSV),
        (JSON, CSV, CSV),
        (CSV, JSON, JSON),
        (JSON, "text/*", CSV),
        (CSV, "text/csv;q=0.2, application/json;q=0.9", JSON),
        (JSON, "text/html, */*;q=0.1", JSON),
        (CSV, "text/html", CSV),
    ],
)
def test_the_accept_header_chooses_the_reply_else_it_is_of_the_kind_sent(client, sent, accept, received):
    headers = {} if accept is None else {"Accept": accept}
    body = b'["hello"]' if sent == JSON else b"hello\n"
    reply = client.post("/invocations", data=body, content_type=sent, headers=headers)
    assert (reply.status_code, reply.mimetype) == (200, received)


@pytest.mark.parametrize("content_type", [None, JSON, "application/json; charset=utf-8", "Application/JSON;a=b"])
def test_json_is_read_whatever_the_parameters_of_its_content_type(client, content_type):
    reply = client.post("/invocations", data=b'["hello"]', content_type=content_type)
    assert (reply.status_code, len(reply.json["predictions"])) == (200, 1)


@pytest.mark.parametrize("content_type", [CSV, "text/csv; charset=utf-8", "text/csv;header=present"])
def test_csv_is_read_whatever_the_parameters_of_its_content_type(client, content_type):
    reply = client.post("/invocations", data=b"text\nhello\nyou\n", content_type=content_type)
    assert (reply.status_code, len(_answers(reply))) == (200, 2)


@pytest.mark.parametrize(
    "content_type", ["application/xml", "text/plain; charset=utf-8", "application/x-www-form-urlencoded", "csv"]
)
def test_another_content_type_is_refused_by_name(client, content_type):
    reply = client.post("/invocations", data=b"text=hello", content_type=content_type)
    error = _error(reply, 415, "unsupported_media_type", "Content-Type")
    assert content_type.partition(";")[0] in error["message"]


def test_parameters_reach_the_predictor_and_the_reply(client, predictor):
    labels = predictor.artifact.manifest.labels
    asked = {"threshold": 1e-6, "all_scores": True, "raw_logits": True}
    (found,) = client.post("/invocations", json={"inputs": "hello", "parameters": asked}).json["predictions"]
    (expected,) = predictor.predict(["hello"], threshold=1e-6)
    assert found["label"] == labels[1]
    assert (found["scores"], found["logits"]) == (expected.scores, list(expected.logits))


def test_a_long_text_is_truncated_or_refused_as_asked(client):
    long = "the rent is due " * 60
    (found,) = client.post("/invocations", json=[long]).json["predictions"]
    assert (found["truncated"], found["tokens"]) == (True, 64)
    refusal = client.post("/invocations", json={"instances": ["hi", long], "parameters": {"truncation": "error"}})
    _error(refusal, 400, "text_too_long", "instances[1]")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b'{"instances": ["a"', "invalid_json", None),
        (b"", "invalid_json", None),
        (b"{}", "missing_instances", "instances"),
        (b"[]", "no_instances", "instances"),
        (b'["a", 5]', "not_a_string", "instances[1]"),
        (b'["a", " "]', "empty_text", "instances[1]"),
        (b'{"text": "a", "parameters": {"threshold": 2}}', "invalid_parameter", "parameters.threshold"),
    ],
)
def test_malformed_json_is_refused_where_it_is_wrong(client, body, code, field):
    _error(client.post("/invocations", data=body, content_type=JSON), 400, code, field)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "no_instances", "instances"),
        (b"\xff", "invalid_encoding", None),
        (b'"open', "invalid_csv", None),
        (b'a\n""\n', "empty_text", "instances[1]"),
    ],
)
def test_malformed_csv_is_refused_as_json(client, body, code, field):
    _error(client.post("/invocations", data=body, content_type=CSV, headers={"Accept": CSV}), 400, code, field)


def test_too_many_texts_are_refused(client):
    assert client.post("/invocations", json=["hi"] * 5).status_code == 200
    _error(client.post("/invocations", json=["hi"] * 6), 413, "too_many_instances", "instances")


def test_a_body_over_the_limit_is_refused(client):
    body = b'["hello"]'
    assert client.post("/invocations", data=body.ljust(4096), content_type=JSON).status_code == 200
    _error(client.post("/invocations", data=body.ljust(4097), content_type=JSON), 413, "request_entity_too_large")


@pytest.mark.parametrize("path", ["/", "/invocation", "/ping/", "/static/app.js"])
def test_an_unknown_route_is_not_found(client, path):
    _error(client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/ping", "GET"), ("GET", "/invocations", "POST"), ("DELETE", "/invocations", "POST")],
)
def test_a_wrong_method_is_told_the_allowed_ones(client, method, path, allowed):
    reply = client.open(path, method=method)
    _error(reply, 405, "method_not_allowed")
    assert allowed in reply.headers["Allow"].split(", ")
    assert method not in reply.headers["Allow"].split(", ")


def test_an_internal_error_is_json_without_a_trace_and_the_next_request_is_answered(tiny_artifact, caplog):
    class Faulty(Predictor):
        def decide(self, text, prediction):
            return prediction if text != "break" else {}["the secret of the rule"]

    config = ServingConfig(model_dir=tiny_artifact.folder)
    client = create_app(config, Faulty.load(tiny_artifact.folder)).test_client()
    reply = client.post("/invocations", json=["break"])
    _error(reply, 500, "internal_error")
    assert not any(word in reply.text for word in ("Traceback", "KeyError", "secret", ".py"))
    assert "the secret of the rule" in caplog.text
    assert client.post("/invocations", json=["hello"]).status_code == 200


def test_the_chosen_variant_is_served(tiny_artifact):
    config = ServingConfig(model_dir=tiny_artifact.folder, variant="fp32")
    assert create_app(config).test_client().get("/ping").json["model"]["variant"] == "fp32"


def test_an_application_without_a_model_is_not_made(tmp_path):
    with pytest.raises(ArtifactError, match="no model folder"):
        create_app(ServingConfig(model_dir=tmp_path / "nowhere"))


def _error(reply, status, code, field=None):
    """Check that `reply` is that error, as JSON of the one shape, and return it."""
    assert (reply.status_code, reply.mimetype, set(reply.json)) == (status, JSON, {"error"})
    error = reply.json["error"]
    assert (error["code"], error["field"]) == (code, field)
    assert set(error) == {"code", "message", "field"}
    assert error["message"].endswith(".")
    return error


def _csv(texts):
    written = io.StringIO(newline="")
    csv.writer(written).writerows([text] for text in texts)
    return written.getvalue().encode()


def _answers(reply):
    return [(label, float(score)) for label, score in csv.reader(io.StringIO(reply.text))]
