"""The alarms that take an update back: answers of status 5xx, and latency."""

from typing import Any

from ops.aws import explained
from ops.hosting.configuration import VARIANT
from ops.hosting.settings import EndpointSettings


def alarm_requests(settings: EndpointSettings) -> list[dict[str, Any]]:
    """Return the requests of PutMetricAlarm."""
    rollout = settings.rollout
    errors = {"MetricName": "Invocation5XXErrors", "Statistic": "Sum", "Threshold": float(rollout.max_errors)}
    latency = {
        "MetricName": "ModelLatency",
        "ExtendedStatistic": "p99",
        "Unit": "Microseconds",
        "Threshold": rollout.max_latency_ms * 1000,
    }
    return [_alarm(settings, "errors", errors, 1), _alarm(settings, "latency", latency, 3)]


def _alarm(settings: EndpointSettings, name: str, metric: dict[str, Any], minutes: int) -> dict[str, Any]:
    return {
        "AlarmName": f"{settings.name}-{name}",
        "Namespace": "AWS/SageMaker",
        "Dimensions": [
            {"Name": "EndpointName", "Value": settings.name},
            {"Name": "VariantName", "Value": VARIANT},
        ],
        **metric,
        "Period": 60,
        "EvaluationPeriods": minutes,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
        "Tags": settings.tag_list(),
    }


def put_alarms(cloudwatch: Any, requests: list[dict[str, Any]]) -> None:
    """Make the alarms, or change those that are there.

    Raises:
        CloudError: AWS refuses one.
    """
    for request in requests:
        with explained(f"make the alarm {request['AlarmName']}"):
            cloudwatch.put_metric_alarm(**request)


def delete_alarms(cloudwatch: Any, requests: list[dict[str, Any]]) -> None:
    """Delete the alarms.

    Raises:
        CloudError: AWS refuses.
    """
    names = [request["AlarmName"] for request in requests]
    with explained(f"delete the alarms {', '.join(names)}"):
        cloudwatch.delete_alarms(AlarmNames=names)
