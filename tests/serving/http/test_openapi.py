"""`/openapi.json` is valid and complete, uses the schemas that validate requests, and holds for generated requests."""

import logging
import re

import jsonschema_rs
import pytest
import schemathesis
from jsonschema import Draft202012Validator
from pydantic import BaseModel, SecretStr
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from bert_textclassification import __version__
from bert_textclassification.serving.api import create_app
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.serving.protocols import schemas
from bert_textclassification.serving.protocols.media_types import CSV, JSON, JSON_LINES, TEXT

INFER = "/v2/models/model/infer"
LONG = "the rent is due and the heating is off " * 60
# Omitted are checks that the server fails on purpose: that data matching the schema are accepted (no schema requires
# words in a text, or data that fill their shape), and that other data are rejected (a bare text or list is accepted
# too). The authentication checks are omitted because it is off here.
CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]


@pytest.fixture(scope="module")
def predictor(tiny_artifact):
    return Predictor.load(tiny_artifact.folder)


@pytest.fixture(scope="module")
def app(predictor):
    return create_app(ServingConfig.of(threads=1, health_route="/health", predict_route="/predict"), predictor)


@pytest.fixture(scope="module")
def description(app):
    return app.test_client().get("/openapi.json").json


# -- valid and complete


def test_the_description_is_valid_openapi(app, description):
    assert (description["openapi"], description["info"]["version"]) == ("3.1.0", __version__)
    schemathesis.openapi.from_wsgi("/openapi.json", app).validate()


def test_the_validator_finds_a_fault_in_the_description(description):
    wrong = description | {"paths": {"/ping": {"get": {"responses": {"200": {"content": 5}}}}}}
    with pytest.raises(jsonschema_rs.ValidationError):
        schemathesis.openapi.from_dict(wrong).validate()


def test_every_schema_is_valid_and_every_reference_leads_to_one(description):
    for schema in description["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    results = set(re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(description)))
    assert results <= set(description["components"]["schemas"])
    assert {"Instances", "InvocationReply", "InferRequest", "InferReply", "Error", "PlatformError"} <= results


def test_every_route_is_described_and_nothing_else(app, description):
    served = {(rule.rule, method) for rule in app.url_map.iter_rules() for method in rule.methods & {"GET", "POST"}}
    described = {(path, method.upper()) for path, operations in description["paths"].items() for method in operations}
    assert described == served


@pytest.mark.parametrize("method", ["get", "post"])
def test_every_described_route_answers(app, description, method):
    client = app.test_client()
    for path in (path for path, operations in description["paths"].items() if method in operations):
        reply = client.open(path, method=method, data=b"{}", content_type=JSON)
        assert str(reply.status_code) in description["paths"][path][method]["responses"]


def test_routes_that_the_settings_name_are_described(predictor):
    named = {"model_name": "mine", "health_route": "/v1/e/7", "predict_route": "/v1/e/7:predict"}
    paths = create_app(ServingConfig.of(**named), predictor).test_client().get("/openapi.json").json["paths"]
    assert _schema(paths["/v1/e/7"]["get"]["responses"]["200"]) == "Health"
    assert _schema(paths["/v1/e/7:predict"]["post"]["responses"]["200"]) == "Predictions"
    assert "/v1/models/mine:predict" in paths


# -- schemas


def test_the_schemas_are_those_of_the_models_that_validate(description):
    for name, schema in description["components"]["schemas"].items():
        model = getattr(schemas, name)
        assert issubclass(model, BaseModel)
        expected = model.model_json_schema(ref_template="#/components/schemas/{model}")
        assert schema == {key: value for key, value in expected.items() if key != "$defs"}


@pytest.mark.parametrize(
    ("path", "takes", "gives"),
    [
        ("/invocations", "Instances", "InvocationReply"),
        ("/score", "Instances", "InvocationReply"),
        ("/predict", "Instances", "Predictions"),
        ("/v1/models/model:predict", "Instances", "Predictions"),
        (INFER, "InferRequest", "InferReply"),
    ],
)
def test_each_platform_has_its_schemas(description, path, takes, gives):
    operation = description["paths"][path]["post"]
    assert (_schema(operation["requestBody"]), _schema(operation["responses"]["200"])) == (takes, gives)
    error = "PlatformError" if path.startswith("/v") else "Error"
    assert {_schema(reply) for status, reply in operation["responses"].items() if status != "200"} == {error}


@pytest.mark.parametrize("path", ["/invocations", "/score"])
def test_every_content_type_is_described_both_ways(description, path):
    operation = description["paths"][path]["post"]
    for body in (operation["requestBody"], operation["responses"]["200"]):
        assert set(body["content"]) == {JSON, JSON_LINES, CSV, TEXT}


@pytest.mark.parametrize(
    ("path", "model"),
    [("/invocations", schemas.LineParameters), ("/predict", schemas.Parameters), (INFER, schemas.InferParameters)],
)
def test_the_parameters_of_the_address_are_those_that_are_read(description, path, model):
    described = description["paths"][path]["post"].get("parameters", [])
    assert [parameter["name"] for parameter in described] == list(model.model_fields)
    assert all(parameter["in"] == "query" and parameter["description"] for parameter in described)


@pytest.mark.parametrize(("path", "model"), [("/invocations", "Instances"), (INFER, "InferRequest")])
def test_the_examples_are_answered(app, description, path, model):
    for example in description["components"]["schemas"][model]["examples"]:
        assert app.test_client().post(path, json=example).status_code == 200


@pytest.mark.parametrize("truncation", ["truncate", "windows"])
@pytest.mark.parametrize(("path", "gives"), [("/invocations", "InvocationReply"), ("/predict", "Predictions")])
def test_an_answer_with_everything_is_as_described(app, description, path, gives, truncation):
    parameters = {"truncation": truncation, "threshold": 0.1, "all_scores": True, "raw_logits": True}
    reply = app.test_client().post(path, json={"instances": ["hello", LONG], "parameters": parameters}).json
    Draft202012Validator(description | {"$ref": f"#/components/schemas/{gives}"}).validate(reply)
    optional = {"scores", "logits"} | ({"windows"} if truncation == "windows" else set())
    assert optional <= set(reply["predictions"][1])


# -- authentication


def test_the_token_is_described_where_one_is_set(predictor, description):
    config = ServingConfig.of(api_token=SecretStr("of sixteen or more"))
    given = {"Authorization": "Bearer of sixteen or more"}
    guarded = create_app(config, predictor).test_client().get("/openapi.json", headers=given).json
    assert guarded["security"] == [{"token": []}]
    assert guarded["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert "security" not in description
    assert "securitySchemes" not in description["components"]


# -- the HTML page


def test_the_page_shows_every_route_and_every_schema(app, description):
    page = app.test_client().get("/docs")
    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    assert all(f"<code>{path}</code>" in page.text for path in description["paths"])
    assert all(f'id="{name}"' in page.text for name in description["components"]["schemas"])


def test_the_page_asks_nobody_else_for_anything(app):
    page = app.test_client().get("/docs")
    assert page.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert re.findall(r'(?:href|src|action)="([^"]*)"', page.text) == ["openapi.json"]
    assert not re.search(r"https?://|<script|<link|<img|<iframe|@import|url\(", page.text)


# -- generated requests


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of a request that Hypothesis made up
def test_no_request_made_from_the_description_breaks_the_server_or_its_promises(app, caplog):
    caplog.set_level(logging.CRITICAL)
    settings = {
        "seed": 1,
        "generation": {"max-examples": 80, "deterministic": True, "database": "none"},
        "phases": {"stateful": {"enabled": False}},  # an answer leads to no other request
        "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
    }
    config = SchemathesisConfig.from_dict(settings)
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app, config=config)
    results = list(from_schema(schema).execute())
    assert [event for event in results if isinstance(event, events.NonFatalError | events.FatalError)] == []
    scenarios = [event for event in results if isinstance(event, events.ScenarioFinished)]
    assert _failures(scenarios) == []
    tried = {event.label.partition(" ")[2] for event in scenarios}
    assert set(schema.raw_schema["paths"]) - tried <= {"/openapi.json"}  # which is where it reads the description
    assert sum(len(event.recorder.checks) for event in scenarios) > 500


def _schema(described):
    """Return the name of the JSON schema of a body."""
    return described["content"][JSON]["schema"]["$ref"].rpartition("/")[2]


def _failures(scenarios):
    """Return title, message and a command that repeats it for each check that failed."""
    checks = [check for event in scenarios for group in event.recorder.checks.values() for check in group]
    failed = [check.failure_info for check in checks if check.failure_info is not None]
    return [(failure.failure.title, failure.failure.message, failure.code_sample) for failure in failed]
