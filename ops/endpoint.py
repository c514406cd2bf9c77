"""Make, update or delete a SageMaker endpoint from a model archive in S3.

python -m ops.endpoint --config ops/config/endpoint.yaml            # print the plan
python -m ops.endpoint --config ops/config/endpoint.yaml --yes      # do it; again after a change: update
python -m ops.endpoint --config ops/config/serverless.yaml --yes    # or asynchronous.yaml
python -m ops.endpoint --config ops/config/endpoint.yaml --delete --yes
"""

import sys
from collections.abc import Sequence
from typing import Any

from ops import config_file, plan
from ops.aws import explained
from ops.hosting.alarms import alarm_requests, delete_alarms, put_alarms
from ops.hosting.autoscaling import autoscaling_step
from ops.hosting.configuration import configuration_request
from ops.hosting.creation import creation, unless
from ops.hosting.deletion import deletion_steps
from ops.hosting.deployment import Deployment
from ops.hosting.model import model_request
from ops.hosting.settings import EndpointSettings
from ops.hosting.unscaling import unscaling_step
from ops.plan import Step
from ops.sagemaker_settings import Clients


def steps(clients: Clients, settings: EndpointSettings) -> list[Step]:
    """Return the plan: model, configuration, alarms, an end to other scaling, endpoint, autoscaling.

    Raises:
        ConfigurationError: autoscaling has no measured throughput.
    """
    model = model_request(settings)
    configuration, alarms = configuration_request(settings, model["ModelName"]), alarm_requests(settings)
    deployment = Deployment(
        clients, settings, configuration["EndpointConfigName"], [alarm["AlarmName"] for alarm in alarms]
    )
    making = [
        creation(clients, "model", "ModelName", model, deployment.is_used),
        creation(clients, "endpoint_config", "EndpointConfigName", configuration, deployment.is_used),
        _alarms(clients, alarms, deployment),
        unscaling_step(clients, settings, deployment.is_used),
        deployment.step(),
    ]
    return [*making, *([autoscaling_step(clients, settings, settings.autoscaling)] if settings.autoscaling else [])]


def _alarms(clients: Clients, requests: list[dict[str, Any]], deployment: Deployment) -> Step:
    names = [request["AlarmName"] for request in requests]
    was_there: list[Any] = []

    def run() -> None:
        with explained(f"look at the alarms {', '.join(names)}"):
            was_there.extend(clients.cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"])
        put_alarms(clients.cloudwatch, requests)

    def undo() -> None:
        if not was_there:
            delete_alarms(clients.cloudwatch, requests)

    title = f"make the alarms {', '.join(names)}"
    return Step(title, run, {"PutMetricAlarm": requests}, undo=unless(deployment.is_used, undo))


def run(config: str, yes: bool, delete: bool) -> None:
    """Carry out what the file asks for.

    Raises:
        UserError: the settings are wrong, AWS refuses, or the endpoint does not come into service.
    """
    settings = config_file.read(config, EndpointSettings)
    clients = Clients(settings)
    plan.carry_out(deletion_steps(clients, settings) if delete else steps(clients, settings), yes)
    if yes and not delete:
        print(f"The endpoint {settings.name} is in service.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    given = plan.arguments(
        __doc__, "ops/config/endpoint.yaml", argv, delete="delete the endpoint and what was made for it"
    )
    return plan.exit_status(lambda: run(given.config, given.yes, given.delete))


if __name__ == "__main__":
    sys.exit(main())
