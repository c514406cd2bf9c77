"""What a tuning job of SageMaker is asked to do, and the SDK's object that asks it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.sagemaker.metric_log import NAMES
from bert_textclassification.training.tuning.space import DEFAULT_SPACE, SearchSpace, read_space, sagemaker_ranges
from ops.aws import AwsSettings
from ops.training import TrainingSettings, job_request, model_trainer

if TYPE_CHECKING:
    from sagemaker.train.tuner import HyperparameterTuner


class TuningSettings(TrainingSettings):
    """Settings of ops/config/tuning.yaml: those of a training job, and where to search."""

    name: str = Field(
        pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$",
        max_length=12,
        description="What the names of jobs begin with; SageMaker leaves little room",
    )
    space: Path = Field(default=DEFAULT_SPACE, description="The search space, as make search reads it")
    objective: str = Field(default="validation_accuracy", description="Metric of a job that is compared")
    strategy: Literal["Bayesian", "Random"] = Field(default="Bayesian", description="Who chooses values")
    jobs: int = Field(default=20, ge=1, le=750, description="Training jobs in all")
    parallel: int = Field(default=4, ge=1, le=100, description="Of these at the same time")
    early_stopping: bool = Field(default=True, description="Stop jobs that are clearly worse than those before")
    stop_after_s: int = Field(default=24 * 3600, ge=120, le=2592000, description="Longest time of the whole search")

    @model_validator(mode="after")
    def _search_fits(self) -> Self:
        if self.objective not in NAMES:
            raise ValueError(f"objective={self.objective!r} is no metric of a job; there are {', '.join(NAMES)}")
        if self.objective.startswith("test_"):
            raise ValueError("objective: test is for the last word; search with a validation_ metric")
        twice = sorted(set(self.hyperparameters) & set(self.search_space().names()))
        if twice:
            raise ValueError(f"hyperparameters: {', '.join(twice)} is in the search space too; remove it from one")
        return self

    def search_space(self) -> SearchSpace:
        """Return the search space.

        Raises:
            ValueError: it cannot be read or names what is no setting.
        """
        try:
            return read_space(self.space)
        except ConfigurationError as problem:
            raise ValueError(str(problem).rstrip(".")) from None


def tuning_request(settings: TuningSettings) -> dict[str, Any]:
    """Return the request of CreateHyperParameterTuningJob without the name of the job."""
    training = job_request(settings)
    tags = {"Tags": training.pop("Tags")} if "Tags" in training else {}
    # No checkpoints: jobs that run at the same time would fetch one another's at every start.
    training["StaticHyperParameters"] = training.pop("HyperParameters")
    kind = "Minimize" if settings.objective.endswith("loss") else "Maximize"
    config = {
        "Strategy": settings.strategy,
        "HyperParameterTuningJobObjective": {"Type": kind, "MetricName": settings.objective},
        "ResourceLimits": {
            "MaxNumberOfTrainingJobs": settings.jobs,
            "MaxParallelTrainingJobs": settings.parallel,
            "MaxRuntimeInSeconds": settings.stop_after_s,
        },
        "ParameterRanges": sagemaker_ranges(settings.search_space()),
        "TrainingJobEarlyStoppingType": "Auto" if settings.early_stopping else "Off",
        "RandomSeed": TrainingConfig.model_fields["seed"].default,
    }
    return {"HyperParameterTuningJobConfig": config, "TrainingJobDefinition": training, **tags}


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
