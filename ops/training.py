"""What a training job of SageMaker is asked to do."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.sagemaker.metric_log import metric_definitions
from ops.config_file import Settings
from ops.sagemaker_settings import S3, SageMakerSettings, with_digest, without_none

_CHANNELS = ("train", "validation", "test")


class Resources(Settings):
    """The machines of a training job."""

    type: str = Field(default="ml.c7i.4xlarge", pattern=r"^ml\.", description="Instance type")
    count: int = Field(default=1, ge=1, le=64, description="Instances, which train one model together")
    volume_gb: int = Field(default=30, ge=1, le=16384, description="Disk of each")


class TrainingSettings(SageMakerSettings):
    """Settings of ops/config/training.yaml."""

    channels: dict[str, S3] = Field(description="Folders in S3: train, and validation and test where there are any")
    output: S3 = Field(description="Folder of what jobs make: JOB/output/model.tar.gz")
    hyperparameters: dict[str, Any] = Field(default={}, description="Settings of TrainingConfig")
    resources: Resources = Resources()
    spot: bool = Field(default=True, description="Spare machines, much cheaper; a job that loses one goes on elsewhere")
    max_s: int = Field(default=4 * 3600, ge=60, le=432000, description="Longest time of training")
    max_wait_s: int = Field(default=8 * 3600, ge=60, le=864000, description="Spot: longest time with all its pauses")

    @field_validator("channels")
    @classmethod
    def _known_channels(cls, channels: dict[str, str]) -> dict[str, str]:
        if "train" not in channels or channels.keys() - set(_CHANNELS):
            raise ValueError(f"needs train, and may have validation and test; it has {', '.join(channels) or 'none'}")
        return channels

    @field_validator("hyperparameters")
    @classmethod
    def _known_hyperparameters(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "data" in values:
            raise ValueError("data is not given: a job's data are its channels")
        try:
            TrainingConfig.of({**values, "data": "channels"})
        except ConfigurationError as problem:
            raise ValueError(str(problem).rstrip(".")) from None
        return values

    @model_validator(mode="after")
    def _waits_as_long_as_it_trains(self) -> Self:
        if self.spot and self.max_wait_s < self.max_s:
            raise ValueError("max_wait_s must not be below max_s")
        return self


def job_request(settings: TrainingSettings) -> dict[str, Any]:
    """Return the request of CreateTrainingJob without the name of the job."""
    resources = {
        "InstanceType": settings.resources.type,
        "InstanceCount": settings.resources.count,
        "VolumeSizeInGB": settings.resources.volume_gb,
        "VolumeKmsKeyId": settings.kms_key,
    }
    limits = {
        "MaxRuntimeInSeconds": settings.max_s,
        "MaxWaitTimeInSeconds": settings.max_wait_s if settings.spot else None,
    }
    given = without_none(settings.hyperparameters)
    request = {
        "AlgorithmSpecification": {
            "TrainingImage": settings.image,
            "TrainingInputMode": "File",
            "MetricDefinitions": metric_definitions(),
        },
        "RoleArn": settings.role,
        "HyperParameters": {name: _as_text(value) for name, value in given.items()},
        "InputDataConfig": [_channel(name, place) for name, place in settings.channels.items()],
        "OutputDataConfig": without_none({"S3OutputPath": settings.output, "KmsKeyId": settings.kms_key}),
        "ResourceConfig": without_none(resources),
        "StoppingCondition": without_none(limits),
        "VpcConfig": settings.vpc(),
        "EnableNetworkIsolation": settings.network_isolation,
        "EnableInterContainerTrafficEncryption": settings.resources.count > 1,
        "EnableManagedSpotTraining": settings.spot,
        "Tags": settings.tag_list() or None,
    }
    return without_none(request)


def with_checkpoints(request: Mapping[str, Any], settings: TrainingSettings, name: str) -> dict[str, Any]:
    """Return the request with a folder of checkpoints that jobs of this name share: the next goes on from the last."""
    place = f"{settings.output.rstrip('/')}/{name}/checkpoints"
    return {**request, "CheckpointConfig": {"S3Uri": place, "LocalPath": "/opt/ml/checkpoints"}}


def _channel(name: str, place: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": place, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"}


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def job_name(settings: TrainingSettings, request: Mapping[str, Any]) -> str:
    """Return what the names of the jobs of these settings begin with."""
    return with_digest(settings.name, {name: value for name, value in request.items() if name != "Tags"})
