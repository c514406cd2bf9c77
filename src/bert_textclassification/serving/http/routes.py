"""The route table: handler and body types of each path and method. The router, OpenAPI and metrics read it."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pydantic import BaseModel

from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.protocols import schemas
from bert_textclassification.serving.protocols.media_types import JSON, TEXT, TEXT_FORMATS

Bodies = Mapping[str, type[BaseModel] | None]  # by media type: the schema, None for text
HTML = "text/html"


class Route(NamedTuple):
    """One path and method.

    Attributes:
        path: the router's pattern.
        handler: method of `Service`, without its leading underscore.
        summary: one line for OpenAPI.
        response_bodies: media types of the response.
        request_bodies: media types of the request; None for GET.
        parameters: schema of the query parameters.
        is_open: whether the route works without the server's token.
    """

    path: str
    handler: str
    summary: str
    response_bodies: Bodies
    request_bodies: Bodies | None = None
    parameters: type[schemas.InferParameters] | None = None
    is_open: bool = False

    @property
    def method(self) -> Literal["GET", "POST"]:
        """POST for a route with a request body."""
        return "POST" if self.request_bodies else "GET"


def routes(config: ServingConfig, version: str) -> list[Route]:
    """Return the routes of every platform; of two routes with the same path and method, the later one wins.

    Args:
        config: the paths that a platform sets, and the model's name.
        version: the model's version.
    """
    table = [*_health(config), *_facts(), *_model(config.model_name, version), *_predictions(config, version)]
    is_open = {route.path for route in table if route.is_open}
    last = {(route.path, route.method): route for route in table}
    return [route._replace(is_open=route.method == "GET" and route.path in is_open) for route in last.values()]


def _health(config: ServingConfig) -> list[Route]:
    ready = [
        Route(path, "ready", "Health", {JSON: schemas.Health}, is_open=True)
        for path in (config.health_route, "/", "/ping", "/livez", "/readyz")
    ]
    return [
        *ready,
        Route("/v2/health/live", "v2_live", "Health", {JSON: schemas.Facts}, is_open=True),
        Route("/v2/health/ready", "v2_ready", "Health", {JSON: schemas.Facts}, is_open=True),
    ]


def _facts() -> list[Route]:
    batch = "Settings for SageMaker's batch transform"
    return [
        Route("/execution-parameters", "execution_parameters", batch, {JSON: schemas.ExecutionParameters}),
        Route("/metrics", "metrics_text", "Metrics for Prometheus", {TEXT: None}),
        Route("/openapi.json", "openapi", "This description", {JSON: schemas.Facts}),
        Route("/docs", "docs", "This description as a web page", {HTML: None}),
    ]


def _model(name: str, version: str) -> list[Route]:
    """Return the routes of the model's metadata, in both versions of KServe's protocol."""
    model, versioned = f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"
    handlers = {
        "/v1/models": "v1_models",
        f"/v1/models/{name}": "model_is_ready",
        "/v2": "v2_server",
        model: "v2_model",
        versioned: "v2_model",
        f"{model}/ready": "model_is_ready",
        f"{versioned}/ready": "model_is_ready",
    }
    return [Route(path, handler, "Metadata of the model", {JSON: schemas.Facts}) for path, handler in handlers.items()]


def _predictions(config: ServingConfig, version: str) -> list[Route]:
    native: Bodies = {**dict.fromkeys(TEXT_FORMATS), JSON: schemas.Instances}
    replies: Bodies = {**native, JSON: schemas.InvocationReply}
    name = config.model_name
    plain = "Classify texts (Vertex AI, KServe v1)"
    v2 = (f"/v2/models/{name}/infer", f"/v2/models/{name}/versions/{version}/infer")
    return [
        *(
            Route(path, "predict", plain, {JSON: schemas.Predictions}, {JSON: schemas.Instances}, schemas.Parameters)
            for path in (config.predict_route, f"/v1/models/{name}:predict")
        ),
        *(
            Route(path, "infer", "Open Inference Protocol", {JSON: schemas.InferReply}, {JSON: schemas.InferRequest},
                  schemas.InferParameters)
            for path in v2
        ),
        *(
            Route(path, "invocations", "Classify texts", replies, native, schemas.LineParameters)
            for path in ("/invocations", "/score")
        ),
    ]  # fmt: skip
