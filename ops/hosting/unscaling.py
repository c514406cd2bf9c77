"""End the scaling that an endpoint has where it is in the way of what the file says, and bring it back on a failure."""

from collections.abc import Callable, Mapping
from typing import Any

from ops.aws import explained
from ops.hosting.autoscaling import from_zero_name, scalable_target, stop_scaling, targets, waiting_alarm
from ops.hosting.creation import unless
from ops.hosting.settings import EndpointSettings
from ops.plan import Step
from ops.sagemaker_settings import Clients
from ops.waiting import found


def unscaling_step(clients: Clients, settings: EndpointSettings, is_used: Callable[[], bool]) -> Step:
    """Return the step before an update that the scaling would refuse or outlive.

    AWS refuses another instance type while instances are scaled; without the section `autoscaling` their number is to
    stay; and a policy that starts from no instance goes where there is always one. The last step of the plan scales
    anew. It is undone unless `is_used` says that the endpoint is on its way to what the file says.
    """
    targets_before: list[Mapping[str, Any]] = []
    policies_before: list[Mapping[str, Any]] = []

    def is_done() -> bool:
        with explained(f"look at the scaling of {settings.name}"):
            return not targets(clients, settings.name) or not _is_in_the_way(clients, settings)

    def run() -> None:
        with explained(f"look at the scaling of {settings.name}"):
            targets_before.extend(targets(clients, settings.name))
            policies_before.extend(_policies(clients, settings.name))
        stop_scaling(clients, settings)

    def undo() -> None:
        with explained(f"scale {settings.name} again"):
            _scale_again(clients, settings, targets_before, policies_before)

    return Step(
        f"stop the scaling of {settings.name} that does not go with this file",
        run,
        is_done=is_done,
        undo=unless(is_used, undo),
    )


def _is_in_the_way(clients: Clients, settings: EndpointSettings) -> bool:
    if settings.autoscaling is None or _instance_type(clients, settings.name) != settings.instances.type:
        return True
    names = {policy["PolicyName"] for policy in _policies(clients, settings.name)}
    return settings.autoscaling.minimum > 0 and from_zero_name(settings) in names


def _instance_type(clients: Clients, name: str) -> str | None:
    """Return the type of the instances that serve; None where there are none."""
    serving = found(clients.sagemaker.describe_endpoint, EndpointName=name)
    if serving is None:
        return None
    configuration = clients.sagemaker.describe_endpoint_config(EndpointConfigName=serving["EndpointConfigName"])
    found_type: str | None = configuration["ProductionVariants"][0].get("InstanceType")
    return found_type


def _policies(clients: Clients, name: str) -> list[Mapping[str, Any]]:
    return list(clients.autoscaling.describe_scaling_policies(**scalable_target(name))["ScalingPolicies"])


def _scale_again(
    clients: Clients,
    settings: EndpointSettings,
    targets_before: list[Mapping[str, Any]],
    policies_before: list[Mapping[str, Any]],
) -> None:
    target = scalable_target(settings.name)
    for one in targets_before:
        bounds = {name: one[name] for name in ("MinCapacity", "MaxCapacity")}
        clients.autoscaling.register_scalable_target(**target, **bounds)
    for policy in policies_before:
        kept = {name: value for name, value in policy.items() if name in ("PolicyName", "PolicyType")}
        kept |= {name: value for name, value in policy.items() if name.endswith("PolicyConfiguration")}
        arn = clients.autoscaling.put_scaling_policy(**target, **kept)["PolicyARN"]
        if policy["PolicyName"] == from_zero_name(settings):
            clients.cloudwatch.put_metric_alarm(**waiting_alarm(settings, arn))
