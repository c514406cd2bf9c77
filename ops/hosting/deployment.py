"""The endpoint itself: created, or updated blue/green with rollback on an alarm; resumed after an interruption."""

from collections.abc import Mapping, Sequence
from typing import Any

from ops.aws import CloudError, explained
from ops.hosting.settings import EndpointSettings
from ops.plan import Step
from ops.sagemaker_settings import Clients
from ops.waiting import delete_if_there, found, is_busy, print_log_tail, until_settled

_SLACK_S = 1800  # for starting machines, beside the deployment itself


def deployment_config(settings: EndpointSettings, alarms: Sequence[str]) -> dict[str, Any]:
    """Return the `DeploymentConfig` of an update."""
    rollout = settings.rollout
    routing: dict[str, Any] = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": rollout.bake_s}
    if rollout.canary_percent and not settings.serverless:
        size = {"Type": "CAPACITY_PERCENT", "Value": rollout.canary_percent}
        routing = {**routing, "Type": "CANARY", "CanarySize": size}
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": rollout.keep_old_s,
            "MaximumExecutionTimeoutInSeconds": rollout.max_s,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]},
    }


class Deployment:
    """The change of an endpoint, or of none, to a given configuration."""

    def __init__(
        self, clients: Clients, settings: EndpointSettings, configuration: str, alarms: Sequence[str] = ()
    ) -> None:
        self._clients = clients
        self._settings = settings
        self._configuration = configuration
        self._deployment = deployment_config(settings, alarms)
        self._creates = False
        self._before: str | None = None

    def step(self) -> Step:
        """Return the step of the plan."""
        request: dict[str, Any] = {"EndpointName": self._settings.name, "EndpointConfigName": self._configuration}
        request |= {"DeploymentConfig (of an update)": self._deployment}
        title = f"create or update the endpoint {self._settings.name}"
        return Step(title, self._deploy, request, self._is_done, self._undo)

    def is_used(self) -> bool:
        """Whether the endpoint serves the configuration, or is being updated to it."""
        endpoint = self._look() or {}
        pending = endpoint.get("PendingDeploymentSummary", {})
        return self._configuration in (endpoint.get("EndpointConfigName"), pending.get("EndpointConfigName"))

    def _is_done(self) -> bool:
        return _serves(self._look(), self._configuration)

    def _deploy(self) -> None:
        endpoint = self._settled()  # AWS finishes a deployment even if this command was interrupted
        if endpoint is not None and endpoint["EndpointStatus"] == "Failed":
            self.delete()  # AWS allows nothing else with a failed endpoint
            endpoint = None
        if endpoint is None:
            self._creates = True
            self._create()
        elif endpoint["EndpointConfigName"] != self._configuration:
            self._before = endpoint["EndpointConfigName"]
            self._update(self._configuration)
        self._require_served(self._settled())

    def _create(self) -> None:
        with explained(f"create the endpoint {self._settings.name}"):
            names = {"EndpointName": self._settings.name, "EndpointConfigName": self._configuration}
            self._clients.sagemaker.create_endpoint(**names, Tags=self._settings.tag_list())

    def _update(self, configuration: str) -> None:
        retained: dict[str, Any] = {}
        if self._settings.autoscaling:  # keep the number of instances that autoscaling has chosen
            excluded = [{"VariantPropertyType": name} for name in ("DesiredWeight", "DataCaptureConfig")]
            retained = {"RetainAllVariantProperties": True, "ExcludeRetainedVariantProperties": excluded}
        with explained(f"update the endpoint {self._settings.name}"):
            names = {"EndpointName": self._settings.name, "EndpointConfigName": configuration}
            self._clients.sagemaker.update_endpoint(**names, DeploymentConfig=self._deployment, **retained)

    def _require_served(self, endpoint: Mapping[str, Any] | None) -> None:
        if _serves(endpoint, self._configuration):
            return
        name = self._settings.name
        print_log_tail(self._clients.logs, f"/aws/sagemaker/Endpoints/{name}")
        if endpoint is None:
            raise CloudError(f"The endpoint {name} was deleted during the deployment; run the same command again.")
        status, reason = endpoint["EndpointStatus"], endpoint.get("FailureReason", "AWS gives no reason").rstrip(".")
        if status == "InService":
            raise CloudError(f"The update of {name} was rolled back: {reason}; the earlier configuration still serves.")
        remedy = "see its log above, then change `image`, `model_data`, `environment` or `instances`"
        raise CloudError(f"The endpoint {name} is {status}: {reason}; {remedy}.")

    def _undo(self) -> None:
        endpoint = self._look()
        if endpoint is None:
            return
        if is_busy(status := endpoint["EndpointStatus"]):  # AWS refuses any change until then
            print(f"   {self._settings.name} is still {status}; run the same command again to continue.")
        elif self._creates:
            self.delete()
        elif self._before and _serves(endpoint, self._configuration):
            self._update(self._before)

    def delete(self) -> None:
        """Delete the endpoint and wait until it is gone.

        Raises:
            CloudError: AWS refuses, for example while the endpoint is created or updated.
        """
        delete_if_there(self._clients.sagemaker.delete_endpoint, EndpointName=self._settings.name)
        self._settled()

    def _look(self) -> Mapping[str, Any] | None:
        return found(self._clients.sagemaker.describe_endpoint, EndpointName=self._settings.name)

    def _settled(self) -> Mapping[str, Any] | None:
        settings, timeout_s = self._settings, self._settings.rollout.max_s + _SLACK_S
        title = f"The endpoint {settings.name}"
        return until_settled(self._look, "EndpointStatus", title, settings.poll_seconds, timeout_s)


def _serves(endpoint: Mapping[str, Any] | None, configuration: str) -> bool:
    names = (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) if endpoint else None
    return names == ("InService", configuration)
