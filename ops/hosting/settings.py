"""The settings of an endpoint: real-time, or serverless or asynchronous with the section of that name."""

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from bert_textclassification.errors import ConfigurationError
from ops.config_file import Settings
from ops.sagemaker_settings import S3, SageMakerSettings

_TOPIC = r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:.+$"


class Instances(Settings):
    """The machines of a real-time or an asynchronous endpoint."""

    type: str = Field(default="ml.c7i.large", pattern=r"^ml\.", description="Instance type")
    count: int = Field(default=2, ge=1, le=1000, description="Instances; two and more are in several zones")


class Serverless(Settings):
    """No machines: priced by the request, with a cold start after a pause."""

    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = Field(default=3072, description="Cores grow with it")
    max_concurrency: int = Field(default=20, ge=1, le=200, description="Largest number of concurrent requests")
    provisioned: int | None = Field(default=None, ge=1, le=200, description="Concurrent requests that are kept warm")


class Asynchronous(Settings):
    """Requests of up to 1 GB, read from S3 and answered there."""

    output: S3 = Field(description="Folder for predictions")
    failures: S3 | None = Field(default=None, description="Folder for errors")
    concurrency: int = Field(default=4, ge=1, le=1000, description="Concurrent requests of one instance")
    success_topic: str | None = Field(default=None, pattern=_TOPIC, description="SNS topic notified of each prediction")
    error_topic: str | None = Field(default=None, pattern=_TOPIC, description="SNS topic notified of each error")


class Autoscaling(Settings):
    """As many instances as the traffic needs, computed from a measured throughput."""

    minimum: int = Field(default=2, ge=0, description="Fewest instances; 0 with asynchronous only")
    maximum: int = Field(default=8, ge=1, description="Most instances")
    requests_per_second: float | None = Field(default=None, gt=0, description="Measured throughput of one instance")
    load_test: Path | None = Field(default=None, description="Summary of `make load` on such a machine")
    cores: int | None = Field(default=None, ge=1, le=192, description="Physical cores of an instance, for `load_test`")
    utilisation: float = Field(default=0.6, gt=0, le=1, description="Share of it that adds instances")
    backlog: float = Field(default=5, gt=0, description="Asynchronous: waiting requests for each instance")
    scale_in_s: int = Field(default=300, ge=0, le=3600, description="Pause before instances are removed")
    scale_out_s: int = Field(default=60, ge=0, le=3600, description="Pause before more instances are added")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError("minimum must not be above maximum")
        return self

    def invocations_per_minute(self) -> float:
        """Return the target of requests a minute for one instance.

        Raises:
            ConfigurationError: no throughput is given, or the file of the load test has none.
        """
        return round(self._measured() * self.utilisation * 60, 1)

    def _measured(self) -> float:
        if self.requests_per_second is not None:
            return self.requests_per_second
        if self.load_test is None:
            raise ConfigurationError("autoscaling needs requests_per_second, or load_test, the JSON of a load test.")
        if self.cores is None:
            raise ConfigurationError("autoscaling.load_test needs autoscaling.cores: physical cores of an instance.")
        try:
            summary = json.loads(self.load_test.read_text(encoding="utf-8"))
            return float(summary["requests_per_second"]) / int(summary["threads"]) * self.cores
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise ConfigurationError(
                f"autoscaling.load_test={str(self.load_test)!r} has no requests_per_second and threads: {problem!r}."
            ) from None


class DataCapture(Settings):
    """Requests and predictions kept in S3 to find drift; they contain the texts of users."""

    to: S3 = Field(description="Folder in S3")
    percent: int = Field(default=10, ge=1, le=100, description="Share of requests to keep")


class Rollout(Settings):
    """How an update shifts traffic, and what rolls it back."""

    canary_percent: int = Field(default=25, ge=0, le=50, description="New instances with traffic first; 0: all at once")
    bake_s: int = Field(default=300, ge=0, le=3600, description="Time of observation before all traffic")
    keep_old_s: int = Field(default=120, ge=0, le=3600, description="Time that the old instances stay afterwards")
    max_s: int = Field(default=3600, ge=600, le=28800, description="Longest time of a deployment")
    max_errors: int = Field(default=5, ge=1, description="Responses of status 5xx a minute that roll back")
    max_latency_ms: float = Field(default=200, gt=0, description="p99 latency of the container that rolls back")


class ModelSettings(SageMakerSettings):
    """Settings of endpoints and of batch transform."""

    model_data: S3 = Field(description="model.tar.gz of a training job; a new model needs a new address")
    environment: dict[str, str] = Field(default={}, max_length=100, description="Environment of the server; no secrets")

    def isolates(self) -> bool:
        """Whether the container has no network."""
        return self.network_isolation


class EndpointSettings(ModelSettings):
    """Settings of ops/config/endpoint.yaml, serverless.yaml and asynchronous.yaml."""

    instances: Instances = Instances()
    serverless: Serverless | None = Field(default=None, description="Makes the endpoint serverless")
    asynchronous: Asynchronous | None = Field(default=None, description="Makes the endpoint asynchronous")
    autoscaling: Autoscaling | None = Field(default=None, description="Without it the number of instances is fixed")
    data_capture: DataCapture | None = Field(default=None, description="Without it nothing is kept")
    rollout: Rollout = Rollout()

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        if self.serverless:
            for name in ("asynchronous", "autoscaling", "data_capture", "subnets"):
                if getattr(self, name):
                    raise ValueError(f"a serverless endpoint has no {name}; remove it, or the section serverless")
        elif self.autoscaling and self.autoscaling.minimum == 0 and not self.asynchronous:
            raise ValueError("autoscaling.minimum: only an asynchronous endpoint may have no instance")
        elif self.rollout.canary_percent and self.instances.count == 1:
            raise ValueError("instances.count: a canary needs two instances; or set rollout.canary_percent to 0")
        return self

    def isolates(self) -> bool:
        """Whether the container has no network; serverless endpoints do not support that."""
        return self.network_isolation and not self.serverless
