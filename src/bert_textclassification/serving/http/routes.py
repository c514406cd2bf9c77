"""The route table: what each path and method answers, takes and gives. The router, OpenAPI and metrics read it."""

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
        path: as the router has it.
        handler: method of `Service` that answers.
        summary: a line for OpenAPI.
        gives: bodies of the reply.
        takes: bodies of the request; None for GET.
        parameters: what may stand in the address.
        is_open: whether it answers without the server's token.
    """

    path: str
    handler: str
    summary: str
    gives: Bodies
    takes: Bodies | None = None
    parameters: type[schemas.InferParameters] | None = None
    is_open: bool = False

    @property
    def method(self) -> Literal["GET", "POST"]:
        """POST for a route that takes a body."""
        return "POST" if self.takes else "GET"


def routes(config: ServingConfig, version: str) -> list[Route]:
    """Return the routes of every platform; where a platform's path is one of the others, the other one counts.

    Args:
        config: has the paths that a platform sets, and the model's name.
        version: of the model.
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
    batch = "What suits SageMaker's batch transform"
    return [
        Route("/execution-parameters", "execution_parameters", batch, {JSON: schemas.ExecutionParameters}),
        Route("/metrics", "metrics_text", "Metrics for Prometheus", {TEXT: None}),
        Route("/openapi.json", "openapi", "This description", {JSON: schemas.Facts}),
        Route("/docs", "docs", "This description, for people", {HTML: None}),
    ]


def _model(name: str, version: str) -> list[Route]:
    """Return what KServe asks about the model, in both versions of its protocol."""
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
    return [Route(path, handler, "Facts of the model", {JSON: schemas.Facts}) for path, handler in handlers.items()]


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
