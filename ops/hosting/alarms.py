"""The alarms that roll an update back: on responses of status 5xx, and on latency."""

from collections.abc import Callable
from typing import Any

from ops.aws import explained
from ops.hosting.configuration import VARIANT
from ops.hosting.creation import unless
from ops.hosting.settings import EndpointSettings
from ops.plan import Step
from ops.sagemaker_settings import Clients


def alarm_requests(settings: EndpointSettings) -> list[dict[str, Any]]:
    """Return the requests of PutMetricAlarm."""
    rollout = settings.rollout
    errors = {"MetricName": "Invocation5XXErrors", "Statistic": "Sum", "Threshold": float(rollout.max_errors)}
    latency: dict[str, Any] = {"MetricName": "ModelLatency", "ExtendedStatistic": "p99", "Unit": "Microseconds"}
    latency["Threshold"] = rollout.max_latency_ms * 1000
    return [_alarm(settings, "errors", errors, 1), _alarm(settings, "latency", latency, 3)]


def _alarm(settings: EndpointSettings, name: str, metric: dict[str, Any], minutes: int) -> dict[str, Any]:
    dimensions = {"EndpointName": settings.name, "VariantName": VARIANT}
    return {
        "AlarmName": f"{settings.name}-{name}",
        "Namespace": "AWS/SageMaker",
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
        **metric,
        "Period": 60,
        "EvaluationPeriods": minutes,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
        "Tags": settings.tag_list(),
    }


def alarms_step(clients: Clients, requests: list[dict[str, Any]], is_used: Callable[[], bool]) -> Step:
    """Return the step that creates or changes the alarms; it is not undone where `is_used` says so."""
    names = [request["AlarmName"] for request in requests]
    title = f"make the alarms {', '.join(names)}"
    existing: list[Any] = []

    def run() -> None:
        with explained(title):
            existing.extend(clients.cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"])
            for request in requests:
                clients.cloudwatch.put_metric_alarm(**request)

    def undo() -> None:
        if not existing:
            delete_alarms(clients.cloudwatch, requests)

    return Step(title, run, {"PutMetricAlarm": requests}, undo=unless(is_used, undo))


def delete_alarms(cloudwatch: Any, requests: list[dict[str, Any]]) -> None:
    """Delete the alarms.

    Raises:
        CloudError: AWS refuses.
    """
    names = [request["AlarmName"] for request in requests]
    with explained(f"delete the alarms {', '.join(names)}"):
        cloudwatch.delete_alarms(AlarmNames=names)
