"""Stop autoscaling that conflicts with the settings before an update, and restore it if the update fails."""

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
    """Return the step before an update. The last step of the plan scales again.

    There are three conflicts: AWS refuses another instance type while instances are scaled; without the section
    `autoscaling` their number must stay; and the policy that starts from no instance must go where there is always one.
    The step is not undone where `is_used` says that the endpoint has the new configuration, or is on its way to it.
    """
    old_targets: list[Mapping[str, Any]] = []
    old_policies: list[Mapping[str, Any]] = []

    def is_done() -> bool:
        with explained(f"look at the scaling of {settings.name}"):
            return not targets(clients, settings.name) or not _conflicts(clients, settings)

    def run() -> None:
        with explained(f"look at the scaling of {settings.name}"):
            old_targets.extend(targets(clients, settings.name))
            old_policies.extend(_policies(clients, settings.name))
        stop_scaling(clients, settings)

    def undo() -> None:
        with explained(f"scale {settings.name} again"):
            _restore(clients, settings, old_targets, old_policies)

    title = f"stop the scaling of {settings.name} that conflicts with the settings"
    return Step(title, run, is_done=is_done, undo=unless(is_used, undo))


def _conflicts(clients: Clients, settings: EndpointSettings) -> bool:
    if settings.autoscaling is None or _instance_type(clients, settings.name) != settings.instances.type:
        return True
    names = {policy["PolicyName"] for policy in _policies(clients, settings.name)}
    return settings.autoscaling.minimum > 0 and from_zero_name(settings) in names


def _instance_type(clients: Clients, name: str) -> Any:
    """Return the current instance type; None where there is no endpoint or no instance."""
    endpoint = found(clients.sagemaker.describe_endpoint, EndpointName=name)
    if endpoint is None:
        return None
    configuration = clients.sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    return configuration["ProductionVariants"][0].get("InstanceType")


def _policies(clients: Clients, name: str) -> list[Mapping[str, Any]]:
    return list(clients.autoscaling.describe_scaling_policies(**scalable_target(name))["ScalingPolicies"])


def _restore(
    clients: Clients,
    settings: EndpointSettings,
    old_targets: list[Mapping[str, Any]],
    old_policies: list[Mapping[str, Any]],
) -> None:
    target = scalable_target(settings.name)
    for old in old_targets:
        bounds = {name: old[name] for name in ("MinCapacity", "MaxCapacity")}
        clients.autoscaling.register_scalable_target(**target, **bounds)
    for policy in old_policies:
        kept = {key: value for key, value in policy.items() if key in ("PolicyName", "PolicyType")}
        kept |= {key: value for key, value in policy.items() if key.endswith("PolicyConfiguration")}
        arn = clients.autoscaling.put_scaling_policy(**target, **kept)["PolicyARN"]
        if policy["PolicyName"] == from_zero_name(settings):
            clients.cloudwatch.put_metric_alarm(**waiting_alarm(settings, arn))
