"""Train in SageMaker with the project's own image.

    python -m ops.train --config ops/config/training.yaml            # print the plan
    python -m ops.train --config ops/config/training.yaml --yes      # do it; once for the same settings
    python -m ops.train --config ops/config/training.yaml --again --yes
    python -m ops.train --config ops/config/training.yaml --stop --yes

An interruption leaves the job running; the same command waits for it again. The last line says where the model is.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.sagemaker.metric_log import metric_definitions
from ops.config_file import Settings
from ops.jobs import TRAINING, Job, command
from ops.sagemaker_sdk import model_trainer, start_training
from ops.sagemaker_settings import S3, Clients, SageMakerSettings, with_digest, without_none

_CHANNELS = ("train", "validation", "test")


class Resources(Settings):
    """The machines of a training job."""

    type: str = Field(default="ml.c7i.4xlarge", pattern=r"^ml\.", description="Instance type")
    count: int = Field(default=1, ge=1, le=64, description="Instances, which train one model together")
    volume_gb: int = Field(default=30, ge=1, le=16384, description="Disk of each")


class TrainingSettings(SageMakerSettings):
    """Settings of ops/config/training.yaml."""

    channels: dict[str, S3] = Field(description="Folders in S3: train; optionally validation and test")
    output: S3 = Field(description="Folder for the results: JOB/output/model.tar.gz")
    hyperparameters: dict[str, Any] = Field(default={}, description="Settings of TrainingConfig")
    resources: Resources = Resources()
    spot: bool = Field(default=True, description="Much cheaper machines that AWS may take back; the job then resumes")
    max_s: int = Field(default=4 * 3600, ge=60, le=432000, description="Longest time of training")
    max_wait_s: int = Field(default=8 * 3600, ge=60, le=864000, description="Spot: longest time, waits included")

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
            raise ValueError("data is no hyperparameter here: a job's data are its channels")
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
    machines = settings.resources
    resources = {"InstanceType": machines.type, "InstanceCount": machines.count, "VolumeSizeInGB": machines.volume_gb}
    wait_s = settings.max_wait_s if settings.spot else None
    limits = {"MaxRuntimeInSeconds": settings.max_s, "MaxWaitTimeInSeconds": wait_s}
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
        "ResourceConfig": without_none({**resources, "VolumeKmsKeyId": settings.kms_key}),
        "StoppingCondition": without_none(limits),
        "VpcConfig": settings.vpc(),
        "EnableNetworkIsolation": settings.network_isolation,
        "EnableInterContainerTrafficEncryption": settings.resources.count > 1,
        "EnableManagedSpotTraining": settings.spot,
        "Tags": settings.tag_list() or None,
    }
    return without_none(request)


def _channel(name: str, place: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": place, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"}


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def training_job(clients: Clients, settings: TrainingSettings, again: bool = False) -> Job:
    """Return the job of the settings. Its checkpoints are shared by all jobs of its name, so the next one resumes."""
    request = job_request(settings)
    name = with_digest(settings.name, {key: value for key, value in request.items() if key != "Tags"})
    place = f"{settings.output.rstrip('/')}/{name}/checkpoints"
    request["CheckpointConfig"] = {"S3Uri": place, "LocalPath": "/opt/ml/checkpoints"}

    def start() -> str:
        return start_training(model_trainer(settings, name, request))

    max_s = settings.max_wait_s if settings.spot else settings.max_s
    return Job(clients, TRAINING, name, start, request, settings.poll_seconds, max_s, again)


def _model_line(job: Mapping[str, Any]) -> str:
    return f"model_data: {job['ModelArtifacts']['S3ModelArtifacts']}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    config = "ops/config/training.yaml"
    return command(argv, __doc__, config, TrainingSettings, training_job, summary=_model_line)


if __name__ == "__main__":
    sys.exit(main())
