"""Search for the best settings of training in SageMaker, in the same space as `make search`.

    python -m ops.tune --config ops/config/tuning.yaml            # print the plan
    python -m ops.tune --config ops/config/tuning.yaml --yes      # do it; once for the same settings
    python -m ops.tune --config ops/config/tuning.yaml --again --yes
    python -m ops.tune --config ops/config/tuning.yaml --stop --yes

An interruption leaves the job running; the same command waits for it again. The last line is the best settings.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.sagemaker.metric_log import NAMES
from bert_textclassification.training.tuning.space import DEFAULT_SPACE, SearchSpace, read_space, sagemaker_ranges
from ops.jobs import TUNING, Job, command
from ops.sagemaker_sdk import tuner
from ops.sagemaker_settings import NAME, Clients, with_digest
from ops.train import TrainingSettings, job_request


class TuningSettings(TrainingSettings):
    """Settings of ops/config/tuning.yaml: those of a training job, and the search."""

    name: str = Field(pattern=NAME, max_length=12, description="Prefix of the jobs' names, which SageMaker keeps short")
    space: Path = Field(default=DEFAULT_SPACE, description="Search space, as `make search` reads it")
    objective: str = Field(default="validation_accuracy", description="Metric by which jobs are compared")
    strategy: Literal["Bayesian", "Random"] = Field(default="Bayesian", description="How values are chosen")
    jobs: int = Field(default=20, ge=1, le=750, description="Number of training jobs")
    parallel: int = Field(default=4, ge=1, le=100, description="Jobs at the same time")
    early_stopping: bool = Field(default=True, description="Stop jobs that are clearly worse than earlier ones")
    stop_after_s: int = Field(default=24 * 3600, ge=120, le=2592000, description="Longest time of the whole search")

    @model_validator(mode="after")
    def _search_fits(self) -> Self:
        if self.objective not in NAMES:
            raise ValueError(f"objective={self.objective!r} is no metric of a job; there are {', '.join(NAMES)}")
        if self.objective.startswith("test_"):
            raise ValueError("objective: a test_ metric must not guide the search; choose a validation_ metric")
        twice = sorted(set(self.hyperparameters) & set(self.search_space().names()))
        if twice:
            raise ValueError(f"hyperparameters: {', '.join(twice)} is in the search space too; remove it from one")
        return self

    def search_space(self) -> SearchSpace:
        """Return the search space.

        Raises:
            ValueError: it cannot be read, or names an unknown setting.
        """
        try:
            return read_space(self.space)
        except ConfigurationError as problem:
            raise ValueError(str(problem).rstrip(".")) from None


def tuning_request(settings: TuningSettings) -> dict[str, Any]:
    """Return the request of CreateHyperParameterTuningJob without the name of the job."""
    training = job_request(settings)
    tags = {"Tags": training.pop("Tags")} if "Tags" in training else {}
    # No checkpoints: concurrent jobs would resume from one another's.
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


def tuning_job(clients: Clients, settings: TuningSettings, again: bool = False) -> Job:
    """Return the job of the settings."""
    request = tuning_request(settings)
    name = with_digest(settings.name, {key: value for key, value in request.items() if key != "Tags"})

    def start() -> str:
        job_name = f"{name}-{int(time.time()):x}"  # 32 characters are allowed
        tuner(settings, name, request).tune(job_name=job_name, wait=False)
        return job_name

    return Job(clients, TUNING, name, start, request, settings.poll_seconds, settings.stop_after_s, again)


def best(tuning: Mapping[str, Any]) -> str:
    """Return the result of a complete search in one line."""
    job = tuning.get("BestTrainingJob")
    if not job:
        return "No job has reported the objective; see their logs."
    values = " ".join(f"{name}={value.strip(chr(34))}" for name, value in job["TunedHyperParameters"].items())
    metric = job["FinalHyperParameterTuningJobObjectiveMetric"]
    return f"best: {job['TrainingJobName']} {metric['MetricName']}={metric['Value']:.4f} with {values}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return command(argv, __doc__, "ops/config/tuning.yaml", TuningSettings, tuning_job, summary=best)


if __name__ == "__main__":
    sys.exit(main())
