"""What a tuning job of SageMaker is asked to do."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.sagemaker.metric_log import NAMES
from bert_textclassification.training.tuning.space import DEFAULT_SPACE, SearchSpace, read_space, sagemaker_ranges
from ops.training import TrainingSettings, job_request


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
