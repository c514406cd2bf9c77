"""The Flask application through its test client: each platform's routes, authentication, load, metrics, errors."""

import csv
import dataclasses
import gzip
import io
import json
import logging
import math
import socket
import threading
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from bert_textclassification import __version__
from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving.api import create_app
from bert_textclassification.serving.config import MEBIBYTE, ServingConfig
from bert_textclassification.serving.http import service
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.serving.protocols.media_types import CSV, JSON, JSON_LINES, TEXT
from tests.conftest import PATIENCE_S

TEXTS = ["My boiler is leaking gas!", "hello", "a, b\nand c"]
LONG = "the rent is due and the heating is off " * 60
TOKEN = "a-token-of-sixteen-characters"  # noqa: S105 - of these tests only
TENSOR = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["hello", "you"]}
HEALTH_ROUTES = ["/", "/ping", "/livez", "/readyz"]
PREDICTION_ROUTES = ["/invocations", "/score", "/v1/models/model:predict"]


@pytest.fixture(scope="module")
def predictor(tiny_artifact):
    return Predictor.load(tiny_artifact.folder)


@pytest.fixture(scope="module")
def client(predictor):
    return _client(predictor, max_texts=5, max_text_chars=3000, max_body_bytes=4096)


@pytest.fixture(scope="module")
def batch_client(predictor):
    return _client(predictor, batch=True, max_text_chars=3000)


@pytest.fixture(scope="module")
def guarded(predictor):
    return _client(predictor, api_token=SecretStr(TOKEN), health_route="/health")


# -- health and metadata


@pytest.mark.parametrize("path", HEALTH_ROUTES)
def test_health_says_which_model_is_ready(client, tiny_artifact, path):
    model = model_facts(tiny_artifact)
    reply = client.get(path)
    assert (reply.status_code, reply.mimetype, reply.json) == (200, JSON, {"status": "ready", "model": model})


def model_facts(artifact):
    decision = artifact.manifest.decision
    facts = {"threshold": decision.threshold, "temperature": decision.temperature}
    return {"version": artifact.version, "variant": "int8"} | facts


def test_vertex_ai_names_its_routes(predictor):
    health, predict = "/v1/endpoints/7/deployedModels/8", "/v1/endpoints/7/deployedModels/8:predict"
    vertex = _client(predictor, health_route=health, predict_route=predict)
    assert vertex.get(health).json["status"] == "ready"
    reply = vertex.post(predict, json={"instances": ["hello"], "parameters": {"all_scores": True}})
    assert set(reply.json) == {"predictions"}
    assert vertex.get("/ping").status_code == vertex.post("/invocations", json=["hello"]).status_code == 200


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"threads": 3, "workers": 2}, (6, "MULTI_RECORD", 6)),
        ({"threads": 1, "batch_strategy": "SingleRecord"}, (1, "SINGLE_RECORD", 6)),
        (
            {"threads": 1, "batch_strategy": "SINGLE_RECORD", "max_body_bytes": 100 * MEBIBYTE},
            (1, "SINGLE_RECORD", 100),
        ),
        ({"threads": 1, "max_body_bytes": 4096}, (1, "MULTI_RECORD", 1)),
    ],
)
def test_execution_parameters_are_those_of_the_settings(predictor, settings, expected):
    reply = _client(predictor, **settings).get("/execution-parameters")
    names = ("MaxConcurrentTransforms", "BatchStrategy", "MaxPayloadInMB")
    assert (reply.status_code, reply.mimetype, reply.json) == (200, JSON, dict(zip(names, expected, strict=True)))


def test_version_1_of_kserve_lists_the_model_and_says_it_is_ready(predictor):
    named = _client(predictor, model_name="my.model")
    assert named.get("/v1/models").json == {"models": ["my.model"]}
    assert named.get("/v1/models/my.model").json == {"name": "my.model", "ready": True}
    assert named.get("/v1/models/other").status_code == 404


def test_the_open_inference_protocol_describes_server_and_model(client, tiny_artifact):
    assert client.get("/v2").json == {"name": "bert-textclassification", "version": __version__, "extensions": []}
    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").json == {"ready": True}
    for path in ("/v2/models/model", f"/v2/models/model/versions/{tiny_artifact.version}"):
        described = client.get(path).json
        assert (described["name"], described["versions"]) == ("model", [tiny_artifact.version])
        assert described["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
        assert [output["name"] for output in described["outputs"]] == [
            "label",
            "score",
            "decision",
            "tokens",
            "truncated",
        ]
        assert client.get(f"{path}/ready").json == {"name": "model", "ready": True}


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/model/versions/1", "/v2/models/other/infer"])
def test_another_model_or_version_is_not_found(client, path):
    assert set(client.get(path).json) == {"error", "code", "field"}
    assert client.get(path).status_code == 404


# -- predictions


@pytest.mark.parametrize("path", ["/invocations", "/score"])
def test_json_gives_the_predictions_of_the_predictor(client, predictor, path):
    reply = client.post(path, json={"instances": TEXTS})
    expected = [_as_json(prediction) for prediction in predictor.predict(TEXTS)]
    model = model_facts(predictor.artifact)
    assert (reply.status_code, reply.mimetype) == (200, JSON)
    assert reply.json == {"predictions": expected, "model": model}


@pytest.mark.parametrize("path", ["/v1/models/model:predict", "/predict"])
def test_vertex_ai_and_kserve_get_predictions_and_nothing_else(predictor, path):
    reply = _client(predictor, predict_route="/predict").post(path, json={"instances": TEXTS})
    assert (reply.status_code, reply.mimetype) == (200, JSON)
    assert reply.json == {"predictions": [_as_json(prediction) for prediction in predictor.predict(TEXTS)]}


def test_kserve_reads_json_whatever_the_content_type_says(client):
    reply = client.post("/v1/models/model:predict", data=b'{"instances": ["hello"]}', content_type="text/plain")
    assert (reply.status_code, len(reply.json["predictions"])) == (200, 1)


@pytest.mark.parametrize("version", ["", "/versions/{version}"])
def test_the_open_inference_protocol_answers_with_tensors(client, predictor, version):
    path = "/v2/models/model" + version.format(version=predictor.artifact.version)
    reply = client.post(f"{path}/infer", json={"id": "7", "inputs": [TENSOR | {"shape": [2, 1]}]})
    expected = predictor.predict(TENSOR["data"])
    assert (reply.status_code, reply.json["id"], reply.json["model_name"]) == (200, "7", "model")
    outputs = {output["name"]: output["data"] for output in reply.json["outputs"]}
    assert {tuple(output["shape"]) for output in reply.json["outputs"]} == {(2, 1)}
    assert outputs["score"] == [prediction.score for prediction in expected]
    assert outputs["tokens"] == [prediction.tokens for prediction in expected]


def test_csv_gives_one_line_per_text(client, predictor):
    reply = client.post("/invocations", data=_csv(TEXTS), content_type=CSV)
    assert (reply.status_code, reply.content_type) == (200, "text/csv; charset=utf-8")
    assert [(label, float(score)) for label, score in _rows(reply)] == _answers(predictor, TEXTS)


def test_json_lines_give_one_line_per_text(client, predictor):
    body = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    reply = client.post("/invocations", data=body, content_type="application/x-ndjson")
    assert (reply.status_code, reply.content_type) == (200, "application/jsonlines; charset=utf-8")
    assert [json.loads(line) for line in reply.text.splitlines()] == [
        _as_json(prediction) for prediction in predictor.predict(TEXTS)
    ]


def test_plain_text_gives_one_line_per_line(client, predictor):
    reply = client.post("/invocations", data="hello\nyou\n", content_type=TEXT)
    assert (reply.status_code, reply.content_type) == (200, "text/plain; charset=utf-8")
    lines = [line.split("\t") for line in reply.text.splitlines()]
    assert [(label, float(score)) for label, score in lines] == _answers(predictor, ["hello", "you"])


def test_the_accept_header_chooses_the_reply(client):
    replies = {
        kind: client.post("/invocations", json=["hello"], headers={"Accept": kind}) for kind in (CSV, JSON_LINES)
    }
    assert all(reply.mimetype == kind for kind, reply in replies.items())
    refused = client.post("/invocations", json=["hello"], headers={"Accept": "text/html"})
    _error(refused, 406, "not_acceptable", "Accept")


def test_a_body_in_another_character_set_gets_the_same_answer(client, predictor):
    reply = client.post("/invocations", data="grüße\n".encode("latin-1"), content_type="text/csv; charset=latin1")
    assert [(label, float(score)) for label, score in _rows(reply)] == _answers(predictor, ["grüße"])


@pytest.mark.parametrize("path", PREDICTION_ROUTES)
def test_a_gzipped_body_gets_the_same_answer_on_every_route(client, path):
    body = json.dumps({"instances": TEXTS}).encode()
    plain = client.post(path, data=body, content_type=JSON)
    packed = client.post(path, data=gzip.compress(body), content_type=JSON, headers={"Content-Encoding": "gzip"})
    assert packed.json == plain.json


def test_parameters_of_the_body_reach_the_predictor_and_the_reply(client, predictor):
    parameters = {"threshold": 1e-6, "all_scores": True, "raw_logits": True}
    (prediction,) = client.post("/invocations", json={"inputs": "hello", "parameters": parameters}).json["predictions"]
    (expected,) = predictor.predict(["hello"], threshold=1e-6)
    assert prediction["label"] == predictor.artifact.manifest.labels[1]
    assert (prediction["scores"], prediction["logits"]) == (expected.scores, list(expected.logits))


@pytest.mark.parametrize("path", PREDICTION_ROUTES)
def test_parameters_of_the_address_hold_where_the_body_has_none(client, predictor, path):
    reply = client.post(f"{path}?threshold=0.000001&all_scores=true", json={"instances": ["hello"]})
    (prediction,) = reply.json["predictions"]
    assert prediction["label"] == predictor.artifact.manifest.labels[1]
    assert set(prediction["scores"]) == set(predictor.artifact.manifest.labels)


def test_sagemaker_forwards_parameters_in_its_one_header(client, predictor):
    headers = {"X-Amzn-SageMaker-Custom-Attributes": "column=message&all_scores=true"}
    reply = client.post("/invocations", data="id,message\n1,hello\n", content_type=CSV, headers=headers)
    (expected,) = predictor.predict(["hello"])
    assert [float(cell) for cell in _rows(reply)[0][1:]] == [expected.score, *expected.scores.values()]


def test_a_long_text_is_cut_read_in_windows_or_refused_as_asked(client, predictor):
    cut = client.post("/invocations", json=[LONG]).json["predictions"][0]
    assert (cut["truncated"], cut["tokens"]) == (True, 64)
    whole = client.post("/invocations", json={"text": LONG, "parameters": {"truncation": "windows"}}).json
    (expected,) = predictor.predict([LONG], truncation="windows")
    assert whole["predictions"] == [_as_json(expected) | {"windows": expected.windows}]
    assert (expected.truncated, expected.windows > 1) == (False, True)
    refusal = client.post("/invocations", json={"instances": ["hi", LONG], "parameters": {"truncation": "error"}})
    _error(refusal, 400, "text_too_long", "instances[1]")


def test_the_error_of_a_long_text_uses_the_field_name_of_the_request(client):
    by_inputs = client.post("/invocations", json={"inputs": ["hi", LONG], "parameters": {"truncation": "error"}})
    _error(by_inputs, 400, "text_too_long", "inputs[1]")
    body = {"inputs": [TENSOR | {"data": ["hi", LONG]}], "parameters": {"truncation": "error"}}
    as_tensor = client.post("/v2/models/model/infer", json=body)
    assert (as_tensor.status_code, as_tensor.json["field"]) == (400, "inputs[0].data[1]")


def test_a_score_in_the_review_band_is_for_a_person_to_decide(copied_artifact):
    _change_decision(copied_artifact, review_band=[0.0, 1.0])
    careful = create_app(ServingConfig.of(model_source=str(copied_artifact))).test_client()
    (prediction,) = careful.post("/invocations", json=["hello"]).json["predictions"]
    assert prediction["decision"] == "review" != prediction["label"]
    tensors = careful.post("/v2/models/model/infer", json={"inputs": [TENSOR]}).json["outputs"]
    assert next(output["data"] for output in tensors if output["name"] == "decision") == ["review", "review"]


def test_without_a_review_band_the_decision_is_the_label(client):
    predictions = client.post("/invocations", json=TEXTS).json["predictions"]
    assert [prediction["decision"] for prediction in predictions] == [prediction["label"] for prediction in predictions]


def test_the_chosen_variant_is_served(tiny_artifact):
    config = ServingConfig.of(model_source=str(tiny_artifact.folder), variant="fp32")
    assert create_app(config).test_client().get("/ping").json["model"]["variant"] == "fp32"


def test_an_application_without_a_model_is_not_made(tmp_path):
    with pytest.raises(ArtifactError, match="no model folder"):
        create_app(ServingConfig.of(model_source=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("path", PREDICTION_ROUTES)
def test_an_answer_names_the_version_of_its_model(client, tiny_artifact, path):
    assert client.post(path, json={"instances": ["hello"]}).headers["X-Model-Version"] == tiny_artifact.version


def test_an_answer_tells_nginx_what_to_log(predictor):
    reply = _client(predictor).post("/invocations", json=["hello", "hello", LONG])
    texts, tokens, cache_hits, seconds = reply.headers["X-Log"].split()
    assert (texts, tokens, cache_hits) == ("3", str(2 * _tokens(predictor, "hello") + 64), "0")
    assert 0 <= float(seconds) < 10


# -- batch transform


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (CSV, 'hello\n""\n\n"two\nlines"\n'),
        (CSV, "id,text\n1,hello\n2\n3, \n4,you\n"),
        (TEXT, "hello\n\n \nyou\n"),
        (JSON_LINES, '"hello"\nnonsense\n{"text": 5}\n{"text": "you"}\n'),
        (JSON_LINES, f'"hello"\n\n{json.dumps("x" * 3001)}\n"you"\n'),
    ],
)
@pytest.mark.parametrize("accept", [None, CSV, TEXT, JSON_LINES])
def test_batch_transform_gets_a_line_for_each_record_in_order(batch_client, media_type, body, accept):
    headers = {} if accept is None else {"Accept": accept}
    reply = batch_client.post("/invocations", data=body, content_type=media_type, headers=headers)
    assert (reply.status_code, reply.mimetype) == (200, accept or media_type)
    assert [_has_label(line, reply.mimetype) for line in reply.text.split("\n")[:-1]] == [True, False, False, True]


PART_OF_A_FILE = "17,hello\n18,late, and broken\n19,bye\n"


@pytest.mark.parametrize(
    ("column", "body", "answered"),
    [
        ("2", PART_OF_A_FILE, [True, False, True]),
        ("review,2", PART_OF_A_FILE, [True, False, True]),
        ("review,2", "id,review\n" + PART_OF_A_FILE, [True, False, True]),
        ("2", "id,text\n" + PART_OF_A_FILE, [True, False, True]),
        ("review", PART_OF_A_FILE, [False, False, False]),
        (None, PART_OF_A_FILE, [False, False, False]),
        (None, "id,review\n" + PART_OF_A_FILE, [False] * 4),
        (None, "hello\nlate, and broken\nbye\n", [True, False, True]),
    ],
)
def test_batch_transform_of_csv_reads_the_column_of_the_settings_or_gives_an_error_line(
    predictor, column, body, answered
):
    client = _client(predictor, batch=True, csv_column=column)
    reply = client.post("/invocations", data=body, content_type=CSV)
    assert reply.status_code == 200
    assert [_has_label(line, CSV) for line in reply.text.split("\n")[:-1]] == answered


@pytest.mark.parametrize(("column", "header"), [(None, "text\n"), ("review,2", "id,review\n"), ("2", "id,text")])
def test_a_part_that_is_the_header_alone_gives_no_line(predictor, column, header):
    reply = _client(predictor, batch=True, csv_column=column).post("/invocations", data=header, content_type=CSV)
    assert (reply.status_code, reply.text) == (200, "")
    _error(
        _client(predictor, csv_column=column).post("/invocations", data=header, content_type=CSV),
        400,
        "no_instances",
        "instances",
    )


def test_a_part_without_a_byte_is_refused(batch_client):
    for media_type in (CSV, TEXT, JSON_LINES):
        _error(batch_client.post("/invocations", data="", content_type=media_type), 400, "no_instances", "instances")


def test_the_scores_of_a_part_without_a_header_are_those_of_the_texts(predictor):
    client = _client(predictor, batch=True, csv_column="review,2")
    reply = client.post("/invocations", data=PART_OF_A_FILE, content_type=CSV)
    rows = [row for row in _rows(reply) if row[0]]
    assert [(label, float(score)) for label, score in rows] == [
        (prediction.label, prediction.score) for prediction in predictor.predict(["hello", "bye"])
    ]


def test_the_column_of_the_request_wins_over_that_of_the_settings(predictor):
    client = _client(predictor, csv_column="1")
    headers = {"X-Amzn-SageMaker-Custom-Attributes": "column=2"}
    replies = [
        client.post("/invocations", data="17,hello\n", content_type=CSV, headers=headers),
        client.post("/invocations?column=2", data="17,hello\n", content_type=CSV),
    ]
    (expected,) = predictor.predict(["hello"])
    assert {_rows(reply)[0][1] for reply in replies} == {repr(expected.score)}


def test_parameters_of_the_address_and_of_the_header_count_together(predictor):
    headers = {"X-Amzn-SageMaker-Custom-Attributes": "trace=7&threshold=0.0001"}
    (prediction,) = (
        _client(predictor).post("/invocations?all_scores=true", json=["hello"], headers=headers).json["predictions"]
    )
    assert prediction["label"] == predictor.artifact.manifest.labels[1]
    assert len(prediction["scores"]) == 2
    twice = _client(predictor).post("/invocations?threshold=0.5", json=["hello"], headers=headers)
    _error(twice, 400, "invalid_parameter", "parameters")


def test_a_column_may_be_written_in_the_address_as_it_is(predictor):
    body = "id,café\n1,hello\n".encode()
    environ = {"QUERY_STRING": "column=café".encode().decode("latin-1")}
    reply = _client(predictor).post("/invocations", data=body, content_type=CSV, environ_overrides=environ)
    assert (reply.status_code, len(_rows(reply))) == (200, 1)


@pytest.mark.parametrize("parameter", ["delimiter=;", 'delimiter=";"', "separator=tab"])
def test_a_declared_separator_is_refused(client, parameter):
    reply = client.post("/invocations", data="id;text\n1;a\n", content_type=f"{CSV}; {parameter}")
    _error(reply, 415, "unsupported_media_type", "Content-Type")


def test_a_batch_without_a_readable_record_gets_error_lines_only(batch_client):
    reply = batch_client.post("/invocations", data="\n\n", content_type=TEXT)
    assert (reply.status_code, reply.text) == (200, "\t\n\t\n")


def test_an_error_line_of_json_says_what_is_wrong(batch_client):
    reply = batch_client.post("/invocations", data='"hello"\n{"txt": 1}\n', content_type=JSON_LINES)
    error = json.loads(reply.text.splitlines()[1])["error"]
    assert (error["code"], error["field"]) == ("not_a_string", "instances[1]")


@pytest.mark.parametrize("media_type", [TEXT, JSON_LINES, CSV])
def test_bytes_that_are_no_utf_8_cost_their_record_alone_in_batch_transform(batch_client, client, media_type):
    lines = [b"hello", "café".encode("latin-1"), "né".encode()]
    body = b"".join((b'"%s"' % line if media_type == JSON_LINES else line) + b"\n" for line in lines)
    reply = batch_client.post("/invocations", data=body, content_type=media_type)
    assert [_has_label(line, media_type) for line in reply.text.splitlines()] == [True, False, True]
    _error(client.post("/invocations", data=body, content_type=media_type), 400, "invalid_encoding", None)


def test_a_header_that_is_no_utf_8_is_named_in_the_error_lines_of_json(batch_client):
    body = "id,café\n1,hello\n".encode("latin-1")
    reply = batch_client.post("/invocations", data=body, content_type=CSV, headers={"Accept": JSON_LINES})
    assert reply.status_code == 200
    assert "only id, caf?;" in json.loads(reply.text.splitlines()[0])["error"]["message"]


def test_a_text_that_is_too_long_costs_its_record_alone_in_batch_transform(batch_client, caplog):
    texts = ["hello", "the lift is stuck " * 100, "bye"]
    body = "".join(f"{json.dumps(text)}\n" for text in texts)
    reply = batch_client.post("/invocations?truncation=error", data=body, content_type=JSON_LINES)
    codes = [json.loads(line).get("error", {}).get("code") for line in reply.text.splitlines()]
    assert codes == [None, "text_too_long", None]
    assert (
        "1 of 3 records were rejected and have an error line; the first: text_too_long at instances[1]" in caplog.text
    )
    assert "stuck" not in caplog.text


def test_a_json_body_is_one_request_even_in_batch_transform(batch_client):
    _error(batch_client.post("/invocations", json=["hello", ""]), 400, "empty_text", "instances[1]")


def test_outside_batch_transform_one_bad_record_refuses_the_request(client):
    _error(client.post("/invocations", data="hello\n\n", content_type=TEXT), 400, "empty_text", "instances[1]")


# -- refusals


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b'{"instances": ["a"', "invalid_json", None),
        (b"", "invalid_json", None),
        (b"\xff", "invalid_encoding", None),
        (b"{}", "missing_instances", "instances"),
        (b"[]", "no_instances", "instances"),
        (b'["a", 5]', "not_a_string", "instances[1]"),
        (b'["a", " "]', "empty_text", "instances[1]"),
        (rb'["\ud800"]', "invalid_unicode", "instances[0]"),
        (b'{"text": "a", "text": "b"}', "duplicate_key", None),
        (b'{"text": "a", "parameters": {"threshold": 2}}', "invalid_parameter", "parameters.threshold"),
    ],
)
@pytest.mark.parametrize("path", PREDICTION_ROUTES)
def test_malformed_json_is_refused_in_the_shape_of_the_platform(client, path, body, code, field):
    _error(client.post(path, data=body, content_type=JSON), 400, code, field, platform=path.startswith("/v1/"))


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    [
        ({"shape": [3]}, "invalid_shape", "inputs[0].shape"),
        ({"datatype": "FP32"}, "invalid_request", "inputs[0].datatype"),
        ({"data": ["a", 5]}, "not_a_string", "inputs[0].data[1]"),
        ({"data": ["a", " "]}, "empty_text", "inputs[0].data[1]"),
    ],
)
def test_a_wrong_tensor_is_refused_in_the_shape_of_the_platform(client, changed, code, field):
    reply = client.post("/v2/models/model/infer", json={"inputs": [TENSOR | changed]})
    _error(reply, 400, code, field, platform=True)


def test_a_tensor_request_with_an_id_that_is_no_text_is_refused(client):
    reply = client.post("/v2/models/model/infer", data=json.dumps({"id": "\ud800", "inputs": [TENSOR]}))
    _error(reply, 400, "invalid_request", "id", platform=True)


@pytest.mark.parametrize(
    ("media_type", "body", "code", "field"),
    [
        (CSV, b"", "no_instances", "instances"),
        (CSV, b"\xff", "invalid_encoding", None),
        (CSV, b'"open', "invalid_csv", "instances[0]"),
        (CSV, b'a\n""\n', "empty_text", "instances[1]"),
        (JSON_LINES, b'"a"\nnonsense', "invalid_json", "instances[1]"),
        (TEXT, b"a\n\nb", "empty_text", "instances[1]"),
    ],
)
def test_malformed_lines_are_refused_as_json(client, media_type, body, code, field):
    reply = client.post("/invocations", data=body, content_type=media_type, headers={"Accept": media_type})
    _error(reply, 400, code, field)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/invocations", "[%s]"),
        ("/invocations", '{"text": %s}'),
        ("/invocations", '{"text": "a", "parameters": {"threshold": %s}}'),
        ("/v2/models/model/infer", '{"inputs": [{"name": "a", "datatype": "BYTES", "shape": [1], "data": [%s]}]}'),
    ],
)
def test_nesting_about_as_deep_as_python_reads_is_never_an_error_of_the_server(predictor, path, body):
    client = _client(predictor)
    for depth in range(850, 1010, 5):
        for deep in ("[" * depth + "1" + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
            assert client.post(path, data=body % deep, content_type=JSON).status_code == 400


def test_another_content_type_is_refused_by_name(client):
    reply = client.post("/invocations", data={"text": "hello"})
    error = _error(reply, 415, "unsupported_media_type", "Content-Type")
    assert "application/x-www-form-urlencoded" in error["message"]


def test_another_content_encoding_is_refused_by_name(client):
    reply = client.post("/invocations", data=b'"a"', content_type=JSON, headers={"Content-Encoding": "br"})
    assert "'br'" in _error(reply, 415, "unsupported_encoding", "Content-Encoding")["message"]


def test_an_unknown_parameter_of_the_address_is_refused(client):
    _error(client.post("/invocations?top_k=1", json=["a"]), 400, "invalid_parameter", "parameters.top_k")


def test_too_many_texts_are_refused(client):
    assert client.post("/invocations", json=["hi"] * 5).status_code == 200
    _error(client.post("/invocations", json=["hi"] * 6), 413, "too_many_instances", "instances")


def test_a_text_over_the_limit_is_refused(client):
    _error(client.post("/invocations", json=["hi", "x" * 3001]), 413, "text_too_large", "instances[1]")


def test_a_body_over_the_limit_is_refused_packed_or_not(client):
    body = b'["hello"]'
    assert client.post("/invocations", data=body.ljust(4096), content_type=JSON).status_code == 200
    _error(client.post("/invocations", data=body.ljust(4097), content_type=JSON), 413, "body_too_large")
    packed = gzip.compress(body.ljust(4097))
    reply = client.post("/invocations", data=packed, content_type=JSON, headers={"Content-Encoding": "gzip"})
    _error(reply, 413, "body_too_large")


@pytest.mark.parametrize("path", ["/invocation", "/ping/", "/static/app.js", "/metrics/x", "/v1", "/.env"])
def test_an_unknown_route_is_not_found(client, path):
    _error(client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/ping", "GET"),
        ("GET", "/invocations", "POST"),
        ("DELETE", "/invocations", "POST"),
        ("PUT", "/v2/models/model/infer", "POST"),
        ("BREW", "/", "GET"),
    ],
)
def test_the_error_of_a_wrong_method_names_the_allowed_ones(client, method, path, allowed):
    reply = client.open(path, method=method)
    _error(reply, 405, "method_not_allowed", platform=path.startswith("/v2/"))
    assert allowed in reply.headers["Allow"].split(", ")
    assert method not in reply.headers["Allow"].split(", ")


def test_an_internal_error_leaks_nothing_and_the_next_request_is_answered(tiny_artifact, caplog):
    class Faulty(Predictor):
        def decide(self, text, prediction):
            return prediction if text != "break" else {}["the secret of the rule"]

    client = _client(Faulty.load(tiny_artifact.folder))
    for path, is_platform in (("/invocations", False), ("/v1/models/model:predict", True)):
        reply = client.post(path, json={"instances": ["break"]})
        _error(reply, 500, "internal_error", platform=is_platform)
        assert not any(word in reply.text for word in ("Traceback", "KeyError", "secret", ".py"))
    assert "the secret of the rule" in caplog.text
    assert client.post("/invocations", json=["hello"]).status_code == 200


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", ["score", "scores", "logits"])
def test_a_number_that_json_does_not_have_is_never_in_a_reply(tiny_artifact, caplog, part, number):
    class Overflowing(Predictor):
        def decide(self, text, prediction):
            values = {"score": number, "scores": dict.fromkeys(prediction.scores, number), "logits": (0.0, number)}
            return prediction if text != "overflow" else dataclasses.replace(prediction, **{part: values[part]})

    client = _client(Overflowing.load(tiny_artifact.folder))
    tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["hello", "overflow"]}
    for path in (*PREDICTION_ROUTES, "/v2/models/model/infer"):
        body = {"inputs": [tensor]} if path.startswith("/v2/") else {"instances": ["hello", "overflow"]}
        reply = client.post(path, json=body)
        assert reply.status_code == 500, path
        assert "not finite numbers" in reply.text
    for kind, body in ((CSV, "hello\noverflow\n"), (TEXT, "hello\noverflow\n"), (JSON_LINES, '"hello"\n"overflow"\n')):
        _error(client.post("/invocations", data=body, content_type=kind), 500, "not_finite")
    assert "not finite numbers" in caplog.text
    assert client.post("/invocations", json=["hello"]).status_code == 200


# -- authentication


@pytest.mark.parametrize("path", [*HEALTH_ROUTES, "/health", "/v2/health/live", "/v2/health/ready"])
def test_health_is_open_to_all(guarded, path):
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer grüße",
    ],
)
@pytest.mark.parametrize("path", ["/invocations", "/metrics", "/docs", "/openapi.json", "/v1/models", "/nowhere"])
def test_without_the_token_everything_else_is_closed(guarded, path, given):
    reply = guarded.open(path, method="GET", headers={} if given is None else {"Authorization": given})
    _error(reply, 401, "unauthorized", "Authorization", platform=path.startswith("/v1/"))
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert TOKEN not in reply.text


@pytest.mark.parametrize("path", PREDICTION_ROUTES)
def test_with_the_token_predictions_are_made(guarded, path):
    given = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.post(path, json={"instances": ["hello"]}, headers=given).status_code == 200
    assert guarded.get("/metrics", headers=given).status_code == 200


def test_a_health_check_does_not_open_predictions_at_its_path(guarded):
    for path in ("/health", "/ping", "/"):
        assert guarded.post(path, json=["hello"]).status_code == 405


def test_the_token_is_compared_in_constant_time(guarded, monkeypatch):
    compared, compare = [], service.hmac.compare_digest
    monkeypatch.setattr(service.hmac, "compare_digest", lambda *both: compared.append(both) or compare(*both))
    guarded.get("/metrics", headers={"Authorization": "Bearer guess"})
    assert compared == [(b"guess", TOKEN.encode())]


# -- load


class Blocking(Predictor):
    """A predictor that blocks its core on the text "wait" until it is released."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.has_begun, self.is_released = threading.Event(), threading.Event()

    def predict(self, texts, **options):
        if list(texts) == ["wait"]:
            options["scheduler"](self._wait)
        return super().predict(texts, **options)

    def _wait(self):
        self.has_begun.set()
        assert self.is_released.wait(PATIENCE_S)


@contextmanager
def _busy(artifact, **settings):
    """Yield a client of an application with a busy core, and the list for the blocking request's status."""
    predictor = Blocking.load(artifact.folder)
    app, status = create_app(ServingConfig.of(threads=1, **settings), predictor), []
    ask = threading.Thread(
        target=lambda: status.append(app.test_client().post("/invocations", json=["wait"]).status_code)
    )
    ask.start()
    try:
        assert predictor.has_begun.wait(PATIENCE_S)
        yield app.test_client(), status
    finally:
        predictor.is_released.set()
        ask.join()


def test_a_server_with_no_place_left_refuses_at_once_and_says_when_to_come_back(tiny_artifact):
    with _busy(tiny_artifact, max_queue=0) as (client, status):
        for path, is_platform in (("/invocations", False), ("/v1/models/model:predict", True)):
            reply = client.post(path, json={"instances": ["hello"]})
            _error(reply, 503, "overloaded", platform=is_platform)
            assert int(reply.headers["Retry-After"]) >= 1
        assert client.get("/ping").status_code == 200
    assert status == [200]
    assert client.post("/invocations", json=["hello"]).status_code == 200


def test_a_request_that_waits_beyond_its_deadline_is_refused(tiny_artifact, monkeypatch):
    monkeypatch.setattr(service, "BATCHES_PER_CORE", 1)
    with _busy(tiny_artifact, max_queue=1, request_timeout_s=0.05) as (client, _):
        reply = client.post("/invocations", json=["hello"])
        _error(reply, 503, "deadline_exceeded")
        assert int(reply.headers["Retry-After"]) >= 1


def test_a_request_whose_client_has_gone_is_not_computed(predictor):
    client = _client(predictor)
    ours, theirs = socket.socketpair()
    with ours:
        answered = client.post("/invocations", json=["hello"], environ_overrides={"gunicorn.socket": ours})
        theirs.close()
        gone = client.post("/invocations", json=["hello"], environ_overrides={"gunicorn.socket": ours})
    assert (answered.status_code, gone.status_code, gone.text) == (200, 499, "")
    assert _metric(client, "textclassifier_text_tokens_count") == 1


# -- metrics and logs


def test_requests_are_counted_by_route_method_and_status(predictor):
    client = _client(predictor)
    client.post("/invocations", json=["hello"])
    client.post("/invocations", json=[])
    client.get("/ping")
    client.get("/nowhere")
    client.get("/nowhere/else")
    expected = [("/invocations", "POST", "200"), ("/invocations", "POST", "400"), ("/ping", "GET", "200")]
    for route, method, status in expected:
        assert _metric(client, "textclassifier_requests_total", route=route, method=method, status=status) == 1
    unmatched = {"route": "unmatched", "method": "GET", "status": "404"}
    assert _metric(client, "textclassifier_requests_total", **unmatched) == 2
    assert _metric(client, "textclassifier_request_seconds_count", route="/invocations") == 2


def test_any_number_of_made_up_methods_and_paths_adds_few_series(predictor):
    client = _client(predictor)
    for number in range(20):
        client.open(f"/nowhere/{number}", method=f"BREW{chr(65 + number)}")
    counted = [sample for sample in _samples(client) if sample.name == "textclassifier_requests_total"]
    assert len(counted) < 5


def test_texts_tokens_truncations_and_cache_hits_are_counted(tiny_artifact):
    predictor = Predictor.load(tiny_artifact.folder, cache_size=10)
    client = _client(predictor)
    for _ in range(2):
        client.post("/score", json=["hello", LONG])
    assert _metric(client, "textclassifier_text_tokens_count") == _metric(client, "textclassifier_score_count") == 4
    assert _metric(client, "textclassifier_text_tokens_sum") == 2 * (_tokens(predictor, "hello") + 64)
    assert _metric(client, "textclassifier_truncated_total") == 2
    assert _metric(client, "textclassifier_cache_hits_total") == 2


def test_metrics_name_the_model(client, tiny_artifact):
    facts = {"version": tiny_artifact.version, "variant": "int8", "name": "model"}
    assert _metric(client, "textclassifier_model_info", **facts) == 1
    assert client.get("/metrics").content_type == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("body", ['["my card 4711 was stolen"]', '["my card 4711 was stolen", 5]', '{"4711": 1}'])
def test_a_text_is_never_logged(predictor, caplog, body):
    caplog.set_level(logging.DEBUG)
    _client(predictor).post("/invocations", data=body, content_type=JSON)
    assert not [record for record in caplog.records if "4711" in f"{record.getMessage()} {vars(record)}"]


def test_a_text_is_logged_with_the_id_of_its_request_when_the_settings_want_it(predictor, caplog):
    caplog.set_level(logging.INFO)
    _client(predictor, log_texts=True).post("/invocations", json=["hello"], headers={"X-Request-Id": "7"})
    (prediction,) = predictor.predict(["hello"])
    (logged,) = [record.fields for record in caplog.records if record.message == "prediction"]
    assert logged == {"request_id": "7", "text": "hello", "label": prediction.label, "score": prediction.score}


def _client(predictor, **settings):
    return create_app(ServingConfig.of(**settings), predictor).test_client()


def _error(reply, status, code, field=None, platform=False):
    """Check that `reply` is this error in the format of its route; return code, message and field."""
    assert (reply.status_code, reply.mimetype) == (status, JSON)
    error = {**reply.json, "message": reply.json["error"]} if platform else reply.json["error"]
    assert set(reply.json) == ({"error", "code", "field"} if platform else {"error"})
    assert (error["code"], error["field"]) == (code, field)
    assert error["message"].endswith(".")
    return error


def _as_json(prediction):
    return {
        "label": prediction.label,
        "score": prediction.score,
        "decision": prediction.decision,
        "tokens": prediction.tokens,
        "truncated": prediction.truncated,
    }


def _answers(predictor, texts):
    return [(prediction.label, prediction.score) for prediction in predictor.predict(texts)]


def _tokens(predictor, text):
    return len(predictor.tokenise([text])[0].ids)


def _csv(texts):
    written = io.StringIO(newline="")
    csv.writer(written).writerows([text] for text in texts)
    return written.getvalue().encode()


def _rows(reply):
    assert reply.status_code == 200
    return list(csv.reader(io.StringIO(reply.text)))


def _has_label(line, media_type):
    if media_type == JSON_LINES:
        return "label" in json.loads(line)
    return bool(line.split("," if media_type == CSV else "\t")[0])


def _change_decision(folder, **decision):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decision": decision}))


def _samples(client):
    return [
        sample for family in text_string_to_metric_families(client.get("/metrics").text) for sample in family.samples
    ]


def _metric(client, metric, /, **labels):
    (value,) = [sample.value for sample in _samples(client) if sample.name == metric and sample.labels == labels]
    return value


def test_the_warnings_of_a_model_are_logged_when_the_server_starts(copied_artifact, caplog):
    path = copied_artifact / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"warnings": ["Not shown to be better than a coin."]}))
    create_app(ServingConfig.of(model_source=str(copied_artifact)))
    assert "the model: Not shown to be better than a coin." in caplog.messages


def test_the_reply_names_the_threshold_that_was_used(client):
    default = client.post("/invocations", json={"instances": ["hello"]}).get_json()["model"]["threshold"]
    overridden = client.post("/invocations?threshold=0.25", json={"instances": ["hello"]}).get_json()["model"][
        "threshold"
    ]
    again = client.post("/invocations", json={"instances": ["hello"]}).get_json()["model"]["threshold"]
    assert (overridden, again) == (0.25, default)


@pytest.mark.parametrize("charset", ["latin-1", "latin1", "ISO-8859-1", "l1", "cp1252", "windows-1252"])
def test_a_character_set_has_any_of_its_names(client, charset):
    reply = client.post("/invocations", data="Käthe".encode("latin-1"), content_type=f"text/plain; charset={charset}")
    assert reply.status_code == 200, reply.get_json()
