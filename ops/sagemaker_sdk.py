"""The SageMaker SDK: its objects that start training and tuning jobs from the API's own requests.

Only this module touches parts of the SDK that it does not document; tests/ops/test_sagemaker_sdk.py names them.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3

from ops.aws import AwsSettings, explained

if TYPE_CHECKING:
    from sagemaker.train import ModelTrainer
    from sagemaker.train.tuner import HyperparameterTuner


def model_trainer(settings: AwsSettings, name: str, request: Mapping[str, Any]) -> "ModelTrainer":
    """Return the SDK's trainer for a request, whose jobs are named `name` with the time behind it.

    Raises:
        CloudError: there is no region, or no such profile.
    """
    # The SDK would ask IAM for more than a least-privilege role has, and refuse it; SageMaker checks it anyway.
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")
    from sagemaker.core.shapes import (
        Channel,
        CheckpointConfig,
        MetricDefinition,
        OutputDataConfig,
        StoppingCondition,
        Tag,
    )
    from sagemaker.core.training.configs import Compute, Networking
    from sagemaker.train import ModelTrainer

    isolation = {
        "EnableNetworkIsolation": request["EnableNetworkIsolation"],
        "EnableInterContainerTrafficEncryption": request["EnableInterContainerTrafficEncryption"],
    }
    spot = {"EnableManagedSpotTraining": request["EnableManagedSpotTraining"]}
    trainer = ModelTrainer(
        sagemaker_session=sdk_session(settings),
        base_job_name=name,
        role=request["RoleArn"],
        training_image=request["AlgorithmSpecification"]["TrainingImage"],
        hyperparameters=request["HyperParameters"],
        input_data_config=[Channel(**_snake(one)) for one in request["InputDataConfig"]],
        output_data_config=OutputDataConfig(**_snake(request["OutputDataConfig"])),
        compute=Compute(**_snake({**request["ResourceConfig"], **spot})),
        networking=Networking(**_snake({**request.get("VpcConfig", {}), **isolation})),
        stopping_condition=StoppingCondition(**_snake(request["StoppingCondition"])),
        checkpoint_config=CheckpointConfig(**_snake(request["CheckpointConfig"]))
        if "CheckpointConfig" in request
        else None,
        tags=[Tag(**_snake(tag)) for tag in request.get("Tags", [])] or None,
    )
    definitions = request["AlgorithmSpecification"]["MetricDefinitions"]
    return trainer.with_metric_definitions([MetricDefinition(**_snake(one)) for one in definitions])


def start_training(trainer: "ModelTrainer") -> str:
    """Start a training job and return its name, without waiting for it."""
    trainer.train(wait=False, logs=False)
    return str(trainer._latest_training_job.training_job_name)  # as the SDK's documentation reads it


def tuner(settings: AwsSettings, name: str, request: Mapping[str, Any]) -> "HyperparameterTuner":
    """Return the SDK's tuner for a request.

    Raises:
        CloudError: there is no region, or no such profile.
    """
    definition, config = request["TrainingJobDefinition"], request["HyperParameterTuningJobConfig"]
    training = {**definition, "HyperParameters": definition["StaticHyperParameters"]}
    trainer = model_trainer(settings, name, training)
    from sagemaker.train.tuner import HyperparameterTuner

    limits, objective = config["ResourceLimits"], config["HyperParameterTuningJobObjective"]
    _complete(trainer.sagemaker_session.boto_session, definition)
    return HyperparameterTuner(
        trainer,
        objective_metric_name=objective["MetricName"],
        objective_type=objective["Type"],
        metric_definitions=definition["AlgorithmSpecification"]["MetricDefinitions"],
        hyperparameter_ranges=_ranges(config["ParameterRanges"]),
        strategy=config["Strategy"],
        max_jobs=limits["MaxNumberOfTrainingJobs"],
        max_parallel_jobs=limits["MaxParallelTrainingJobs"],
        max_runtime_in_seconds=limits["MaxRuntimeInSeconds"],
        early_stopping_type=config["TrainingJobEarlyStoppingType"],
        random_seed=config["RandomSeed"],
        tags=request.get("Tags"),
    )


def _complete(boto_session: Any, definition: Mapping[str, Any]) -> None:
    """Put in what the SDK's tuner (3.27) leaves out of a training job: keys of volumes, and isolation."""
    left_out = ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "ResourceConfig")

    def put_in(params: dict[str, Any], **_: Any) -> None:
        params["TrainingJobDefinition"].update({name: definition[name] for name in left_out})

    event = "provide-client-params.sagemaker.CreateHyperParameterTuningJob"
    boto_session.events.register(event, put_in)


def _ranges(ranges: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    from sagemaker.core.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter

    made: dict[str, Any] = {}
    for kind, numbers, number in (
        (ContinuousParameter, ranges["ContinuousParameterRanges"], float),
        (IntegerParameter, ranges["IntegerParameterRanges"], int),
    ):
        for one in numbers:
            made[one["Name"]] = kind(number(one["MinValue"]), number(one["MaxValue"]), one["ScalingType"])
    for one in ranges["CategoricalParameterRanges"]:
        made[one["Name"]] = CategoricalParameter(one["Values"])
    return made


def sdk_session(settings: AwsSettings) -> Any:
    """Return a session of the SDK that sends no usage data.

    Raises:
        CloudError: there is no region, or no such profile.
    """
    from sagemaker.core.helper.session_helper import Session

    quiet = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
    with explained("connect to sagemaker"):
        boto_session = boto3.Session(profile_name=settings.profile, region_name=settings.region)
        own = boto_session.client("sagemaker", endpoint_url=settings.endpoint_url)
        return Session(boto_session=boto_session, sagemaker_client=own, sagemaker_config=quiet)


def _snake(value: Any) -> Any:
    """Return a request with the names of the SDK: `S3OutputPath` is `s3_output_path` there."""
    from sagemaker.core.utils.code_injection.codec import pascal_to_snake

    if isinstance(value, dict):
        return {pascal_to_snake(name): _snake(one) for name, one in value.items()}
    return [_snake(one) for one in value] if isinstance(value, list) else value
