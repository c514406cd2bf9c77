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
    """Return the SDK's trainer for a request, whose jobs are named `name` and the time.

    Raises:
        CloudError: there is no region, or no such profile.
    """
    # The SDK's check of the role needs more rights than a least-privilege caller has; SageMaker checks the role anyway.
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")
    from sagemaker.core import shapes
    from sagemaker.core.training.configs import Compute, Networking
    from sagemaker.train import ModelTrainer

    isolation = {key: request[key] for key in ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption")}
    checkpoints = request.get("CheckpointConfig")
    spot = {"EnableManagedSpotTraining": request["EnableManagedSpotTraining"]}
    trainer = ModelTrainer(
        sagemaker_session=sdk_session(settings),
        base_job_name=name,
        role=request["RoleArn"],
        training_image=request["AlgorithmSpecification"]["TrainingImage"],
        hyperparameters=request["HyperParameters"],
        input_data_config=[shapes.Channel(**_snake(channel)) for channel in request["InputDataConfig"]],
        output_data_config=shapes.OutputDataConfig(**_snake(request["OutputDataConfig"])),
        compute=Compute(**_snake({**request["ResourceConfig"], **spot})),
        networking=Networking(**_snake({**request.get("VpcConfig", {}), **isolation})),
        stopping_condition=shapes.StoppingCondition(**_snake(request["StoppingCondition"])),
        checkpoint_config=shapes.CheckpointConfig(**_snake(checkpoints)) if checkpoints else None,
        tags=[shapes.Tag(**_snake(tag)) for tag in request.get("Tags", [])] or None,
    )
    definitions = request["AlgorithmSpecification"]["MetricDefinitions"]
    return trainer.with_metric_definitions(
        [shapes.MetricDefinition(**_snake(definition)) for definition in definitions]
    )


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
    """Add to the tuner's request what the SDK (3.27) omits from a training job: keys of volumes, and isolation."""
    omitted = ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "ResourceConfig")

    def add(params: dict[str, Any], **_: Any) -> None:
        params["TrainingJobDefinition"].update({name: definition[name] for name in omitted})

    event = "provide-client-params.sagemaker.CreateHyperParameterTuningJob"
    boto_session.events.register(event, add)


def _ranges(ranges: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    from sagemaker.core.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter

    parameters = {
        entry["Name"]: CategoricalParameter(entry["Values"]) for entry in ranges["CategoricalParameterRanges"]
    }
    for word, kind, number in (("Continuous", ContinuousParameter, float), ("Integer", IntegerParameter, int)):
        for entry in ranges[f"{word}ParameterRanges"]:
            bounds = number(entry["MinValue"]), number(entry["MaxValue"])
            parameters[entry["Name"]] = kind(*bounds, entry["ScalingType"])
    return parameters


def sdk_session(settings: AwsSettings) -> Any:
    """Return a session of the SDK that sends no usage data.

    Raises:
        CloudError: there is no region, or no such profile.
    """
    from sagemaker.core.helper.session_helper import Session

    quiet = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
    with explained("connect to sagemaker"):
        boto_session = boto3.Session(profile_name=settings.profile, region_name=settings.region)
        client = boto_session.client("sagemaker", endpoint_url=settings.endpoint_url)
        return Session(boto_session=boto_session, sagemaker_client=client, sagemaker_config=quiet)


def _snake(value: Any) -> Any:
    """Return a request with the names of the SDK: `S3OutputPath` is `s3_output_path` there."""
    from sagemaker.core.utils.code_injection.codec import pascal_to_snake

    if isinstance(value, dict):
        return {pascal_to_snake(name): _snake(inside) for name, inside in value.items()}
    return [_snake(item) for item in value] if isinstance(value, list) else value
