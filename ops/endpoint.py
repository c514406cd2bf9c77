"""Create, update or delete a SageMaker endpoint from a model archive in S3.

python -m ops.endpoint --config ops/config/endpoint.yaml            # print the plan
python -m ops.endpoint --config ops/config/endpoint.yaml --yes      # do it; again after a change: update
python -m ops.endpoint --config ops/config/serverless.yaml --yes    # or asynchronous.yaml
python -m ops.endpoint --config ops/config/endpoint.yaml --delete --yes
"""

import sys
from collections.abc import Sequence
from functools import partial

from ops import config_file, plan
from ops.aws import explained
from ops.hosting.alarms import alarm_requests, alarms_step, delete_alarms
from ops.hosting.autoscaling import autoscaling_step, stop_scaling
from ops.hosting.configuration import configuration_request, model_request
from ops.hosting.creation import creation
from ops.hosting.deployment import Deployment
from ops.hosting.settings import EndpointSettings
from ops.hosting.unscaling import unscaling_step
from ops.plan import Step
from ops.sagemaker_settings import Clients, has_digest
from ops.waiting import delete_if_there

MODEL, CONFIGURATION = ("model", "ModelName"), ("endpoint_config", "EndpointConfigName")  # as the API names them


def steps(clients: Clients, settings: EndpointSettings) -> list[Step]:
    """Return the plan: model, configuration, alarms, end of conflicting scaling, endpoint, autoscaling.

    Raises:
        ConfigurationError: autoscaling has no measured throughput.
    """
    model = model_request(settings)
    configuration, alarms = configuration_request(settings, model["ModelName"]), alarm_requests(settings)
    names = [alarm["AlarmName"] for alarm in alarms]
    deployment = Deployment(clients, settings, configuration["EndpointConfigName"], names)
    scaling = settings.autoscaling
    return [
        creation(clients, *MODEL, model, deployment.is_used),
        creation(clients, *CONFIGURATION, configuration, deployment.is_used),
        alarms_step(clients, alarms, deployment.is_used),
        unscaling_step(clients, settings, deployment.is_used),
        deployment.step(),
        *([autoscaling_step(clients, settings, scaling)] if scaling else []),
    ]


def deletion_steps(clients: Clients, settings: EndpointSettings) -> list[Step]:
    """Return the steps: scaling first, because it would restart instances; models last, because they are in use."""
    name = settings.name
    deployment = Deployment(clients, settings, configuration="")
    return [
        Step(f"stop scaling {name}", partial(stop_scaling, clients, settings)),
        Step(f"delete the endpoint {name}", deployment.delete),
        Step(f"delete the configurations of {name}", partial(_delete_all, clients, name, *CONFIGURATION)),
        Step(f"delete the models of {name}", partial(_delete_all, clients, name, *MODEL)),
        Step(f"delete the alarms of {name}", lambda: delete_alarms(clients.cloudwatch, alarm_requests(settings))),
    ]


def _delete_all(clients: Clients, name: str, kind: str, key: str) -> None:
    """Delete every model or configuration that was made for the endpoint `name`."""
    with explained(f"list the resources of {name}"):
        pages = list(clients.sagemaker.get_paginator(f"list_{kind}s").paginate(NameContains=f"{name}-"))
    for resource in (entry[key] for page in pages for entry in page[f"{key.removesuffix('Name')}s"]):
        if has_digest(resource, name):
            delete_if_there(getattr(clients.sagemaker, f"delete_{kind}"), **{key: resource})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    help_text = "delete the endpoint and the resources that were made for it"
    given = plan.arguments(__doc__, "ops/config/endpoint.yaml", argv, delete=help_text)

    def run() -> None:
        settings = config_file.read(given.config, EndpointSettings)
        clients = Clients(settings)
        plan.carry_out((deletion_steps if given.delete else steps)(clients, settings), given.yes)
        if given.yes and not given.delete:
            print(f"The endpoint {settings.name} is in service.")

    return plan.exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
