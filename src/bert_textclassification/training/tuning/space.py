"""Where a search looks: read once from YAML, for Optuna and for a SageMaker tuning job.

    space = read_space(DEFAULT_SPACE)
    space.suggest(trial)            # {"learning_rate": 0.00012, "num_layers": 4, ...}
    sagemaker_ranges(space)         # ParameterRanges of CreateHyperParameterTuningJob

    bert-textclassification search --sagemaker-ranges --space mine.yaml

prints the latter as JSON.
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
MOST_PARAMETERS = MOST_VALUES = 30  # of each kind, and of a categorical one: SageMaker's quota
# What changes the model that a trial trains: only these can be searched.
SEARCHABLE = (
    "num_layers", "max_length", "dropout", "epochs", "batch_size", "learning_rate", "layerwise_lr_decay", "r_drop",
    "weight_decay", "warmup_ratio", "class_weights", "evaluations_per_epoch", "early_stopping_patience", "precision",
    "exit_layers",
)  # fmt: skip
# What decides on the rows, the tokens, or how models are judged: trials that differ in it cannot be compared.
SAME_FOR_ALL = (
    "data", "text_column", "label_column", "positive_label", "validation_fraction", "test_fraction", "drop_issues",
    "base_model", "selection_metric", "seed",
)  # fmt: skip
# What a trial does not look at: it trains one model and scores its int8 form on validation, whatever these are.
WITHOUT_EFFECT = (
    "max_accuracy_loss", "early_exit_budget", "max_average_precision_loss", "max_log_loss_increase", "student_layers",
    "threshold_objective", "false_positive_cost", "false_negative_cost", "review_cost", "num_seeds", "behavioral_tests",
)  # fmt: skip

Number = TypeVar("Number", int, float)
Values = Annotated[list[int | float | str], Field(min_length=1, max_length=MOST_VALUES)]


class Range(BaseModel, Generic[Number]):
    """Numbers from `low` to `high`, both included; with `log`, evenly spread over orders of magnitude."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: Number
    high: Number
    log: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError("low must lie below high")
        if self.log and self.low <= 0:
            raise ValueError("low must be above 0 with log")
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
            raise ValueError(f"{', '.join(sorted(twice))} is there twice" if twice else "it names no setting")
        return self

    def names(self) -> list[str]:
        """Return the settings that are searched."""
        return [*self.continuous, *self.integer, *self.categorical]

    def ranges(self) -> dict[str, Range[float] | Range[int]]:
        """Return the ranges of numbers."""
        return {**self.continuous, **self.integer}

    def extremes(self) -> Iterator[tuple[str, Any]]:
        """Yield the name with each end of a range, and with each value of a categorical setting."""
        for name, one in self.ranges().items():
            yield from ((name, one.low), (name, one.high))
        for name, values in self.categorical.items():
            yield from ((name, value) for value in values)

    def values(self, name: str, given: Any) -> list[Any]:
        """Return the ends of the range, or the values, of a setting; `given` alone where it is not searched."""
        return [value for searched, value in self.extremes() if searched == name] or [given]

    def holds(self, name: str, value: Any) -> bool:
        """Whether the setting is searched and the value is one that a trial may have."""
        one = self.ranges().get(name)
        return one.low <= value <= one.high if one else value in self.categorical.get(name, ())

    def suggest(self, trial: "optuna.Trial") -> dict[str, Any]:
        """Return the settings that Optuna wants tried."""
        continuous = {
            name: trial.suggest_float(name, one.low, one.high, log=one.log) for name, one in self.continuous.items()
        }
        integer = {name: trial.suggest_int(name, one.low, one.high, log=one.log) for name, one in self.integer.items()}
        chosen = {name: trial.suggest_categorical(name, values) for name, values in self.categorical.items()}
        return continuous | integer | chosen


def read_space(path: str | Path) -> SearchSpace:
    """Read the search space that is written at `path`.

    Raises:
        ConfigurationError: it cannot be read, or names something that is no setting or no value of it.
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
    """Return the `ParameterRanges` of SageMaker's CreateHyperParameterTuningJob: every number is a string there."""
    return {
        "ContinuousParameterRanges": [_range(name, one) for name, one in space.continuous.items()],
        "IntegerParameterRanges": [_range(name, one) for name, one in space.integer.items()],
        "CategoricalParameterRanges": [
            {"Name": name, "Values": [str(value) for value in values]} for name, values in space.categorical.items()
        ],
    }


def _range(name: str, one: Range[int] | Range[float]) -> dict[str, Any]:
    scaling = "Logarithmic" if one.log else "Linear"
    return {"Name": name, "MinValue": str(one.low), "MaxValue": str(one.high), "ScalingType": scaling}


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
    """Return the space in a file as SageMaker's `ParameterRanges`, in JSON.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    return json.dumps(sagemaker_ranges(read_space(space_file)), indent=2)
