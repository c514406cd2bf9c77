"""Settings of the SageMaker commands, functions that run them, and additions to moto's SageMaker."""

import os
import time

import pytest
import yaml

from tests.conftest import ROOT
from tests.container.conftest import images, model  # noqa: F401 - fixtures

ROLE = "arn:aws:iam::123456789012:role/execution"
ENDPOINT = {
    "name": "tickets",
    "role": ROLE,
    "image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/bert:abc",
    "model_data": "s3://models/job-1/output/model.tar.gz",
    "instances": {"type": "ml.c5.xlarge"},  # moto supports none newer
    "poll_seconds": 0.01,
}
ASYNCHRONOUS = {"asynchronous": {"output": "s3://answers/out"}}
FROM_ZERO = {**ASYNCHRONOUS, "autoscaling": {"minimum": 0}}


@pytest.fixture
def updates(monkeypatch):
    """Add UpdateEndpoint to moto. A test puts attributes here that the update sets on the endpoint."""
    from moto.core.responses import ActionResult
    from moto.sagemaker.responses import SageMakerResponse

    attributes = {}

    def update_endpoint(self):
        endpoint = self.sagemaker_backend.endpoints[self._get_param("EndpointName")]
        endpoint.endpoint_config_name = self._get_param("EndpointConfigName")
        vars(endpoint).update(attributes)
        return ActionResult({"EndpointArn": endpoint.arn})

    monkeypatch.setattr(SageMakerResponse, "update_endpoint", update_endpoint, raising=False)
    return attributes


@pytest.fixture
def create_with_status(monkeypatch):
    """A function that sets status and failure reason of the endpoints and jobs that moto creates from then on."""
    from moto.sagemaker.models import FakeEndpoint, FakeTrainingJob, FakeTransformJob

    fields = {
        FakeEndpoint: ("endpoint_status",),
        FakeTrainingJob: ("training_job_status", "secondary_status"),
        FakeTransformJob: ("transform_job_status",),
    }

    def set_status(status: str, reason: str | None = None) -> None:
        for resource, names in fields.items():
            values = dict.fromkeys(names, status) | {"failure_reason": reason}

            def init(self, *arguments, create=resource.__init__, values=values, **options):
                create(self, *arguments, **options)
                vars(self).update(values)

            monkeypatch.setattr(resource, "__init__", init)

    return set_status


def write_log(group: str, stream: str, message: str) -> None:
    import boto3

    logs = boto3.client("logs")
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    event = {"timestamp": int(time.time() * 1000), "message": message}
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])


def interrupt(_: float) -> None:
    raise KeyboardInterrupt


TRAINING = {
    "name": "tickets",
    "role": ROLE,
    "image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/bert-train:abc",
    "channels": {"train": "s3://texts/train/", "validation": "s3://texts/validation/"},
    "output": "s3://texts/jobs",
    "hyperparameters": {
        "epochs": 2,
        "learning_rate": 2e-4,
        "drop_issues": ["leakage", "repeat"],
        "positive_label": None,
    },
    "poll_seconds": 0.01,
}

TUNING = TRAINING | {"hyperparameters": {"seed": 7}, "tags": {"a": "b"}, "kms_key": "alias/own"}
TRANSFORM = {
    "name": "tickets-batch",
    "role": ROLE,
    "image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/bert:abc",
    "model_data": "s3://models/job-1/output/model.tar.gz",
    "input": "s3://texts/in/",
    "output": "s3://texts/out/",
    "instances": {"type": "ml.c5.xlarge", "count": 2},
    "poll_seconds": 0.01,
}


def translated(**parameters: str) -> dict:
    """Return the template after the transform of the Serverless Application Model."""
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator
    from samtranslator.yaml_helper import yaml_parse

    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")  # the translator needs one
    return Translator({}, Parser()).translate(
        yaml_parse((ROOT / "ops/gateway/template.yaml").read_text(encoding="utf-8")), parameters
    )


# The environment variables that the files of ops/config need.
ENVIRONMENT = {
    "AWS_REGION": "eu-central-1",
    "SAGEMAKER_ROLE": ROLE,
    "TRAINING_IMAGE": TRAINING["image"],
    "SERVING_IMAGE": ENDPOINT["image"],
    "MODEL_DATA": ENDPOINT["model_data"],
    "BUCKET": "texts",
}


@pytest.fixture
def command_of(tmp_path):
    """A function that returns a runner of a command. The runner changes settings; None removes one."""

    def command_of(module, settings):
        def run(*arguments: str, **changes) -> int:
            path = tmp_path / "settings.yaml"
            changed = {name: value for name, value in (settings | changes).items() if value is not None}
            path.write_text(yaml.safe_dump(changed), encoding="utf-8")
            return module.main(["--config", str(path), *arguments])

        return run

    return command_of


@pytest.fixture
def shipped(monkeypatch):
    """A function that reads a shipped file of ops/config; its arguments are name and class of the settings."""
    from ops.config_file import read

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)
    return lambda name, settings: read(ROOT / f"ops/config/{name}.yaml", settings)
