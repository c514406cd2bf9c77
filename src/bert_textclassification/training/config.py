"""Every setting of training, once: name, default, bounds, meaning; and the folders of a SageMaker job."""

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

_ROOM_BYTES = 1_000_000
FEWEST_TOKENS = 8  # of max_length
MAX_LENGTH = 8192  # tokens; a base model may read fewer
_LARGEST_COST = 1e9  # of one error; sums over many rows stay numbers
_OF_THE_PLATFORM = ("_tuning", "sagemaker_")  # begin the hyperparameters that a tuning job and the SDK add
DEFAULT_BASE_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class TrainingConfig(BaseModel):
    """Settings of one training run. Values may be strings, as SageMaker's hyperparameters are."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: str = Field(description="A file, a folder with train, validation and test, or a hub data set name")
    text_column: str = Field(default="text", description="Column of the texts")
    label_column: str = Field(default="label", description="Column of the labels")
    positive_label: str | None = Field(
        default=None,
        description="The label the model detects; when not given, the one that the names tell (the larger number, "
        "true, yes, positive, spam, ...), else the rarer one in train",
    )
    validation_fraction: float = Field(
        default=0.15, gt=0, lt=0.5, description="Share of rows held out when there is no validation split"
    )
    test_fraction: float = Field(
        default=0.15, gt=0, lt=0.5, description="Share of rows held out when there is no test split"
    )
    drop_issues: tuple[str, ...] = Field(
        default=("leakage", "conflict", "repeat"),
        description=f"Issues whose rows are dropped from train, as a list or with commas: {', '.join(CHECKS)}",
    )
    base_model: str = Field(default=DEFAULT_BASE_MODEL, description="Hub id or local folder of an encoder")
    num_layers: int = Field(
        default=0, ge=0, le=96, description="Layers kept of the base model, evenly spaced with the last; 0 for all"
    )
    max_length: int = Field(
        default=0,
        ge=0,
        le=MAX_LENGTH,
        description="Tokens read of a text, special ones too; auto (or 0): 128, or 256 or 512 where more than 5 % of "
        "the training texts are longer and the base model reads as many",
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout before the classification layer")
    epochs: float = Field(default=4, gt=0, le=100, description="Passes over train, at most")
    batch_size: int = Field(default=32, ge=1, le=1024, description="Texts in a training step")
    learning_rate: float = Field(default=1e-4, gt=0, lt=1, description="Peak learning rate of AdamW")
    layerwise_lr_decay: float = Field(
        default=1, gt=0, le=1, description="Learning rate of a layer as a share of that of the layer above"
    )
    r_drop: float = Field(
        default=0,
        ge=0,
        le=10,
        description="Weight of R-Drop: each batch is read twice, and both readings should agree; twice the time",
    )
    weight_decay: float = Field(default=0.01, ge=0, lt=1, description="Weight decay of AdamW")
    warmup_ratio: float = Field(default=0.06, ge=0, lt=1, description="Share of steps with rising rate")
    class_weights: Literal["auto", "none"] = Field(
        default="auto", description="auto: weigh the loss by class where the rarer one is under 20 % of train"
    )
    evaluations_per_epoch: int = Field(default=1, ge=1, le=100, description="How often validation is measured")
    early_stopping_patience: int = Field(
        default=3, ge=1, description="Evaluations without a better result before training stops"
    )
    selection_metric: Literal["auto", "accuracy", "f1", "average_precision", "average_precision_negative", "loss"] = (
        Field(
            default="auto",
            description="Metric that models are judged by: which checkpoint and seed to keep, the search, comparisons "
            "and slices; auto: average precision of the rarer label where it has under 20 % of train or validation, "
            "else accuracy",
        )
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 autocast where the processor has it, else fp32"
    )
    max_accuracy_loss: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="Points of validation accuracy that a variant may lose and still be the default; a loss that is "
        "not by chance (paired test) refuses it even within them; of a student it must be shown that it loses no more",
    )
    max_average_precision_loss: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="Points of average precision on validation that a variant may lose and still be the default",
    )
    max_log_loss_increase: float = Field(
        default=0.01,
        ge=0,
        description="Nats of log loss on validation that a variant may add and still be the default; 0.01 makes the "
        "true label 1 % less probable on average",
    )
    exit_layers: str = Field(
        default="auto",
        pattern=r"^(auto|none|\d{1,2}(,\d{1,2}){0,2})$",
        description="Layers behind which a text that is clear is answered, as 2,4; auto: half-way",
    )
    early_exit_budget: float = Field(
        default=0.3,
        ge=0,
        le=100,
        description="Points of validation accuracy that answering early may cost, of texts the last layer gets right",
    )
    student_layers: int = Field(
        default=0, ge=0, le=96, description="Layers of the student that is distilled from the model; 0 for no student"
    )
    threshold_objective: str = Field(
        default="accuracy",
        pattern=r"^(none|accuracy|f1|cost|(precision|recall)>=0?\.\d+)$",
        description="What the threshold is chosen for: accuracy, f1, cost, precision>=0.9, recall>=0.9; none for 0.5",
    )
    false_positive_cost: float = Field(
        default=1, gt=0, le=_LARGEST_COST, description="Cost of a text wrongly called positive"
    )
    false_negative_cost: float = Field(
        default=1, gt=0, le=_LARGEST_COST, description="Cost of a positive text that is missed"
    )
    review_cost: float = Field(
        default=0,
        ge=0,
        le=_LARGEST_COST,
        description="Cost of a person looking at a text; 0: no text is left to a person",
    )
    num_seeds: int = Field(default=1, ge=1, le=20, description="Models to train, seed after seed; the best one is kept")
    behavioral_tests: str | None = Field(
        default=None,
        description="YAML file of behavioural tests beside the built-in ones, in a job relative to its channels; "
        "behavioral_tests.yaml in the data folder or a folder in it, if there is one, when not given",
    )
    seed: int = Field(default=42, ge=0, lt=2**32, description="Seed of the splits, the head and the order")

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, values: Any) -> Any:
        return with_new_names(values) if isinstance(values, Mapping) else values

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        return number_or_text(cls, value, info)

    @field_validator("text_column", "label_column")
    @classmethod
    def _named_as_read(cls, value: str) -> str:
        return value.strip()  # as the names in the data are

    @field_validator("positive_label", mode="before")
    @classmethod
    def _label_as_in_the_data(cls, value: Any) -> Any:
        return None if value is None else label_of(value)

    @field_validator("drop_issues", mode="before")
    @classmethod
    def _known_issues(cls, value: Any) -> Any:
        kinds = _listed(value) if isinstance(value, str) else value or ()
        if not isinstance(kinds, (list, tuple)):
            raise ValueError('must be a list such as ["repeat"]')
        for kind in kinds:
            if kind not in CHECKS:
                near = difflib.get_close_matches(str(kind), CHECKS, n=1)
                remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(CHECKS)}"
                raise ValueError(f"there is no issue {kind!r}, {remedy}")
        return tuple(kind for kind in CHECKS if kind in kinds)

    @field_validator("max_length", mode="before")
    @classmethod
    def _auto_is_zero(cls, value: Any) -> Any:
        return 0 if value == "auto" else value

    @field_validator("max_length")
    @classmethod
    def _room_for_words(cls, value: int) -> int:
        if 0 < value < FEWEST_TOKENS:
            raise ValueError(f"must be at least {FEWEST_TOKENS}, or auto")
        return value

    @field_validator("threshold_objective", mode="before")
    @classmethod
    def _bound_without_blanks(cls, value: Any) -> Any:
        return "".join(value.split()) if isinstance(value, str) else value  # precision >= 0.9

    @field_validator("exit_layers", mode="before")
    @classmethod
    def _one_layer_is_a_number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _texts_and_labels_are_two_columns(self) -> Self:
        if self.text_column == self.label_column:
            raise ValueError(f"text_column and label_column are both {self.text_column!r}; give two columns")
        return self

    @model_validator(mode="after")
    def _some_rows_are_left_to_train_on(self) -> Self:
        if self.validation_fraction + self.test_fraction > 0.8:
            raise ValueError("validation_fraction and test_fraction together leave under 20 % to train on")
        return self

    def is_changed(self, name: str) -> bool:
        """Whether a setting has another value than its default."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "TrainingConfig":
        """Check `values` and return the configuration.

        Raises:
            ConfigurationError: names or values are wrong; the one message lists all of them with the nearest name.
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
        """Read the hyperparameters of the job; the data are its channels.

        Raises:
            ConfigurationError: a file is not a JSON object, a name or value is wrong, `data` is among the names, or a
                channel is a pipe.
        """
        self._refuse_pipes()
        content = _read_object(self.hyperparameters, '{"epochs": "3"}')
        own = with_new_names(
            {name: _unquoted(value) for name, value in content.items() if not name.startswith(_OF_THE_PLATFORM)}
        )
        if "data" in own:
            raise ConfigurationError("data is no hyperparameter: a job reads its channels; give the data as a channel.")
        if own.get("behavioral_tests"):
            own["behavioral_tests"] = str(self.data / str(own["behavioral_tests"]))  # below a channel
        return TrainingConfig.of({**own, "data": str(self.data)})

    def are_full(self) -> bool:
        """Whether there is no room left in a folder that the job writes to."""
        written_to = (self.model, self.output.parent, self.checkpoints)
        return any(shutil.disk_usage(folder).free < _ROOM_BYTES for folder in written_to if folder.exists())

    def _refuse_pipes(self) -> None:
        channels = _read_object(self.input_data_config, '{"train": {"TrainingInputMode": "File"}}')
        for name, channel in channels.items():
            if isinstance(channel, dict) and channel.get("TrainingInputMode") == "Pipe":
                raise ConfigurationError(f"The channel {name} is in Pipe mode; use File or FastFile.")


def _read_object(path: Path, example: str) -> dict[str, Any]:
    """Return the JSON object in a file, an empty one where there is no file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise ConfigurationError(f"{path} is not valid JSON: {problem}.") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must hold an object such as {example}.")
    return content


def _listed(value: str) -> list[Any]:
    """Return the items of a JSON list or of text with commas."""
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
