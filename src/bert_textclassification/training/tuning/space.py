"""The search space: read from YAML, for Optuna and for a SageMaker tuning job.

    space = read_space(DEFAULT_SPACE)
    space.suggest(trial)            # {"learning_rate": 0.00012, "num_layers": 4, ...}
    sagemaker_ranges(space)         # ParameterRanges of CreateHyperParameterTuningJob

    bert-textclassification search --sagemaker-ranges --space mine.yaml

prints the SageMaker ranges as JSON.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import MIN_LENGTH, TrainingConfig
from bert_textclassification.training.settings.files import read_settings
from bert_textclassification.training.settings.renamed import with_new_names

if TYPE_CHECKING:
    import optuna

DEFAULT_SPACE = Path(__file__).with_name("search_space.yaml")
MOST_PARAMETERS = MOST_VALUES = 30  # parameters of each kind, values of a categorical one: SageMaker's quotas
# Settings that change the trained model: only these can be searched.
SEARCHABLE = (
    "num_layers", "max_length", "dropout", "epochs", "batch_size", "learning_rate", "layerwise_lr_decay", "r_drop",
    "weight_decay", "warmup_ratio", "class_weights", "evaluations_per_epoch", "early_stopping_patience", "precision",
    "exit_layers",
)  # fmt: skip
# Settings that change the rows, the tokens or the metric: trials with different values cannot be compared.
SAME_FOR_ALL = (
    "data", "text_column", "label_column", "positive_label", "validation_fraction", "test_fraction", "drop_issues",
    "base_model", "selection_metric", "seed",
)  # fmt: skip
# Settings without effect on a trial, which trains one model and scores it in int8 on validation.
WITHOUT_EFFECT = (
    "max_accuracy_loss", "early_exit_budget", "max_average_precision_loss", "max_log_loss_increase", "student_layers",
    "threshold_objective", "false_positive_cost", "false_negative_cost", "review_cost", "num_seeds", "behavioral_tests",
)  # fmt: skip

Number = TypeVar("Number", int, float)
Values = Annotated[list[int | float | str], Field(min_length=1, max_length=MOST_VALUES)]


class Range(BaseModel, Generic[Number]):
    """Numbers from `low` to `high`, both included; with `log`, sampled uniformly on a logarithmic scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: Number
    high: Number
    log: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("low must be above 0 if log is true")
        return self


class SearchSpace(BaseModel):
    """The ranges of some settings of TrainingConfig, by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    continuous: dict[str, Range[float]] = Field(default={}, max_length=MOST_PARAMETERS)
    integer: dict[str, Range[int]] = Field(default={}, max_length=MOST_PARAMETERS)
    categorical: dict[str, Values] = Field(default={}, max_length=MOST_PARAMETERS)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = self.names()
        twice = {name for name in names if names.count(name) > 1}
        if twice or not names:
            raise ValueError(f"{', '.join(sorted(twice))} is given twice" if twice else "it has no settings")
        return self

    def names(self) -> list[str]:
        """Return the names of the searched settings."""
        return [*self.continuous, *self.integer, *self.categorical]

    def ranges(self) -> dict[str, Range[float] | Range[int]]:
        """Return the numerical ranges."""
        return {**self.continuous, **self.integer}

    def extremes(self) -> Iterator[tuple[str, Any]]:
        """Yield the name of each setting with each end of its range or with each of its values."""
        for name, bounds in self.ranges().items():
            yield from ((name, bounds.low), (name, bounds.high))
        for name, values in self.categorical.items():
            yield from ((name, value) for value in values)

    def values(self, name: str, given: Any) -> list[Any]:
        """Return the ends of a setting's range, or its values; only `given` if it is not searched."""
        return [value for searched, value in self.extremes() if searched == name] or [given]

    def holds(self, name: str, value: Any) -> bool:
        """Whether the setting is searched and the value is in the space."""
        bounds = self.ranges().get(name)
        return bounds.low <= value <= bounds.high if bounds else value in self.categorical.get(name, ())

    def suggest(self, trial: "optuna.Trial") -> dict[str, Any]:
        """Return the settings that Optuna suggests for the trial."""
        continuous = {
            name: trial.suggest_float(name, bounds.low, bounds.high, log=bounds.log)
            for name, bounds in self.continuous.items()
        }
        integer = {
            name: trial.suggest_int(name, bounds.low, bounds.high, log=bounds.log)
            for name, bounds in self.integer.items()
        }
        chosen = {name: trial.suggest_categorical(name, values) for name, values in self.categorical.items()}
        return continuous | integer | chosen


def read_space(path: str | Path) -> SearchSpace:
    """Read the search space from the YAML file `path`.

    Raises:
        ConfigurationError: it cannot be read, or a setting or a value is invalid.
    """
    space = read_settings(path, SearchSpace, _with_new_names)
    for name, value in space.extremes():
        _check(path, space, name, value)
    return space


def _with_new_names(sections: Any) -> Any:
    if not isinstance(sections, dict):
        return sections
    return {
        section: with_new_names(ranges) if isinstance(ranges, dict) else ranges for section, ranges in sections.items()
    }


def sagemaker_ranges(space: SearchSpace) -> dict[str, list[dict[str, Any]]]:
    """Return the `ParameterRanges` of SageMaker's CreateHyperParameterTuningJob, where every number is a string."""
    return {
        "ContinuousParameterRanges": [_range(name, bounds) for name, bounds in space.continuous.items()],
        "IntegerParameterRanges": [_range(name, bounds) for name, bounds in space.integer.items()],
        "CategoricalParameterRanges": [
            {"Name": name, "Values": [str(value) for value in values]} for name, values in space.categorical.items()
        ],
    }


def _range(name: str, bounds: Range[int] | Range[float]) -> dict[str, Any]:
    scaling = "Logarithmic" if bounds.log else "Linear"
    return {"Name": name, "MinValue": str(bounds.low), "MaxValue": str(bounds.high), "ScalingType": scaling}


def _check(path: str | Path, space: SearchSpace, name: str, value: Any) -> None:
    if name in SAME_FOR_ALL:
        raise ConfigurationError(
            f"The search space {path}: {name} must be the same in all trials; give it as a setting."
        )
    if name in WITHOUT_EFFECT:
        raise ConfigurationError(
            f"The search space {path}: {name} changes neither the score nor the speed of a trial, which is one model; "
            "take it out, and give it as a setting when you train with the best settings."
        )
    if name == "max_length" and value in (0, "0", "auto"):
        raise ConfigurationError(
            f"The search space {path}: max_length must be a number of tokens, from {MIN_LENGTH} on, in every trial; "
            "take auto and 0 out."
        )
    try:
        TrainingConfig.of({"data": "", name: value})
    except ConfigurationError as problem:
        raise ConfigurationError(f"The search space {path}: {problem}") from None
    if name in space.continuous and TrainingConfig.model_fields[name].annotation is int:
        raise ConfigurationError(f"The search space {path}: {name} takes whole numbers; put it under integer.")


def ranges_as_json(space_file: Path) -> str:
    """Return the search space of a file as SageMaker's `ParameterRanges`, in JSON.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    return json.dumps(sagemaker_ranges(read_space(space_file)), indent=2)
