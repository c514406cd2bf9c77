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

from ops import config_file, plan
from ops.hosting.creation import creation
from ops.hosting.model import model_request
from ops.hosting.settings import Instances, ModelSettings
from ops.jobs import TRANSFORM, Job
from ops.plan import Step
from ops.sagemaker_settings import S3, Clients, with_digest, without_none
from ops.waiting import is_busy


class TransformSettings(ModelSettings):
    """Settings of ops/config/transform.yaml."""

    input: S3 = Field(description="File, or what the names of files begin with")
    output: S3 = Field(description="Folder of the answers: FILE.out for each file")
    content_type: str = Field(default="application/jsonlines", description="Format of the input and of the output")
    join_input: bool = Field(default=False, description="Put each line of input beside its prediction")
    payload_mb: int = Field(default=6, ge=1, le=100, description="Largest request made of the lines of a file")
    instances: Instances = Instances(count=1)
    max_s: int = Field(default=24 * 3600, ge=60, description="Longest time that the command waits")


def job_request(settings: TransformSettings, model: str) -> dict[str, Any]:
    """Return the request of CreateTransformJob without its name."""
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": settings.input}}
    output = {
        "S3OutputPath": settings.output,
        "Accept": settings.content_type,
        "AssembleWith": "Line",
        "KmsKeyId": settings.kms_key,
    }
    resources = {
        "InstanceType": settings.instances.type,
        "InstanceCount": settings.instances.count,
        "VolumeKmsKeyId": settings.kms_key,
    }
    request = {
        "ModelName": model,
        "BatchStrategy": "MultiRecord",
        "MaxPayloadInMB": settings.payload_mb,
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": 600, "InvocationsMaxRetries": 3},
        "TransformInput": {"DataSource": source, "ContentType": settings.content_type, "SplitType": "Line"},
        "TransformOutput": without_none(output),
        "TransformResources": without_none(resources),
        "DataProcessing": {"JoinSource": "Input"} if settings.join_input else None,
    }
    return without_none(request)


def transform_job(clients: Clients, settings: TransformSettings, again: bool = False) -> Job:
    """Return the job of the settings."""
    request = job_request(settings, model_request(settings)["ModelName"])
    name = with_digest(settings.name, request)

    def start() -> str:
        numbered = f"{name}-{time.strftime('%y%m%d%H%M%S')}"
        clients.sagemaker.create_transform_job(TransformJobName=numbered, **request, Tags=settings.tag_list())
        return numbered

    return Job(clients, TRANSFORM, name, start, request, settings.poll_seconds, settings.max_s, again)


def steps(clients: Clients, settings: TransformSettings, again: bool = False) -> list[Step]:
    """Return the plan: model and job."""
    job = transform_job(clients, settings, again)

    def is_used() -> bool:
        now = job.latest()
        return now is not None and is_busy(now["TransformJobStatus"])

    return [creation(clients, "model", "ModelName", model_request(settings), is_used), job.step()]


def run(config: str, yes: bool, again: bool, stop: bool) -> None:
    """Carry out what the file asks for.

    Raises:
        UserError: the settings are wrong, AWS refuses, or the job fails.
    """
    settings = config_file.read(config, TransformSettings)
    clients = Clients(settings)
    plan.carry_out([transform_job(clients, settings).stop_step()] if stop else steps(clients, settings, again), yes)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    given = plan.arguments(
        __doc__,
        "ops/config/transform.yaml",
        argv,
        again="run once more what is complete, as after the input has changed",
        stop="stop the job",
    )
    return plan.exit_status(lambda: run(given.config, given.yes, given.again, given.stop))


if __name__ == "__main__":
    sys.exit(main())
