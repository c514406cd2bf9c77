"""Remove an endpoint and everything that was made for it."""

from collections.abc import Iterable
from functools import partial

from ops.aws import explained
from ops.hosting.alarms import alarm_requests, delete_alarms
from ops.hosting.autoscaling import stop_scaling
from ops.hosting.deployment import Deployment
from ops.hosting.settings import EndpointSettings
from ops.plan import Step
from ops.sagemaker_settings import Clients, has_digest
from ops.waiting import delete_if_there


def deletion_steps(clients: Clients, settings: EndpointSettings) -> list[Step]:
    """Return the steps: scaling first, which would bring instances back, the model last, which is needed longest."""
    name = settings.name
    deployment = Deployment(clients, settings, configuration="")
    return [
        Step(f"stop scaling {name}", partial(stop_scaling, clients, settings)),
        Step(f"delete the endpoint {name}", deployment.delete),
        Step(f"delete the configurations of {name}", partial(_delete_configurations, clients, name)),
        Step(f"delete the models of {name}", partial(_delete_models, clients, name)),
        Step(f"delete the alarms of {name}", lambda: delete_alarms(clients.cloudwatch, alarm_requests(settings))),
    ]


def _delete_configurations(clients: Clients, name: str) -> None:
    for one in _named(clients, "list_endpoint_configs", "EndpointConfigs", "EndpointConfigName", name):
        delete_if_there(clients.sagemaker.delete_endpoint_config, EndpointConfigName=one)


def _delete_models(clients: Clients, name: str) -> None:
    for one in _named(clients, "list_models", "Models", "ModelName", name):
        delete_if_there(clients.sagemaker.delete_model, ModelName=one)


def _named(clients: Clients, operation: str, listed: str, key: str, name: str) -> Iterable[str]:
    with explained(f"list what belongs to {name}"):
        pages = list(clients.sagemaker.get_paginator(operation).paginate(NameContains=f"{name}-"))
    return [one[key] for page in pages for one in page[listed] if has_digest(one[key], name)]
