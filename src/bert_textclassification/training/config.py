"""The settings of training (name, default, bounds, description) and the folders of a SageMaker job."""

import difflib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.data_checks import CHECKS
from bert_textclassification.training.labels import label_of
from bert_textclassification.training.settings.renamed import with_new_names
from bert_textclassification.training.settings.wrong_values import number_or_text, one_sentence

_MIN_FREE_BYTES = 1_000_000
MIN_LENGTH = 8  # tokens, of max_length
MAX_LENGTH = 8192  # tokens; a base model may read fewer
_MAX_COST = 1e9  # of one error, so that sums over many rows stay finite
_PLATFORM_PREFIXES = ("_tuning", "sagemaker_")  # of the hyperparameters that a tuning job and the SDK add
DEFAULT_BASE_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class TrainingConfig(BaseModel):
    """Settings of one training run. Values may be strings, as in SageMaker's hyperparameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: str = Field(description="A file, a folder with train, validation and test, or a hub data set name")
    text_column: str = Field(default="text", description="Column with the texts")
    label_column: str = Field(default="label", description="Column with the labels")
    positive_label: str | None = Field(
        default=None,
        description="The label that the model detects; by default the label whose name suggests it (the larger number, "
        "true, yes, positive, spam, ...), else the rarer label of train",
    )
    validation_fraction: float = Field(
        default=0.15, gt=0, lt=0.5, description="Share of rows held out when there is no validation split"
    )
    test_fraction: float = Field(
        default=0.15, gt=0, lt=0.5, description="Share of rows held out when there is no test split"
    )
    drop_issues: tuple[str, ...] = Field(
        default=("leakage", "conflict", "repeat"),
        description=f"Issues whose rows are dropped from train, as a list or comma-separated: {', '.join(CHECKS)}",
    )
    base_model: str = Field(default=DEFAULT_BASE_MODEL, description="Hub id or local folder of an encoder")
    num_layers: int = Field(
        default=0,
        ge=0,
        le=96,
        description="Number of base model layers to keep, evenly spaced and including the last; 0 keeps all",
    )
    max_length: int = Field(
        default=0,
        ge=0,
        le=MAX_LENGTH,
        description="Maximum number of tokens per text, special tokens included; longer texts are truncated. auto (or "
        "0): the smallest of 128, 256 and 512 that truncates at most 5 % of the training texts, else the largest that "
        "the base model reads",
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout before the classification layer")
    epochs: float = Field(default=4, gt=0, le=100, description="Maximum number of passes over train")
    batch_size: int = Field(default=32, ge=1, le=1024, description="Texts per training step")
    learning_rate: float = Field(default=1e-4, gt=0, lt=1, description="Peak learning rate of AdamW")
    layerwise_lr_decay: float = Field(
        default=1, gt=0, le=1, description="Learning rate of a layer divided by the learning rate of the layer above"
    )
    r_drop: float = Field(
        default=0,
        ge=0,
        le=10,
        description="Weight of the R-Drop loss, which reduces the difference between two forward passes with dropout; "
        "doubles the training time; 0 turns it off",
    )
    weight_decay: float = Field(default=0.01, ge=0, lt=1, description="Weight decay of AdamW")
    warmup_ratio: float = Field(default=0.06, ge=0, lt=1, description="Share of steps with a rising learning rate")
    class_weights: Literal["auto", "none"] = Field(
        default="auto", description="auto: weight the loss by class if the rarer label is under 20 % of train"
    )
    evaluations_per_epoch: int = Field(
        default=1, ge=1, le=100, description="How often the model is evaluated on validation"
    )
    early_stopping_patience: int = Field(
        default=3, ge=1, description="Evaluations without improvement before training stops"
    )
    selection_metric: Literal["auto", "accuracy", "f1", "average_precision", "average_precision_negative", "loss"] = (
        Field(
            default="auto",
            description="Metric for choosing checkpoint and seed, for the hyperparameter search, comparisons and "
            "slices; auto: average precision of the rarer label if it is under 20 % of train or validation, else "
            "accuracy",
        )
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 autocast if the processor has bf16 instructions, else fp32"
    )
    max_accuracy_loss: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="Points of validation accuracy that the default variant may lose. A smaller loss also rejects a "
        "variant if it is significant (paired test); a student must be shown to lose no more than this",
    )
    max_average_precision_loss: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="Points of average precision on validation that the default variant may lose",
    )
    max_log_loss_increase: float = Field(
        default=0.01,
        ge=0,
        description="Nats of log loss on validation that the default variant may add; 0.01 makes the true label 1 % "
        "less probable on average",
    )
    exit_layers: str = Field(
        default="auto",
        pattern=r"^(auto|none|\d{1,2}(,\d{1,2}){0,2})$",
        description="Layers with an early exit for confident texts, such as 2,4; auto: one at half of the layers",
    )
    early_exit_budget: float = Field(
        default=0.3,
        ge=0,
        le=100,
        description="Points of validation accuracy that early exits may lose; texts that only an early exit gets right "
        "do not offset lost ones",
    )
    student_layers: int = Field(
        default=0, ge=0, le=96, description="Number of layers of the student to distil from the model; 0: no student"
    )
    threshold_objective: str = Field(
        default="accuracy",
        pattern=r"^(none|accuracy|f1|cost|(precision|recall)>=0?\.\d+)$",
        description="Objective of the threshold: accuracy, f1, cost, precision>=0.9, recall>=0.9; none: 0.5",
    )
    false_positive_cost: float = Field(default=1, gt=0, le=_MAX_COST, description="Cost of a false positive")
    false_negative_cost: float = Field(default=1, gt=0, le=_MAX_COST, description="Cost of a false negative")
    review_cost: float = Field(
        default=0,
        ge=0,
        le=_MAX_COST,
        description="Cost of a manual review of a text; 0: no texts are sent to review",
    )
    num_seeds: int = Field(
        default=1, ge=1, le=20, description="Number of models to train, one per seed; the best one is kept"
    )
    behavioral_tests: str | None = Field(
        default=None,
        description="YAML file of behavioural tests to add to the built-in ones, in a job relative to its channels; by "
        "default behavioral_tests.yaml in the data folder or one of its subfolders, if it exists",
    )
    seed: int = Field(
        default=42, ge=0, lt=2**32, description="Seed of the splits, the classification layer and the order of the rows"
    )

    @model_validator(mode="before")
    @classmethod
    def _rename_old_settings(cls, values: Any) -> Any:
        return with_new_names(values) if isinstance(values, Mapping) else values

    @field_validator("*", mode="before")
    @classmethod
    def _reject_booleans_as_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        return number_or_text(cls, value, info)

    @field_validator("text_column", "label_column")
    @classmethod
    def _strip_column_name(cls, value: str) -> str:
        return value.strip()  # the names of the data are stripped, too

    @field_validator("positive_label", mode="before")
    @classmethod
    def _normalise_label(cls, value: Any) -> Any:
        return None if value is None else label_of(value)

    @field_validator("drop_issues", mode="before")
    @classmethod
    def _check_issues(cls, value: Any) -> Any:
        kinds = _parse_list(value) if isinstance(value, str) else value or ()
        if not isinstance(kinds, (list, tuple)):
            raise ValueError('must be a list such as ["repeat"]')
        for kind in kinds:
            if kind not in CHECKS:
                matches = difflib.get_close_matches(str(kind), CHECKS, n=1)
                remedy = f"did you mean {matches[0]!r}?" if matches else f"the issues are {', '.join(CHECKS)}"
                raise ValueError(f"there is no issue {kind!r}, {remedy}")
        return tuple(kind for kind in CHECKS if kind in kinds)

    @field_validator("max_length", mode="before")
    @classmethod
    def _read_auto_as_zero(cls, value: Any) -> Any:
        return 0 if value == "auto" else value

    @field_validator("max_length")
    @classmethod
    def _check_min_length(cls, value: int) -> int:
        if 0 < value < MIN_LENGTH:
            raise ValueError(f"must be at least {MIN_LENGTH}, or auto")
        return value

    @field_validator("threshold_objective", mode="before")
    @classmethod
    def _remove_blanks(cls, value: Any) -> Any:
        return "".join(value.split()) if isinstance(value, str) else value  # "precision >= 0.9"

    @field_validator("exit_layers", mode="before")
    @classmethod
    def _accept_a_number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _check_columns_differ(self) -> Self:
        if self.text_column == self.label_column:
            raise ValueError(f"text_column and label_column are both {self.text_column!r}; give two columns")
        return self

    @model_validator(mode="after")
    def _check_train_fraction(self) -> Self:
        if self.validation_fraction + self.test_fraction > 0.8:
            raise ValueError("validation_fraction and test_fraction leave under 20 % of the rows to train on")
        return self

    def is_changed(self, name: str) -> bool:
        """Whether a setting differs from its default."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "TrainingConfig":
        """Validate `values` and return the configuration.

        Raises:
            ConfigurationError: names or values are wrong; the message lists all of them and suggests similar names.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as problem:
            raise ConfigurationError(one_sentence(problem, cls)) from None


class SageMakerFolders:
    """The folders of a SageMaker training job under a base path, `/opt/ml` on the platform."""

    def __init__(self, base: str | Path | None = None) -> None:
        self.base = Path(base or os.environ.get("SAGEMAKER_BASE_DIR") or "/opt/ml")
        self.hyperparameters = self.base / "input" / "config" / "hyperparameters.json"
        self.resource_config = self.base / "input" / "config" / "resourceconfig.json"
        self.input_data_config = self.base / "input" / "config" / "inputdataconfig.json"
        self.data = self.base / "input" / "data"
        self.model = self.base / "model"
        self.output = self.base / "output" / "data"
        self.failure = self.base / "output" / "failure"
        self.checkpoints = self.base / "checkpoints"

    def training_config(self) -> TrainingConfig:
        """Read the hyperparameters of the job; its channels are the data.

        Raises:
            ConfigurationError: a file is not a JSON object, a name or value is wrong, `data` is among the names, or a
                channel is in Pipe mode.
        """
        self._reject_pipes()
        content = _read_object(self.hyperparameters, '{"epochs": "3"}')
        values = with_new_names(
            {name: _unquoted(value) for name, value in content.items() if not name.startswith(_PLATFORM_PREFIXES)}
        )
        if "data" in values:
            raise ConfigurationError("data is not a hyperparameter: a job reads its channels; pass data as a channel.")
        if values.get("behavioral_tests"):
            values["behavioral_tests"] = str(self.data / str(values["behavioral_tests"]))  # below a channel
        return TrainingConfig.of({**values, "data": str(self.data)})

    def are_full(self) -> bool:
        """Whether the disk of a folder that the job writes to is full."""
        folders = (self.model, self.output.parent, self.checkpoints)
        return any(shutil.disk_usage(folder).free < _MIN_FREE_BYTES for folder in folders if folder.exists())

    def _reject_pipes(self) -> None:
        channels = _read_object(self.input_data_config, '{"train": {"TrainingInputMode": "File"}}')
        for name, channel in channels.items():
            if isinstance(channel, dict) and channel.get("TrainingInputMode") == "Pipe":
                raise ConfigurationError(f"The channel {name} is in Pipe mode; use File or FastFile.")


def _read_object(path: Path, example: str) -> dict[str, Any]:
    """Return the JSON object in a file, or an empty one if the file does not exist."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise ConfigurationError(f"{path} is not valid JSON: {problem}.") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must contain a JSON object such as {example}.")
    return content


def _parse_list(value: str) -> list[Any]:
    """Return the items of a JSON list or of comma-separated text."""
    if not value.lstrip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    try:
        items: list[Any] = json.loads(value)
    except ValueError as problem:
        raise ValueError(f'not a JSON list such as ["repeat"]: {problem}') from None
    return items


def _unquoted(value: Any) -> Any:
    """Return the string inside a JSON-encoded string: the SageMaker SDK sends `"\\"auto\\""` for `auto`."""
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
