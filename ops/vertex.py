"""Serve on Vertex AI: push the image with the model in it, register it, create the endpoint, deploy, move the traffic.

The earlier model answers until the new one is ready; it is undeployed last.

    python -m ops.vertex                    # the plan
    python -m ops.vertex --yes
    python -m ops.vertex --delete --yes

Settings: ops/config/vertex.yaml.
"""

import sys
from collections.abc import Sequence

from ops.command import deploy_or_delete
from ops.plan import Step
from ops.push import pinned, reference
from ops.push import steps as push
from ops.vertex_client import Vertex, VertexSettings, deployed_request, endpoint_request, model_request

CONFIG = "ops/config/vertex.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Create, change or delete the endpoint as the command line says; return the exit status."""
    return deploy_or_delete(
        argv, __doc__, CONFIG, VertexSettings, deployment, deletion, "delete the endpoint and its models instead"
    )


def deployment(settings: VertexSettings) -> list[Step]:
    """Return the steps from the image to an endpoint with the new model alone.

    Raises:
        PushError: there is no model.
    """
    vertex, name = Vertex(settings), settings.name
    return [
        *push(settings.image, f"gcloud auth configure-docker {settings.image.host}"),
        Step(
            f"register the model {name}",
            lambda: vertex.upload(pinned(settings.image)),
            model_request(settings, reference(settings.image)),
            is_done=lambda: vertex.model(pinned(settings.image)) is not None,
            undo=lambda: vertex.delete_model(vertex.model_name(pinned(settings.image))),
        ),
        Step(
            f"create the endpoint {name} in {settings.google.region}",
            vertex.create_endpoint,
            endpoint_request(settings),
            is_done=lambda: vertex.endpoint() is not None,
            undo=vertex.delete_endpoint,
        ),
        Step(
            f"deploy the model to {name}, and give it all traffic",
            lambda: vertex.deploy(pinned(settings.image)),
            deployed_request(settings, f"{settings.google.parent}/models/..."),
            is_done=lambda: vertex.answers(pinned(settings.image)),
        ),
        Step("undeploy what gets no traffic any more", vertex.undeploy_idle),
    ]


def deletion(settings: VertexSettings) -> list[Step]:
    """Return the steps that delete the endpoint and the models that were registered for it; the images stay."""
    vertex = Vertex(settings)
    return [
        Step(
            f"delete the endpoint {settings.name} in {settings.google.region}",
            vertex.delete_endpoint,
            is_done=lambda: vertex.endpoint() is None,
        ),
        Step(f"delete the models of {settings.name}", vertex.delete_models),
    ]


if __name__ == "__main__":
    sys.exit(main())
