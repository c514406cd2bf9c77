"""Models and endpoints of Vertex AI, as messages of Google's library and as calls of it."""

from collections.abc import Callable
from typing import Any, Self

from pydantic import Field, model_validator

from ops.config_file import Settings
from ops.google_cloud import GoogleSettings, client, explained, found, library, wait
from ops.push import ImageSettings

_LABEL = "service"


class VertexSettings(Settings):
    """An endpoint of Vertex AI."""

    google: GoogleSettings
    image: ImageSettings
    name: str = Field(
        default="bert-textclassification", pattern=r"^[a-z][a-z0-9-]{0,48}[a-z0-9]$", description="Name of the endpoint"
    )
    service_account: str | None = Field(
        default=None, description="Account that it runs as; Google's own when not given"
    )
    machine: str = Field(default="n2-standard-2", pattern=r"^[a-z0-9-]+$", description="Machine type")
    smallest: int = Field(default=1, ge=1, le=1000, description="Fewest machines")
    largest: int = Field(default=4, ge=1, le=1000, description="Most machines")
    cpu_percent: int = Field(default=60, ge=10, le=95, description="Machines are added above this use of their cores")
    timeout_s: int = Field(default=3600, ge=60, description="Longest wait for one step, in seconds")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError(f"smallest={self.smallest} is more than largest={self.largest}")
        return self


def model_request(settings: VertexSettings, image: str) -> dict[str, Any]:
    """Return the model as Google's `aiplatform_v1.Model` takes it.

    It has no artifacts in Cloud Storage: they are in the image, which needs no library and no right to read them.
    """
    return {
        "display_name": settings.name,
        "labels": {_LABEL: settings.name},
        "container_spec": {
            "image_uri": image,
            "args": ["serve"],
            "env": [{"name": "MODEL_DIR", "value": "/opt/ml/model"}],
            "ports": [{"container_port": 8080}],
            "health_route": "/readyz",
            "predict_route": "/invocations",
            "deployment_timeout": {"seconds": settings.timeout_s},
        },
    }


def endpoint_request(settings: VertexSettings) -> dict[str, Any]:
    """Return the endpoint as Google's `aiplatform_v1.Endpoint` takes it."""
    return {
        "display_name": settings.name,
        "labels": {_LABEL: settings.name},
        "dedicated_endpoint_enabled": True,  # an address of its own: no neighbours, and bodies up to 10 MB
    }


def deployed_request(settings: VertexSettings, model: str) -> dict[str, Any]:
    """Return what is deployed as Google's `aiplatform_v1.DeployedModel` takes it."""
    metric = "aiplatform.googleapis.com/prediction/online/cpu/utilization"
    return {
        "model": model,
        "display_name": settings.name,
        "service_account": settings.service_account or "",
        "dedicated_resources": {
            "machine_spec": {"machine_type": settings.machine},
            "min_replica_count": settings.smallest,
            "max_replica_count": settings.largest,
            "autoscaling_metric_specs": [{"metric_name": metric, "target": settings.cpu_percent}],
        },
    }


class Vertex:
    """The models and the endpoint of one service; it connects when it is first asked."""

    def __init__(self, settings: VertexSettings) -> None:
        self._settings = settings
        self._name = f"{settings.google.parent}/endpoints/{settings.name}"

    def model_name(self, image: str) -> str:
        """Return the name of the model that is served by the image with this digest: one image, one model."""
        digest = image.rpartition(":")[2][:12]
        return f"{self._settings.google.parent}/models/{self._settings.name}-{digest}"

    def model(self, image: str) -> Any | None:
        """Return the model that was registered for `image`; None where there is none."""
        return found(self._models().get_model, self.model_name(image))

    def upload(self, image: str) -> None:
        """Register `image` as a model."""
        identity = self.model_name(image).rpartition("/")[2]
        request = {
            "parent": self._settings.google.parent,
            "model": model_request(self._settings, image),
            "model_id": identity,
        }
        self._finish(f"register the model {identity}", lambda: self._models().upload_model(request=request))

    def delete_model(self, name: str) -> None:
        """Delete one model."""
        if found(self._models().get_model, name) is not None:
            self._finish(f"delete the model {name}", lambda: self._models().delete_model(name=name))

    def delete_models(self) -> None:
        """Delete every model that was registered for this service."""
        query = {"parent": self._settings.google.parent, "filter": f"labels.{_LABEL}={self._settings.name}"}
        with explained("list the models"):
            names = [one.name for one in self._models().list_models(request=query)]
        for name in names:
            self.delete_model(name)

    def endpoint(self) -> Any | None:
        """Return the endpoint as it is; None where there is none."""
        return found(self._endpoints().get_endpoint, self._name)

    def create_endpoint(self) -> None:
        """Create the endpoint, without a model."""
        request = {
            "parent": self._settings.google.parent,
            "endpoint": endpoint_request(self._settings),
            "endpoint_id": self._settings.name,
        }
        self._finish(
            f"create the endpoint {self._settings.name}", lambda: self._endpoints().create_endpoint(request=request)
        )

    def delete_endpoint(self) -> None:
        """Delete the endpoint and all that is deployed to it."""
        endpoint = self.endpoint()
        if endpoint is None:
            return
        for one in endpoint.deployed_models:
            self._undeploy(one.id)
        self._finish(
            f"delete the endpoint {self._settings.name}", lambda: self._endpoints().delete_endpoint(name=self._name)
        )

    def answers(self, image: str) -> bool:
        """Return whether the model of `image` has all traffic, on machines as the settings want them."""
        endpoint = self.endpoint()
        wanted = deployed_request(self._settings, self.model_name(image))
        return endpoint is not None and any(
            dict(endpoint.traffic_split).get(one.id) == 100 and self._is(one, wanted)
            for one in endpoint.deployed_models
        )

    def deploy(self, image: str) -> None:
        """Deploy the model of `image`; the traffic moves to it when it is ready."""
        request = {
            "endpoint": self._name,
            "deployed_model": deployed_request(self._settings, self.model_name(image)),
            "traffic_split": {"0": 100},  # 0 stands for the one that is being deployed
        }
        self._finish(f"deploy to {self._settings.name}", lambda: self._endpoints().deploy_model(request=request))

    def undeploy_idle(self) -> None:
        """Undeploy every model that gets no traffic."""
        endpoint = self.endpoint()
        if endpoint is not None:
            busy = {identity for identity, percent in dict(endpoint.traffic_split).items() if percent}
            for one in endpoint.deployed_models:
                if one.id not in busy:
                    self._undeploy(one.id)

    def _undeploy(self, identity: str) -> None:
        request = {"endpoint": self._name, "deployed_model_id": identity}
        self._finish(f"undeploy {identity}", lambda: self._endpoints().undeploy_model(request=request))

    def _is(self, deployed: Any, wanted: dict[str, Any]) -> bool:
        """Tell the wanted one by what a user can change; Google adds fields of its own."""
        kind = type(deployed.dedicated_resources)
        return bool(
            deployed.model.partition("@")[0].rpartition("/")[2] == wanted["model"].rpartition("/")[2]
            and _scale(deployed.dedicated_resources) == _scale(kind(wanted["dedicated_resources"]))
        )

    def _finish(self, what: str, start: Callable[[], Any]) -> None:
        with explained(what):
            operation = start()
        wait(operation, what, self._settings.timeout_s)

    def _models(self) -> Any:
        return client(library("aiplatform_v1").ModelServiceClient, self._settings.google, self._host)

    def _endpoints(self) -> Any:
        return client(library("aiplatform_v1").EndpointServiceClient, self._settings.google, self._host)

    @property
    def _host(self) -> str:
        return f"{self._settings.google.region}-aiplatform.googleapis.com"


def _scale(resources: Any) -> tuple[str, int, int, list[int]]:
    targets = [one.target for one in resources.autoscaling_metric_specs]
    return resources.machine_spec.machine_type, resources.min_replica_count, resources.max_replica_count, targets
