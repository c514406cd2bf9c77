"""Serve on Cloud Run: push the image with the model in it, create or change the service, and wait until it is ready.

While a new revision does not become ready, the earlier one answers; what was there before is then put back.

    python -m ops.cloud_run                    # the plan
    python -m ops.cloud_run --yes
    python -m ops.cloud_run --delete --yes

Callers need the role `roles/run.invoker`, unless the settings make it public. Settings: ops/config/cloud_run.yaml.
"""

import sys
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from bert_textclassification.serving.config import ServingConfig
from ops.command import deploy_or_delete
from ops.config_file import Settings
from ops.google_cloud import GoogleSettings, client, explained, found, library, wait
from ops.plan import Step
from ops.push import ImageSettings, pinned, reference
from ops.push import steps as push

CONFIG = "ops/config/cloud_run.yaml"
HOST = "run.googleapis.com"


class CloudRunSettings(Settings):
    """A service on Cloud Run."""

    google: GoogleSettings
    image: ImageSettings
    name: str = Field(
        default="bert-textclassification", pattern=r"^[a-z][a-z0-9-]{0,47}[a-z0-9]$", description="Name of the service"
    )
    service_account: str = Field(
        pattern=r"^[^@\s]+@[^@\s]+\.gserviceaccount\.com$", description="Account that it runs as; it needs no role"
    )
    cores: Literal[1, 2, 4, 8] = Field(default=2, description="Cores of an instance")
    memory_mib: int = Field(default=1024, ge=512, le=32768, description="Memory of an instance, its files included")
    smallest: int = Field(default=1, ge=0, le=1000, description="Fewest instances; 0 is free, and slow at first")
    largest: int = Field(default=10, ge=1, le=1000, description="Most instances")
    concurrency: int = Field(default=32, ge=1, le=1000, description="Requests that one instance gets at a time")
    ingress: Literal["ALL", "INTERNAL_ONLY", "INTERNAL_LOAD_BALANCER"] = Field(
        default="ALL", description="Networks from which it can be reached"
    )
    public: bool = Field(default=False, description="Whether callers need no identity")
    timeout_s: int = Field(default=600, ge=10, description="Longest wait until it is ready, in seconds")


def main(argv: Sequence[str] | None = None) -> int:
    """Create, change or delete the service as the command line says; return the exit status."""
    return deploy_or_delete(argv, __doc__, CONFIG, CloudRunSettings, deployment, deletion, "delete the service instead")


def request(settings: CloudRunSettings, image: str) -> dict[str, Any]:
    """Return the service as Google's `run_v2.Service` takes it."""
    container = {
        "image": image,
        "args": ["serve"],
        "ports": [{"container_port": 8080}],
        "resources": {
            "limits": {"cpu": str(settings.cores), "memory": f"{settings.memory_mib}Mi"},
            "cpu_idle": True,
            "startup_cpu_boost": True,
        },
        "startup_probe": _probe("/readyz", period_seconds=2, failure_threshold=90),
        "liveness_probe": _probe("/livez", period_seconds=10, failure_threshold=6),
    }
    return {
        "ingress": f"INGRESS_TRAFFIC_{settings.ingress}",
        "invoker_iam_disabled": settings.public,
        "template": {
            "service_account": settings.service_account,
            "timeout": {"seconds": ServingConfig.of().proxy_timeout_s + 3},
            "max_instance_request_concurrency": settings.concurrency,
            "execution_environment": "EXECUTION_ENVIRONMENT_GEN2",
            "scaling": {"min_instance_count": settings.smallest, "max_instance_count": settings.largest},
            "containers": [container],
        },
        "traffic": [{"type_": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}],
    }


def deployment(settings: CloudRunSettings) -> list[Step]:
    """Return the steps that push the image and create or change the service.

    Raises:
        PushError: there is no model.
    """
    before: list[Any] = []

    def run() -> None:
        services = _services(settings)
        before.append(found(services.get_service, _name(settings)))
        service = _put(settings, request(settings, pinned(settings.image)), before[-1] is not None)
        print(f"  {service.uri}")

    def undo() -> None:
        for one in before:
            if one is None:
                _delete(settings)
            else:
                _put(settings, one, exists=True)

    planned = request(settings, reference(settings.image))
    step = Step(f"create or change the service {settings.name} in {settings.google.region}", run, planned, undo=undo)
    return [*push(settings.image, f"gcloud auth configure-docker {settings.image.host}"), step]


def deletion(settings: CloudRunSettings) -> list[Step]:
    """Return the step that deletes the service; the image stays in its registry."""
    return [
        Step(
            f"delete the service {settings.name} in {settings.google.region}",
            lambda: _delete(settings),
            is_done=lambda: found(_services(settings).get_service, _name(settings)) is None,
        )
    ]


def _put(settings: CloudRunSettings, wanted: Any, exists: bool) -> Any:
    run_v2 = library("run_v2")
    service, services = run_v2.Service(wanted), _services(settings)
    what = f"{'change' if exists else 'create'} the service {settings.name}"
    with explained(what):
        if exists:
            service.name, service.etag = _name(settings), ""  # whatever has become of it meanwhile
            operation = services.update_service(service=service)
        else:
            operation = services.create_service(
                parent=settings.google.parent, service=service, service_id=settings.name
            )
    return wait(operation, what, settings.timeout_s)


def _delete(settings: CloudRunSettings) -> None:
    services, what = _services(settings), f"delete the service {settings.name}"
    if found(services.get_service, _name(settings)) is not None:
        with explained(what):
            operation = services.delete_service(name=_name(settings))
        wait(operation, what, settings.timeout_s)


def _services(settings: CloudRunSettings) -> Any:
    return client(library("run_v2").ServicesClient, settings.google, HOST)


def _name(settings: CloudRunSettings) -> str:
    return f"{settings.google.parent}/services/{settings.name}"


def _probe(path: str, **times: int) -> dict[str, Any]:
    return {"http_get": {"path": path, "port": 8080}, "timeout_seconds": 2, **times}


if __name__ == "__main__":
    sys.exit(main())
