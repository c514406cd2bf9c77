"""Serve on Azure ML: push the image, register the model, create the endpoint, deploy, and move the traffic.

The earlier deployment answers until the new one is ready; it is deleted last. What a step made is undone on a failure.

    python -m ops.azure                    # the plan
    python -m ops.azure --yes
    python -m ops.azure --delete --yes

Settings: ops/config/azure.yaml. The requests are the YAML files of `az ml`, so that they can be used with it, too.
"""

import hashlib
import sys
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from ops.azure_client import AzureSettings, Workspace
from ops.command import deploy_or_delete
from ops.config_file import Settings
from ops.plan import Step
from ops.push import ImageSettings, fingerprint, pinned, reference
from ops.push import steps as push

CONFIG = "ops/config/azure.yaml"


class AzureEndpointSettings(Settings):
    """A managed online endpoint of Azure ML."""

    azure: AzureSettings
    image: ImageSettings
    name: str = Field(
        default="bert-textclassification", pattern=r"^[a-z][a-z0-9-]{1,30}[a-z0-9]$", description="Name of the endpoint"
    )
    instance_type: str = Field(default="Standard_F4s_v2", pattern=r"^Standard_\w+$", description="Machine type")
    instances: int = Field(default=2, ge=1, le=50, description="Machines; two, so that one may fail")
    concurrency: int = Field(default=64, ge=1, le=1000, description="Requests that one machine gets at a time")
    request_timeout_ms: int = Field(default=5000, ge=100, le=180000, description="Longest time for one request")
    auth_mode: Literal["aad_token", "key"] = Field(
        default="aad_token", description="Callers show who they are to Entra ID, or send the endpoint's key"
    )
    public: bool = Field(default=True, description="Whether it can be reached from outside of the private network")
    timeout_s: int = Field(default=3600, ge=60, description="Longest wait for one step, in seconds")


def main(argv: Sequence[str] | None = None) -> int:
    """Create, change or delete the endpoint as the command line says; return the exit status."""
    return deploy_or_delete(
        argv,
        __doc__,
        CONFIG,
        AzureEndpointSettings,
        deployment,
        deletion,
        "delete the endpoint instead; the registered models stay",
    )


def model_request(settings: AzureEndpointSettings) -> dict[str, Any]:
    """Return what `az ml model create` takes; the version is the hash of the model, so that it is registered once."""
    return {
        "name": settings.name,
        "version": _version(settings),
        "type": "custom_model",
        "path": str(settings.image.model),
    }


def endpoint_request(settings: AzureEndpointSettings) -> dict[str, Any]:
    """Return what `az ml online-endpoint create` takes."""
    return {
        "name": settings.name,
        "auth_mode": settings.auth_mode,
        "public_network_access": "enabled" if settings.public else "disabled",
    }


def deployment_request(settings: AzureEndpointSettings, image: str) -> dict[str, Any]:
    """Return what `az ml online-deployment create` takes; the name tells the image and the model."""
    routes = {"liveness_route": "/livez", "readiness_route": "/readyz", "scoring_route": "/score"}
    content = hashlib.sha256(f"{image} {_version(settings)}".encode()).hexdigest()
    probe = {"initial_delay": 5, "period": 10, "timeout": 2}
    return {
        "name": f"d{content[:12]}",
        "endpoint_name": settings.name,
        "model": f"azureml:{settings.name}:{_version(settings)}",
        "environment": {
            "image": image,
            "inference_config": {name: {"path": path, "port": 8080} for name, path in routes.items()},
        },
        "instance_type": settings.instance_type,
        "instance_count": settings.instances,
        "request_settings": {
            "request_timeout_ms": settings.request_timeout_ms,
            "max_concurrent_requests_per_instance": settings.concurrency,
        },
        "readiness_probe": {**probe, "failure_threshold": 30},
        "liveness_probe": {**probe, "failure_threshold": 30},
    }


def deployment(settings: AzureEndpointSettings) -> list[Step]:
    """Return the steps from image and model to an endpoint with the new deployment alone.

    Raises:
        PushError: there is no model.
    """
    workspace, name = Workspace(settings.azure, settings.timeout_s), settings.name
    model, endpoint = model_request(settings), endpoint_request(settings)
    registry = settings.image.repository.partition(".")[0]
    return [
        *push(settings.image, f"az acr login --name {registry}", with_model=False),
        Step(
            f"register the model {name}:{model['version']}",
            lambda: workspace.register(model),
            model,
            is_done=lambda: workspace.has_model(name, model["version"]),
        ),
        Step(
            f"create the endpoint {name}",
            lambda: workspace.create_endpoint(endpoint),
            endpoint,
            is_done=lambda: workspace.endpoint(name) is not None,
            undo=lambda: workspace.delete_endpoint(name),
        ),
        *_deployment_steps(settings, workspace),
    ]


def _deployment_steps(settings: AzureEndpointSettings, workspace: Workspace) -> list[Step]:
    earlier: list[set[str]] = []
    traffic: list[dict[str, int]] = []

    def wanted() -> dict[str, Any]:
        return deployment_request(settings, pinned(settings.image, with_model=False))

    def deploy() -> None:
        earlier.append(workspace.deployments(settings.name))
        workspace.deploy(wanted())

    def undeploy() -> None:
        if earlier and wanted()["name"] not in earlier[-1]:
            workspace.undeploy(settings.name, {wanted()["name"]})

    def move() -> None:
        traffic.append(workspace.traffic(settings.name))
        workspace.set_traffic(settings.name, {wanted()["name"]: 100})

    def move_back() -> None:
        for one in traffic:
            workspace.set_traffic(settings.name, one)

    def clean() -> None:
        # From here on there is no way back: what would answer again is being deleted.
        traffic.clear()
        earlier.clear()
        workspace.undeploy(settings.name, workspace.deployments(settings.name) - {wanted()["name"]})

    planned = deployment_request(settings, reference(settings.image, with_model=False))
    return [
        Step(f"deploy to {settings.name}", deploy, planned, undo=undeploy),
        Step("give the new deployment all traffic", move, undo=move_back),
        Step("delete the earlier deployments", clean),
    ]


def deletion(settings: AzureEndpointSettings) -> list[Step]:
    """Return the step that deletes the endpoint and its deployments; images and registered models stay."""
    workspace, name = Workspace(settings.azure, settings.timeout_s), settings.name
    return [
        Step(
            f"delete the endpoint {name}",
            lambda: workspace.delete_endpoint(name),
            is_done=lambda: workspace.endpoint(name) is None,
        )
    ]


def _version(settings: AzureEndpointSettings) -> str:
    return fingerprint(settings.image.model)[:12]


if __name__ == "__main__":
    sys.exit(main())
