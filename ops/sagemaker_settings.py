"""What every SageMaker command is told: as whom it acts, in which image, on which network, and how things are named."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ops.aws import AwsSettings, client

S3 = Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$")]
_DIGITS = 10


class SageMakerSettings(AwsSettings):
    """Settings of training jobs and of endpoints alike."""

    name: str = Field(
        pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$",
        max_length=36,
        description="Name of the endpoint, or what the names of jobs begin with",
    )
    role: str = Field(
        pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$",
        description="ARN of the execution role, with ops/policies/sagemaker_execution.json",
    )
    image: str = Field(min_length=1, description="Image in ECR, with a tag that never moves, or a digest")
    kms_key: str | None = Field(default=None, description="KMS key of volumes and of what is written to S3")
    subnets: list[str] = Field(default=[], description="Subnets of the VPC to run in; none: SageMaker's own network")
    security_groups: list[str] = Field(default=[], description="Security groups in that VPC")
    network_isolation: bool = Field(default=True, description="Give the container no network; serverless has no such")
    tags: dict[str, str] = Field(default={}, max_length=50, description="Tags of everything that is made")
    poll_seconds: float = Field(default=15, gt=0, le=300, description="Pause between two looks at what is waited for")

    @model_validator(mode="after")
    def _whole_network(self) -> Self:
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("subnets and security_groups belong together; give both or none")
        return self

    def tag_list(self) -> list[dict[str, str]]:
        """Return the tags as AWS wants them."""
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    def vpc(self) -> dict[str, list[str]] | None:
        """Return the `VpcConfig`, if there is one."""
        return {"Subnets": self.subnets, "SecurityGroupIds": self.security_groups} if self.subnets else None


class Clients:
    """The services that a SageMaker command asks, connected to when they are first asked."""

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings

    @cached_property
    def sagemaker(self) -> Any:
        """Models, endpoints and jobs."""
        return client("sagemaker", self._settings)

    @cached_property
    def autoscaling(self) -> Any:
        """Numbers of instances."""
        return client("application-autoscaling", self._settings)

    @cached_property
    def cloudwatch(self) -> Any:
        """Alarms."""
        return client("cloudwatch", self._settings)

    @cached_property
    def logs(self) -> Any:
        """What containers print."""
        return client("logs", self._settings)


def with_digest(name: str, request: Mapping[str, Any]) -> str:
    """Return a name that says what is in the request, for what AWS cannot change: the same settings find the same."""
    content = json.dumps(request, sort_keys=True).encode()
    return f"{name}-{hashlib.sha256(content).hexdigest()[:_DIGITS]}"


def has_digest(name: str, prefix: str) -> bool:
    """Whether the name was made by `with_digest` from `prefix`."""
    digest = name.removeprefix(f"{prefix}-")
    return name.startswith(f"{prefix}-") and len(digest) == _DIGITS and not digest.strip("0123456789abcdef")


def without_none(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request without what is not given."""
    return {name: value for name, value in request.items() if value is not None}
