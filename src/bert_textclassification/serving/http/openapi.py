"""`/openapi.json`, generated from the schemas that validate requests, and the page that shows it."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bert_textclassification.serving.http.messages import HttpResponse
from bert_textclassification.serving.http.routes import Bodies, Route
from bert_textclassification.serving.protocols import schemas
from bert_textclassification.serving.protocols.errors import error_shape
from bert_textclassification.serving.protocols.media_types import JSON

REFERENCE = "#/components/schemas/{model}"
ERROR_DESCRIPTIONS = {
    "400": "The request is invalid; `field` names the place",
    "401": "The token is missing or wrong",
    "406": "The response is not available in the requested type",
    "413": "The request exceeds a size limit",
    "415": "The content type, character set or encoding is not supported",
    "503": "Too busy, or the deadline passed: retry after the time in Retry-After",
}


def document(routes: Sequence[Route], version: str, has_token: bool) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of `routes`."""
    _, defined = models_json_schema([(schema, "validation") for schema in _schemas(routes)], ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    description: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "bert-textclassification", "version": version},
        "paths": paths,
        "components": {"schemas": defined["$defs"]},
    }
    if has_token:
        description["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        description["security"] = [{"token": []}]
    return description


def _schemas(routes: Sequence[Route]) -> list[type[BaseModel]]:
    """Return the schemas of the bodies of all routes and of their errors, each once."""
    types = [body_types for route in routes for body_types in (route.request_bodies or {}, route.response_bodies)]
    bodies = [schema for body_types in types for schema in body_types.values()]
    errors = [error_shape(route.path).schema for route in routes]
    return [schema for schema in dict.fromkeys([*bodies, *errors]) if schema is not None]


def page(description: dict[str, Any]) -> HttpResponse:
    """Return the HTML page: every route with its request and response types, and every schema."""
    body = Environment(autoescape=True).from_string(_PAGE).render(api=description)
    policy = ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
    return HttpResponse(200, body.encode(), [("Content-Type", "text/html; charset=utf-8"), policy])


def _operation(route: Route) -> dict[str, Any]:
    if not route.request_bodies:
        return {"summary": route.summary, "responses": _responses(route, ("401",))}
    body = {"required": True, "content": _content(route.request_bodies)}
    responses = _responses(route, tuple(ERROR_DESCRIPTIONS))
    operation = {"summary": route.summary, "requestBody": body, "responses": responses}
    return operation | ({"parameters": _query(route.parameters)} if route.parameters else {})


def _responses(route: Route, error_codes: tuple[str, ...]) -> dict[str, Any]:
    error = error_shape(route.path).schema
    return {
        "200": {"description": "The response", "content": _content(route.response_bodies)},
        **{code: {"description": ERROR_DESCRIPTIONS[code], "content": _content({JSON: error})} for code in error_codes},
    }


def _content(types: Bodies) -> dict[str, Any]:
    return {
        name: {"schema": {"$ref": REFERENCE.format(model=schema.__name__)} if schema else {"type": "string"}}
        for name, schema in types.items()
    }


def _query(parameters: type[schemas.InferParameters]) -> list[dict[str, Any]]:
    """Describe the query parameters, which apply where the body has none."""
    properties = parameters.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "description": schema.pop("description", ""), "schema": schema}
        for name, schema in properties.items()
    ]


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ api.info.title }}</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; } pre { background: #f4f4f4; overflow: auto; padding: 1rem; }
td, th { padding: .2rem 1rem .2rem 0; text-align: left; vertical-align: top; }
</style></head><body>
<h1>{{ api.info.title }} {{ api.info.version }}</h1>
<p>Machine-readable: <a href="openapi.json">openapi.json</a></p>
<pre>curl localhost:8080/invocations -H 'Content-Type: application/json' -d '{"instances": ["a text"]}'</pre>
<h2>Routes</h2>
<table><tr><th>Method<th>Path<th>Summary<th>Request<th>Response</tr>
{% for path, operations in api.paths.items() %}{% for method, operation in operations.items() %}
<tr><td>{{ method|upper }}<td><code>{{ path }}</code><td>{{ operation.summary }}
<td>{{ operation.requestBody.content|join(", ") if operation.requestBody }}
<td>{{ operation.responses["200"].content|join(", ") }}</tr>
{% endfor %}{% endfor %}</table>
<h2>Schemas</h2>
{% for name, schema in api.components.schemas.items() %}
<h3 id="{{ name }}"><code>{{ name }}</code></h3><p>{{ schema.description }}</p>
<table>{% for field, part in schema.get("properties", {}).items() %}
<tr><td><code>{{ field }}</code><td>{{ part.description }}<td><code>{{ part|tojson }}</code></tr>
{% endfor %}</table>
{% endfor %}
</body></html>
"""
