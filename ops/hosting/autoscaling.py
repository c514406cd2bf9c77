"""Autoscaling by target tracking: of the requests an instance gets, or of the queue of an asynchronous endpoint."""

from typing import Any

from ops.aws import explained
from ops.hosting.configuration import VARIANT
from ops.hosting.settings import Autoscaling, EndpointSettings
from ops.plan import Step
from ops.sagemaker_settings import Clients
from ops.waiting import delete_if_there


def scalable_target(name: str) -> dict[str, str]:
    """Return how Application Auto Scaling names the instances of an endpoint."""
    dimension = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
    return {**dimension, "ResourceId": f"endpoint/{name}/variant/{VARIANT}"}


def tracking_request(settings: EndpointSettings, scaling: Autoscaling) -> dict[str, Any]:
    """Return the request of PutScalingPolicy.

    Raises:
        ConfigurationError: no throughput is given, or the file of the load test has none.
    """
    if settings.asynchronous:
        backlog = _metric(settings, "ApproximateBacklogSizePerInstance")
        tracked: dict[str, Any] = {"TargetValue": scaling.backlog, "CustomizedMetricSpecification": backlog}
    else:
        invocations = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
        tracked = {"TargetValue": scaling.invocations_per_minute(), "PredefinedMetricSpecification": invocations}
    pauses = {"ScaleInCooldown": scaling.scale_in_s, "ScaleOutCooldown": scaling.scale_out_s}
    return {
        "PolicyName": f"{settings.name}-tracking",
        **scalable_target(settings.name),
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {**tracked, **pauses},
    }


def _metric(settings: EndpointSettings, name: str) -> dict[str, Any]:
    dimensions = [{"Name": "EndpointName", "Value": settings.name}]
    return {"Namespace": "AWS/SageMaker", "MetricName": name, "Dimensions": dimensions, "Statistic": "Average"}


def from_zero_request(settings: EndpointSettings, scaling: Autoscaling) -> dict[str, Any]:
    """Return the request of the step policy that starts the first instance: with none, there is nothing to track."""
    return {
        "PolicyName": from_zero_name(settings),
        **scalable_target(settings.name),
        "PolicyType": "StepScaling",
        "StepScalingPolicyConfiguration": {
            "AdjustmentType": "ChangeInCapacity",
            "MetricAggregationType": "Average",
            "Cooldown": scaling.scale_out_s,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
        },
    }


def from_zero_name(settings: EndpointSettings) -> str:
    """Return the name of that policy."""
    return f"{settings.name}-from-zero"


def waiting_alarm(settings: EndpointSettings, policy_arn: str) -> dict[str, Any]:
    """Return the request of PutMetricAlarm for requests that wait while there is no instance."""
    return {
        "AlarmName": _waiting_alarm_name(settings),
        **_metric(settings, "HasBacklogWithoutCapacity"),
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
        "AlarmActions": [policy_arn],
        "Tags": settings.tag_list(),
    }


def _waiting_alarm_name(settings: EndpointSettings) -> str:
    return f"{settings.name}-waiting"


def autoscaling_step(clients: Clients, settings: EndpointSettings, scaling: Autoscaling) -> Step:
    """Return the step that scales the instances.

    Raises:
        ConfigurationError: no throughput is given, or the file of the load test has none.
    """
    target = {**scalable_target(settings.name), "MinCapacity": scaling.minimum, "MaxCapacity": scaling.maximum}
    policies = [tracking_request(settings, scaling)]
    if scaling.minimum == 0:
        policies.append(from_zero_request(settings, scaling))
    existing: list[Any] = []

    def run() -> None:
        with explained(f"scale the endpoint {settings.name}"):
            existing.extend(targets(clients, settings.name))
            clients.autoscaling.register_scalable_target(**target)
            arns = [clients.autoscaling.put_scaling_policy(**policy)["PolicyARN"] for policy in policies]
            if scaling.minimum == 0:
                clients.cloudwatch.put_metric_alarm(**waiting_alarm(settings, arns[-1]))

    def undo() -> None:
        if not existing:
            stop_scaling(clients, settings)

    title = f"scale {settings.name} between {scaling.minimum} and {scaling.maximum} instances"
    return Step(title, run, {"RegisterScalableTarget": target, "PutScalingPolicy": policies}, undo=undo)


def stop_scaling(clients: Clients, settings: EndpointSettings) -> None:
    """Keep the current number of instances; AWS deletes the policies with their target.

    Raises:
        CloudError: AWS refuses.
    """
    with explained(f"stop scaling {settings.name}"):
        if targets(clients, settings.name):
            delete_if_there(clients.autoscaling.deregister_scalable_target, **scalable_target(settings.name))
        clients.cloudwatch.delete_alarms(AlarmNames=[_waiting_alarm_name(settings)])


def targets(clients: Clients, name: str) -> list[Any]:
    """Return the scalable target of an endpoint as a list of one, or an empty list."""
    target = scalable_target(name)
    resource = target.pop("ResourceId")
    return list(clients.autoscaling.describe_scalable_targets(**target, ResourceIds=[resource])["ScalableTargets"])
