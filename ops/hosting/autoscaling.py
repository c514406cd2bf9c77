"""Target tracking: as many instances as the traffic needs, or the queue of an asynchronous endpoint."""

from typing import Any

from ops.aws import explained
from ops.hosting.configuration import VARIANT
from ops.hosting.settings import Autoscaling, EndpointSettings
from ops.plan import Step
from ops.sagemaker_settings import Clients
from ops.waiting import delete_if_there


def scalable_target(name: str) -> dict[str, str]:
    """Return what names the instances of an endpoint to Application Auto Scaling."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/{VARIANT}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def tracking_request(settings: EndpointSettings, scaling: Autoscaling) -> dict[str, Any]:
    """Return the request of PutScalingPolicy.

    Raises:
        ConfigurationError: no throughput is given, or the load test does not say it.
    """
    if settings.asynchronous:
        backlog = {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": settings.name}],
            "Statistic": "Average",
        }
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


def from_zero_request(settings: EndpointSettings, scaling: Autoscaling) -> dict[str, Any]:
    """Return the request of the step policy that starts the first instance: without one there is nothing to track."""
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
        "AlarmName": waiting_alarm_name(settings),
        "Namespace": "AWS/SageMaker",
        "MetricName": "HasBacklogWithoutCapacity",
        "Dimensions": [{"Name": "EndpointName", "Value": settings.name}],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
        "AlarmActions": [policy_arn],
        "Tags": settings.tag_list(),
    }


def waiting_alarm_name(settings: EndpointSettings) -> str:
    """Return the name of that alarm."""
    return f"{settings.name}-waiting"


def autoscaling_step(clients: Clients, settings: EndpointSettings, scaling: Autoscaling) -> Step:
    """Return the step that scales the instances.

    Raises:
        ConfigurationError: no throughput is given, or the load test does not say it.
    """
    target = {**scalable_target(settings.name), "MinCapacity": scaling.minimum, "MaxCapacity": scaling.maximum}
    policies = [tracking_request(settings, scaling)]
    if scaling.minimum == 0:
        policies.append(from_zero_request(settings, scaling))
    was_there: list[Any] = []

    def run() -> None:
        with explained(f"scale the endpoint {settings.name}"):
            was_there.extend(targets(clients, settings.name))
            clients.autoscaling.register_scalable_target(**target)
            arns = [clients.autoscaling.put_scaling_policy(**policy)["PolicyARN"] for policy in policies]
            if scaling.minimum == 0:
                clients.cloudwatch.put_metric_alarm(**waiting_alarm(settings, arns[-1]))

    def undo() -> None:
        if not was_there:
            stop_scaling(clients, settings)

    title = f"scale {settings.name} between {scaling.minimum} and {scaling.maximum} instances"
    return Step(title, run, {"RegisterScalableTarget": target, "PutScalingPolicy": policies}, undo=undo)


def stop_scaling(clients: Clients, settings: EndpointSettings) -> None:
    """Leave the number of instances as it is; the policies go with their target.

    Raises:
        CloudError: AWS refuses.
    """
    with explained(f"stop scaling {settings.name}"):
        if targets(clients, settings.name):
            delete_if_there(clients.autoscaling.deregister_scalable_target, **scalable_target(settings.name))
        clients.cloudwatch.delete_alarms(AlarmNames=[waiting_alarm_name(settings)])


def targets(clients: Clients, name: str) -> list[Any]:
    """Return what Application Auto Scaling knows of the endpoint's instances: one target, or none."""
    target = scalable_target(name)
    answer = clients.autoscaling.describe_scalable_targets(
        ServiceNamespace=target["ServiceNamespace"],
        ResourceIds=[target["ResourceId"]],
        ScalableDimension=target["ScalableDimension"],
    )
    return list(answer["ScalableTargets"])
