"""The endpoint itself: created, or updated blue/green and taken back on an alarm; an interrupted one goes on."""

from collections.abc import Mapping, Sequence
from typing import Any

from ops.aws import CloudError, explained
from ops.hosting.settings import EndpointSettings
from ops.plan import Step
from ops.sagemaker_settings import Clients
from ops.waiting import delete_if_there, found, is_busy, print_log_tail, until_settled

_SLACK_S = 1800  # what providing machines may take beside the deployment


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
    """From what serves now, if anything does, to an endpoint with a given configuration."""

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
        request = {
            "EndpointName": self._settings.name,
            "EndpointConfigName": self._configuration,
            "DeploymentConfig (of an update)": self._deployment,
        }
        title = f"create or update the endpoint {self._settings.name}"
        return Step(title, self._deploy, request, self._is_done, self._take_back)

    def is_used(self) -> bool:
        """Whether the endpoint serves the configuration, or is on the way there."""
        now = self._look()
        pending = now.get("PendingDeploymentSummary", {}) if now else {}
        return now is not None and self._configuration in (
            now["EndpointConfigName"],
            pending.get("EndpointConfigName"),
        )

    def _is_done(self) -> bool:
        now = self._look()
        return now is not None and _serves(now, self._configuration)

    def _deploy(self) -> None:
        now = self._settled()  # a deployment that was interrupted here goes on there
        if now is not None and now["EndpointStatus"] == "Failed":
            self.delete()  # AWS allows nothing else with a failed endpoint
            now = None
        if now is None:
            self._creates = True
            self._create()
        elif now["EndpointConfigName"] != self._configuration:
            self._before = now["EndpointConfigName"]
            self._update(self._configuration)
        self._require_served(self._settled())

    def _create(self) -> None:
        with explained(f"create the endpoint {self._settings.name}"):
            self._clients.sagemaker.create_endpoint(
                EndpointName=self._settings.name,
                EndpointConfigName=self._configuration,
                Tags=self._settings.tag_list(),
            )

    def _update(self, configuration: str) -> None:
        retained: dict[str, Any] = {}
        if self._settings.autoscaling:  # keep the instances that traffic has asked for
            excluded = [{"VariantPropertyType": name} for name in ("DesiredWeight", "DataCaptureConfig")]
            retained = {"RetainAllVariantProperties": True, "ExcludeRetainedVariantProperties": excluded}
        with explained(f"update the endpoint {self._settings.name}"):
            self._clients.sagemaker.update_endpoint(
                EndpointName=self._settings.name,
                EndpointConfigName=configuration,
                DeploymentConfig=self._deployment,
                **retained,
            )

    def _require_served(self, now: Mapping[str, Any] | None) -> None:
        if now is not None and _serves(now, self._configuration):
            return
        name = self._settings.name
        print_log_tail(self._clients.logs, f"/aws/sagemaker/Endpoints/{name}")
        if now is None:
            raise CloudError(f"The endpoint {name} has been deleted meanwhile; run the same command again.")
        reason = now.get("FailureReason", "AWS gives no reason").rstrip(".")
        if now["EndpointStatus"] == "InService":
            raise CloudError(f"The update of {name} was rolled back: {reason}; what served before still serves.")
        raise CloudError(
            f"The endpoint {name} is {now['EndpointStatus']}: {reason}; see its log above, then change `image`, "
            "`model_data`, `environment` or `instances`."
        )

    def _take_back(self) -> None:
        now = self._look()
        if now is None:
            return
        if is_busy(now["EndpointStatus"]):  # AWS refuses any change meanwhile
            print(f"   {self._settings.name} is still {now['EndpointStatus']}; run the same command again to go on.")
        elif self._creates:
            self.delete()
        elif self._before and _serves(now, self._configuration):
            self._update(self._before)

    def delete(self) -> None:
        """Delete the endpoint and wait until it has gone.

        Raises:
            CloudError: AWS refuses, as while it is created or updated.
        """
        delete_if_there(self._clients.sagemaker.delete_endpoint, EndpointName=self._settings.name)
        self._settled()

    def _look(self) -> Mapping[str, Any] | None:
        return found(self._clients.sagemaker.describe_endpoint, EndpointName=self._settings.name)

    def _settled(self) -> Mapping[str, Any] | None:
        settings = self._settings
        return until_settled(
            self._look,
            "EndpointStatus",
            f"The endpoint {settings.name}",
            settings.poll_seconds,
            settings.rollout.max_s + _SLACK_S,
        )


def _serves(now: Mapping[str, Any], configuration: str) -> bool:
    return bool(now["EndpointStatus"] == "InService" and now["EndpointConfigName"] == configuration)
