"""Formats, routes and error shapes are registered once, for the command line, negotiation, OpenAPI and nginx."""

import json

import pytest
from click.testing import CliRunner

from bert_textclassification.cli import cli
from bert_textclassification.errors import RequestError
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.http import negotiation, openapi
from bert_textclassification.serving.http.messages import error_response
from bert_textclassification.serving.http.routes import routes
from bert_textclassification.serving.http.service import Service
from bert_textclassification.serving.predict_file import MEDIA_TYPES, format_of
from bert_textclassification.serving.protocols import formats
from bert_textclassification.serving.protocols.errors import error_shape
from bert_textclassification.serving.protocols.media_types import JSON, TEXT_FORMATS
from bert_textclassification.serving.stack.supervisor import error_bodies

ROUTES = routes(ServingConfig.of(threads=1), "1")
DESCRIPTION = openapi.document(ROUTES, "1", has_token=False)


@pytest.mark.parametrize("media_type", TEXT_FORMATS)
def test_a_registered_format_is_read_written_negotiated_and_described(media_type, tmp_path):
    registered = TEXT_FORMATS[media_type]
    assert media_type == JSON or media_type in formats.FORMATS
    for name in (media_type, *registered.aliases):
        assert negotiation.content_type(name).name == media_type
        assert negotiation.best_offer(negotiation.accepted(name), default=JSON) == media_type
    invocations = DESCRIPTION["paths"]["/invocations"]["post"]
    assert media_type in invocations["requestBody"]["content"]
    assert media_type in invocations["responses"]["200"]["content"]
    assert MEDIA_TYPES[registered.name] == media_type
    assert {format_of(tmp_path / f"texts{suffix}") for suffix in registered.suffixes} <= {registered.name}
    assert registered.name in CliRunner().invoke(cli, ["predict", "--help"]).output


def test_every_reader_and_writer_is_of_a_registered_format():
    assert {JSON, *formats.FORMATS} == set(TEXT_FORMATS)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_registered_route_has_its_handler_and_its_description(route):
    assert callable(getattr(Service, f"_{route.handler}"))
    operation = DESCRIPTION["paths"][route.path][route.method.lower()]
    references = [each.get("$ref") for each in _schemas(operation)]
    assert {reference.rpartition("/")[2] for reference in references if reference} <= set(
        DESCRIPTION["components"]["schemas"]
    )


@pytest.mark.parametrize("path", ["/invocations", "/v1/models/model:predict", "/v2/models/model/infer", "/"])
def test_every_error_has_the_shape_of_its_path_wherever_it_is_made(path):
    problem = RequestError("$code", "$reason")
    body = json.loads(error_response(path, problem).body)
    assert body == error_shape(path).body(problem)
    assert error_shape(path).schema.model_validate(body)
    nginx = error_bodies()
    assert body == json.loads(nginx["platform_error_body" if path.startswith("/v") else "error_body"])


def _schemas(operation):
    bodies = [operation.get("requestBody", {"content": {}}), *operation["responses"].values()]
    return [content["schema"] for body in bodies for content in body["content"].values()]
