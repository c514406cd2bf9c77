"""The settings of an endpoint: real-time as it is, serverless or asynchronous with the section of that name."""

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
    count: int = Field(default=2, ge=1, le=1000, description="Instances; from 2 on they are in several zones")


class Serverless(Settings):
    """No machines: paid by the request, with a cold start after a pause."""

    memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = Field(
        default=3072, description="Memory; cores come with it"
    )
    max_concurrency: int = Field(default=20, ge=1, le=200, description="Requests at the same time, at most")
    provisioned: int | None = Field(default=None, ge=1, le=200, description="Of these, kept warm")


class Asynchronous(Settings):
    """Requests of up to 1 GB, read from S3 and answered there."""

    output: S3 = Field(description="Where answers are written")
    failures: S3 | None = Field(default=None, description="Where errors are written")
    concurrency: int = Field(default=4, ge=1, le=1000, description="Requests that an instance gets at the same time")
    success_topic: str | None = Field(default=None, pattern=_TOPIC, description="SNS topic told of every answer")
    error_topic: str | None = Field(default=None, pattern=_TOPIC, description="SNS topic told of every error")


class Autoscaling(Settings):
    """More instances with more traffic: the target is computed from a measured throughput."""

    minimum: int = Field(default=2, ge=0, description="Fewest instances; 0 with asynchronous only")
    maximum: int = Field(default=8, ge=1, description="Most instances")
    requests_per_second: float | None = Field(default=None, gt=0, description="What one instance answers, measured")
    load_test: Path | None = Field(default=None, description="Summary of `make load`, from any machine of this kind")
    cores: int | None = Field(
        default=None,
        ge=1,
        le=192,
        description="Physical cores of an instance; each gives what one gave in the load test",
    )
    utilisation: float = Field(default=0.6, gt=0, le=1, description="Share of that rate at which instances are added")
    backlog: float = Field(default=5, gt=0, description="Asynchronous: waiting requests an instance")
    scale_in_s: int = Field(default=300, ge=0, le=3600, description="Pause before instances are taken away again")
    scale_out_s: int = Field(default=60, ge=0, le=3600, description="Pause before more instances are added")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError("minimum must not be above maximum")
        return self

    def invocations_per_minute(self) -> float:
        """Return the requests a minute that one instance should get.

        Raises:
            ConfigurationError: no throughput is given, or the file does not say it.
        """
        return round(self._measured() * self.utilisation * 60, 1)

    def _measured(self) -> float:
        if self.requests_per_second is not None:
            return self.requests_per_second
        if self.load_test is None:
            raise ConfigurationError("autoscaling needs requests_per_second, or load_test, the JSON of a load test.")
        if self.cores is None:
            raise ConfigurationError(
                "autoscaling.load_test needs autoscaling.cores, the physical cores of an instance."
            )
        try:
            summary = json.loads(self.load_test.read_text(encoding="utf-8"))
            return float(summary["requests_per_second"]) / int(summary["threads"]) * self.cores
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise ConfigurationError(
                f"autoscaling.load_test={str(self.load_test)!r} says no requests_per_second and threads: {problem!r}."
            ) from None


class DataCapture(Settings):
    """Requests and answers kept in S3, to find drift; they hold the texts of users."""

    to: S3 = Field(description="Where they are kept")
    percent: int = Field(default=10, ge=1, le=100, description="Share of the requests that is kept")


class Rollout(Settings):
    """How an update takes over, and what takes it back."""

    canary_percent: int = Field(
        default=25, ge=0, le=50, description="Share of the new instances that gets traffic first; 0: all at once"
    )
    bake_s: int = Field(default=300, ge=0, le=3600, description="How long it is watched before the next stage")
    keep_old_s: int = Field(default=120, ge=0, le=3600, description="How long the old instances stay afterwards")
    max_s: int = Field(default=3600, ge=600, le=28800, description="Longest time of a deployment")
    max_errors: int = Field(default=5, ge=1, description="Answers of status 5xx in a minute that take an update back")
    max_latency_ms: float = Field(default=200, gt=0, description="p99 latency of the container that takes it back")


class ModelSettings(SageMakerSettings):
    """Settings of what answers with a model."""

    model_data: S3 = Field(description="The model.tar.gz of a training job; another model has another address")
    environment: dict[str, str] = Field(default={}, max_length=100, description="Settings of the server; no secrets")

    def isolates(self) -> bool:
        """Whether the container has no network."""
        return self.network_isolation


class EndpointSettings(ModelSettings):
    """Settings of ops/config/endpoint.yaml, serverless.yaml and asynchronous.yaml."""

    instances: Instances = Instances()
    serverless: Serverless | None = Field(default=None, description="Makes the endpoint serverless")
    asynchronous: Asynchronous | None = Field(default=None, description="Makes the endpoint asynchronous")
    autoscaling: Autoscaling | None = Field(default=None, description="No section: the number of instances is fixed")
    data_capture: DataCapture | None = Field(default=None, description="No section: nothing is kept")
    rollout: Rollout = Rollout()

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        if self.serverless:
            for name in ("asynchronous", "autoscaling", "data_capture", "subnets"):
                if getattr(self, name):
                    raise ValueError(f"a serverless endpoint has no {name}; remove it, or the section serverless")
        elif self.autoscaling and self.autoscaling.minimum == 0 and not self.asynchronous:
            raise ValueError("autoscaling.minimum: only an asynchronous endpoint can do without an instance")
        elif self.rollout.canary_percent and self.instances.count == 1:
            raise ValueError("instances.count: a canary needs two instances; or set rollout.canary_percent to 0")
        return self

    def isolates(self) -> bool:
        """Whether the container has no network: serverless endpoints do not offer it."""
        return self.network_isolation and not self.serverless
