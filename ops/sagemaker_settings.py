"""Settings that every SageMaker command has: role, image, network, tags, and how resources are named."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ops.aws import AwsSettings, client

S3 = Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$")]
NAME = r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$"
_DIGITS = 10


class SageMakerSettings(AwsSettings):
    """Settings of training jobs and of endpoints alike."""

    name: str = Field(pattern=NAME, max_length=36, description="Name of the endpoint, or prefix of the jobs' names")
    role: str = Field(
        pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$",
        description="ARN of the execution role, with ops/policies/sagemaker_execution.json",
    )
    image: str = Field(min_length=1, description="Image in ECR, with an immutable tag or a digest")
    kms_key: str | None = Field(default=None, description="KMS key for volumes and for results in S3")
    subnets: list[str] = Field(default=[], description="Subnets of your VPC; none: SageMaker's own network")
    security_groups: list[str] = Field(default=[], description="Security groups of that VPC")
    network_isolation: bool = Field(default=True, description="No network for the container; serverless ignores it")
    tags: dict[str, str] = Field(default={}, max_length=50, description="Tags of every resource")
    poll_seconds: float = Field(default=15, gt=0, le=300, description="Pause between two status requests, in seconds")

    @model_validator(mode="after")
    def _whole_network(self) -> Self:
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("subnets and security_groups belong together; give both or none")
        return self

    def tag_list(self) -> list[dict[str, str]]:
        """Return the tags in the form of the API."""
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    def vpc(self) -> dict[str, list[str]] | None:
        """Return the `VpcConfig`, if there is one."""
        return {"Subnets": self.subnets, "SecurityGroupIds": self.security_groups} if self.subnets else None


class Clients:
    """Clients of the services that SageMaker commands use; each is made at its first use."""

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings

    sagemaker = cached_property[Any](lambda self: client("sagemaker", self._settings))
    autoscaling = cached_property[Any](lambda self: client("application-autoscaling", self._settings))
    cloudwatch = cached_property[Any](lambda self: client("cloudwatch", self._settings))
    logs = cached_property[Any](lambda self: client("logs", self._settings))


def with_digest(name: str, request: Mapping[str, Any]) -> str:
    """Return `name` with a digest of the request, for resources that AWS cannot change: same settings, same name."""
    content = json.dumps(request, sort_keys=True).encode()
    return f"{name}-{hashlib.sha256(content).hexdigest()[:_DIGITS]}"


def has_digest(name: str, prefix: str) -> bool:
    """Whether `with_digest` made the name from `prefix`."""
    digest = name.removeprefix(f"{prefix}-")
    return name.startswith(f"{prefix}-") and len(digest) == _DIGITS and not digest.strip("0123456789abcdef")


def without_none(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request without the values that are None."""
    return {name: value for name, value in request.items() if value is not None}
