"""`/openapi.json`, made from the schemas that validate requests, and the page that shows it."""

from typing import Any

from jinja2 import Environment
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Map

from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.http.routes import Reply
from bert_textclassification.serving.protocols import schemas
from bert_textclassification.serving.protocols.media_types import CSV, JSON, JSON_LINES, TEXT

REFERENCE = "#/components/schemas/{model}"
REFUSALS = {
    "400": "What was sent cannot be read; the field says where",
    "401": "The token is missing or wrong",
    "406": "The reply cannot be given in the type that is asked for",
    "413": "Too much at once",
    "415": "The content type, character set or encoding is not read here",
    "503": "Too busy, or the deadline passed: try again after the time in Retry-After",
}
_SCHEMAS: list[type[BaseModel]] = [
    schemas.Instances,
    schemas.InvocationReply,
    schemas.Predictions,
    schemas.InferRequest,
    schemas.InferReply,
    schemas.Health,
    schemas.ExecutionParameters,
    schemas.Facts,
    schemas.Error,
    schemas.PlatformError,
]


def document(routes: Map, config: ServingConfig, version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of every route in `routes`."""
    _, defined = models_json_schema([(schema, "validation") for schema in _SCHEMAS], ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for rule in routes.iter_rules():
        for method in sorted((rule.methods or set()) & {"GET", "POST"}):
            paths.setdefault(rule.rule, {})[method.lower()] = _operation(rule.rule, method, config)
    description: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "bert-textclassification", "version": version},
        "paths": paths,
        "components": {"schemas": defined["$defs"]},
    }
    if config.api_token is not None:
        description["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        description["security"] = [{"token": []}]
    return description


def page(description: dict[str, Any]) -> Reply:
    """Return the page for people: every route, what it takes and gives, and every schema."""
    body = Environment(autoescape=True).from_string(_PAGE).render(api=description)
    policy = ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
    return Reply(200, body.encode(), [("Content-Type", "text/html; charset=utf-8"), policy])


def _operation(path: str, method: str, config: ServingConfig) -> dict[str, Any]:
    if method == "GET":
        return {"summary": _summary(path), "responses": _replies(path, _got(path, config), ("401",))}
    if path.endswith("/infer"):
        operation = _prediction(path, _body({JSON: "InferRequest"}), {JSON: "InferReply"}, "Open Inference Protocol")
        return operation | {"parameters": _query(schemas.InferParameters)}
    if path in ("/invocations", "/score"):
        inputs = {JSON: "Instances", JSON_LINES: None, CSV: None, TEXT: None}
        operation = _prediction(path, _body(inputs), inputs | {JSON: "InvocationReply"}, "Classify texts")
        return operation | {"parameters": _query(schemas.LineParameters)}
    summary = "Classify texts (Vertex AI, KServe v1)"
    operation = _prediction(path, _body({JSON: "Instances"}), {JSON: "Predictions"}, summary)
    return operation | {"parameters": _query(schemas.Parameters)}


def _prediction(path: str, body: dict[str, Any], reply: dict[str, str | None], summary: str) -> dict[str, Any]:
    return {"summary": summary, "requestBody": body, "responses": _replies(path, reply, tuple(REFUSALS))}


def _replies(path: str, reply: dict[str, str | None], refusals: tuple[str, ...]) -> dict[str, Any]:
    error = "PlatformError" if path.startswith(("/v1/", "/v2/")) else "Error"
    return {
        "200": {"description": "The answer", "content": _content(reply)},
        **{code: {"description": REFUSALS[code], "content": _content({JSON: error})} for code in refusals},
    }


def _body(types: dict[str, str | None]) -> dict[str, Any]:
    return {"required": True, "content": _content(types)}


def _content(types: dict[str, str | None]) -> dict[str, Any]:
    return {
        name: {"schema": {"$ref": REFERENCE.format(model=model)} if model else {"type": "string"}}
        for name, model in types.items()
    }


def _query(parameters: type[schemas.InferParameters]) -> list[dict[str, Any]]:
    """Describe the parameters that are taken from the address where the body has none."""
    properties = parameters.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "description": schema.pop("description", ""), "schema": schema}
        for name, schema in properties.items()
    ]


def _summary(path: str) -> str:
    known = {
        "/execution-parameters": "What suits SageMaker's batch transform",
        "/metrics": "Metrics for Prometheus",
        "/openapi.json": "This description",
        "/docs": "This description, for people",
    }
    return known.get(path, "Facts of the model" if path.startswith(("/v1", "/v2")) else "Health")


def _got(path: str, config: ServingConfig) -> dict[str, str | None]:
    known: dict[str, dict[str, str | None]] = {
        "/execution-parameters": {JSON: "ExecutionParameters"},
        "/metrics": {TEXT: None},
        "/docs": {"text/html": None},
    }
    if path in ("/", "/ping", "/livez", "/readyz", config.health_route):
        return {JSON: "Health"}
    return known.get(path, {JSON: "Facts"})


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ api.info.title }}</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; } pre { background: #f4f4f4; overflow: auto; padding: 1rem; }
td, th { padding: .2rem 1rem .2rem 0; text-align: left; vertical-align: top; }
</style></head><body>
<h1>{{ api.info.title }} {{ api.info.version }}</h1>
<p>The same for machines: <a href="openapi.json">openapi.json</a></p>
<pre>curl localhost:8080/invocations -H 'Content-Type: application/json' -d '{"instances": ["a text"]}'</pre>
<h2>Routes</h2>
<table><tr><th>Method<th>Path<th>What<th>Takes<th>Gives</tr>
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
