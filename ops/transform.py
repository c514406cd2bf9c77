"""Predict the texts of a folder in S3 with a batch transform job: one line of output for each line of input.

python -m ops.transform --config ops/config/transform.yaml            # print the plan
python -m ops.transform --config ops/config/transform.yaml --yes      # do it; once for the same settings
python -m ops.transform --config ops/config/transform.yaml --again --yes
python -m ops.transform --config ops/config/transform.yaml --stop --yes
"""

import sys
import time
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from ops.hosting.configuration import model_request
from ops.hosting.creation import creation
from ops.hosting.settings import Instances, ModelSettings
from ops.jobs import TRANSFORM, Job, command
from ops.plan import Step
from ops.sagemaker_settings import S3, Clients, with_digest, without_none


class TransformSettings(ModelSettings):
    """Settings of ops/config/transform.yaml."""

    input: S3 = Field(description="A file, or the common prefix of files")
    output: S3 = Field(description="Folder for the predictions: FILE.out for each file")
    content_type: str = Field(default="application/jsonlines", description="Format of the input and of the output")
    join_input: bool = Field(default=False, description="Write each input line with its prediction")
    payload_mb: int = Field(default=6, ge=1, le=100, description="Largest request; it holds several lines")
    instances: Instances = Instances(count=1)
    max_s: int = Field(default=24 * 3600, ge=60, description="Longest time that the command waits")


def job_request(settings: TransformSettings, model: str) -> dict[str, Any]:
    """Return the request of CreateTransformJob without its name."""
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": settings.input}}
    output = {"S3OutputPath": settings.output, "Accept": settings.content_type, "AssembleWith": "Line"}
    resources = {"InstanceType": settings.instances.type, "InstanceCount": settings.instances.count}
    request = {
        "ModelName": model,
        "BatchStrategy": "MultiRecord",
        "MaxPayloadInMB": settings.payload_mb,
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": 600, "InvocationsMaxRetries": 3},
        "TransformInput": {"DataSource": source, "ContentType": settings.content_type, "SplitType": "Line"},
        "TransformOutput": without_none({**output, "KmsKeyId": settings.kms_key}),
        "TransformResources": without_none({**resources, "VolumeKmsKeyId": settings.kms_key}),
        "DataProcessing": {"JoinSource": "Input"} if settings.join_input else None,
    }
    return without_none(request)


def transform_job(clients: Clients, settings: TransformSettings, again: bool = False) -> Job:
    """Return the job of the settings."""
    request = job_request(settings, model_request(settings)["ModelName"])
    name = with_digest(settings.name, request)

    def start() -> str:
        job_name = f"{name}-{time.strftime('%y%m%d%H%M%S')}"
        clients.sagemaker.create_transform_job(TransformJobName=job_name, **request, Tags=settings.tag_list())
        return job_name

    return Job(clients, TRANSFORM, name, start, request, settings.poll_seconds, settings.max_s, again)


def _model_steps(settings: TransformSettings, job: Job) -> list[Step]:
    return [creation(job.clients, "model", "ModelName", model_request(settings), lambda: bool(job.running()))]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return command(argv, __doc__, "ops/config/transform.yaml", TransformSettings, transform_job, _model_steps)


if __name__ == "__main__":
    sys.exit(main())
