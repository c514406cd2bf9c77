"""The schema of the model artifact, which training writes and serving reads.

A folder, or its `model.tar.gz`, with everything needed to serve and nothing executable::

    manifest.json     schema, labels, decision, variants with hashes and measurements, provenance
    tokenizer.json    the fast tokenizer
    fp32.onnx         the model files of the variants
    int8.safetensors
    model_card.md     a readable summary of the manifest

The manifest is written last, so a folder without one is incomplete.

A reader ignores unknown fields, so that a release serves artifacts of newer releases. A change that an older release
must not ignore gets a new schema version.
"""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from bert_textclassification.artifact.hashing import sha256_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Number = TypeVar("Number", float, "NDArray[np.float64]")

PASSED = "passed"  # the verdict of a variant that may be the default
SCHEMA_VERSION = 2  # schema 1 is readable, too
TruncationSide = Literal["left", "right"]
SCORE_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
TOKEN_EDGES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class StoredFile(_Record):
    """A file of the artifact, by name relative to its folder."""

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="a bare name: never outside the folder")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int

    @classmethod
    def of(cls, path: Path) -> "StoredFile":
        """Describe the file at `path`."""
        return cls(file=path.name, sha256=sha256_of(path), size_bytes=path.stat().st_size)


class Comparison(_Record):
    """Two classifiers compared on the same rows: the difference of a metric in points, with its interval."""

    metric: str = Field(default="accuracy", description="the compared metric; loss is the log loss")
    points: float = Field(description="hundredths of the metric, positive where the first is better")
    low: float = Field(description="lower end of the paired 95 % bootstrap interval")
    high: float
    p_value: float = Field(description="two-sided: McNemar's exact test of accuracy, else a paired permutation test")
    rows: int
    sentence: str


class Interval(_Record):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


class ExitScale(_Record):
    """Calibration of the logits after one layer: Platt scaling (Platt 1999) of their difference.

    The positive score is the logistic function of `(positive - negative) / temperature + offset`.
    """

    temperature: float = Field(gt=0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)

    def log_odds(self, margin: Number) -> Number:
        """Return the calibrated log-odds of the positive label from the positive minus the negative logit."""
        return margin / self.temperature + self.offset


class Variant(StoredFile):
    """One servable form of the model with its measurements.

    Accuracy and agreement are shares in [0, 1], at the threshold chosen for the fine-tuned torch model's scores.
    Agreement is the share of texts with the same label as from that model; the largest score change is relative to it,
    too. Average precision, log loss (nats) and calibration error are of the calibrated scores of each split.
    """

    precision: Literal["fp32", "int8"]
    engine: Literal["onnx", "native"] = "onnx"
    batch_size: int = Field(default=1, ge=1, description="Maximum number of texts per batch in ONNX Runtime")
    accuracy: dict[str, float]
    agreement: dict[str, float]
    largest_score_change: dict[str, float]
    exit_margins: tuple[float, ...] = Field(
        default=(), description="Minimum difference of the logits at each early exit for a text to exit there"
    )
    mean_layers: dict[str, float] = Field(default={}, description="Mean number of layers per text, with early exits")
    temperature: float | None = Field(
        default=None,
        gt=0,
        description="One temperature for all exits, in artifacts without exit_scales; default: the decision's",
    )
    exit_scales: tuple[ExitScale, ...] = Field(
        default=(), description="Calibration of each early exit in order, then of the last layer"
    )
    average_precision: dict[str, float] = Field(default={}, description="of the positive class, in [0, 1], by split")
    log_loss: dict[str, float] = Field(default={}, description="nats per text, by split")
    calibration_error: dict[str, float] = Field(
        default={}, description="expected calibration error in [0, 1], by split"
    )
    milliseconds: float | None = Field(
        default=None, description="Per text, one thread, on the machine that trained: median over rounds of the mean"
    )
    milliseconds_low: float | None = Field(default=None, description="The fastest round")
    milliseconds_high: float | None = Field(default=None, description="The slowest round")
    loss_points: float = Field(
        default=0, description="Loss of accuracy relative to the torch model, in points, on the selection rows"
    )
    p_value: float | None = Field(default=None, description="McNemar's exact test against the torch model, same rows")
    loss_at_most: float | None = Field(default=None, description="Upper bound of that loss, in points, one-sided 95 %")
    average_precision_loss: Interval | None = Field(
        default=None,
        description="Loss for the rarer label, in points, relative to the torch model on the selection rows, "
        "paired bootstrap",
    )
    log_loss_increase: Interval | None = Field(
        default=None, description="In nats, relative to the torch model on the selection rows, paired bootstrap"
    )
    compared: Comparison | None = Field(default=None, description="with the torch model, on test")
    verdict: str = Field(default="", description="Whether the variant may be the default, and why")

    @model_validator(mode="after")
    def _one_scale_for_each_exit(self) -> "Variant":
        exits = len(self.exit_margins) + 1
        if self.exit_scales and len(self.exit_scales) != exits:
            raise ValueError(f"{exits} exits, including the last layer, need {exits} exit_scales")
        return self


class Decision(_Record):
    """The rule from a positive-class score to a label and a decision, and the data and objective it was chosen on."""

    threshold: float = Field(default=0.5, gt=0, lt=1)
    temperature: float = Field(default=1.0, gt=0, description="temperature of the default variant")
    review_band: tuple[float, float] | None = Field(
        default=None, description="A person should decide positive scores from the first up to the second"
    )
    objective: str = "no objective: the threshold is 0.5"
    chosen_on: str = "not tuned: the default of 0.5 on uncalibrated scores"

    @model_validator(mode="after")
    def _band_in_order(self) -> "Decision":
        low, high = self.review_band or (0.0, 1.0)
        if not 0 <= low <= high <= 1:
            raise ValueError(f"a review band is (low, high) in [0, 1], not {self.review_band}")
        return self


class DataSplit(_Record):
    """One split that the model was trained or measured on."""

    rows: int
    positives: int
    sha256: str


class DataFinding(_Record):
    """A data-quality issue: the number of rows, the number dropped from train, and a recommendation."""

    kind: str
    count: NonNegativeInt
    dropped: NonNegativeInt
    message: str


class Histogram(_Record):
    """A histogram: `counts[i]` counts values up to `edges[i]` and above the edge before; the last, above all edges."""

    edges: tuple[float, ...]
    counts: tuple[NonNegativeInt, ...]

    @model_validator(mode="after")
    def _one_count_more_than_edges(self) -> "Histogram":
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges need {len(self.edges) + 1} counts, not {len(self.counts)}")
        return self

    @classmethod
    def of(cls, values: Sequence[float], edges: Sequence[float]) -> "Histogram":
        """Count `values` between ascending `edges`."""
        counts = [0] * (len(edges) + 1)
        for value in values:
            counts[bisect_left(edges, value)] += 1
        return cls(edges=tuple(edges), counts=tuple(counts))


class Reference(_Record):
    """Distributions of the default variant on the validation split, the reference for drift of live traffic."""

    scores: Histogram = Field(description="calibrated scores of the positive label")
    tokens: Histogram = Field(description="tokens per text, including special tokens, at most max_length")

    @classmethod
    def of(cls, scores: Sequence[float], tokens: Sequence[int]) -> "Reference":
        """Count scores and lengths in the bins of the server's metrics."""
        return cls(scores=Histogram.of(scores, SCORE_EDGES), tokens=Histogram.of(tokens, TOKEN_EDGES))


class SliceResult(_Record):
    """Metrics of the default variant on a slice of the test texts, compared with the rest."""

    slice: str = Field(description="the property that defines the slice")
    value: str
    rows: int
    positives: int | None = Field(default=None, description="texts with the positive label")
    accuracy: float
    low: float = Field(description="lower end of the accuracy's 95 % Wilson interval")
    high: float
    f1: float | None = Field(description="of the positive class; None without positive texts")
    f1_low: float | None = None
    f1_high: float | None = None
    rest_accuracy: float
    metric: str = Field(default="accuracy", description="the metric of the comparison")
    judged: float | None = Field(default=None, description="that metric; None without texts of the label it needs")
    judged_low: float | None = Field(default=None, description="lower end of its 95 % interval")
    judged_high: float | None = None
    expected: float | None = Field(
        default=None, description="that metric of equally many texts of each label, drawn from the whole test split"
    )
    p_value: float | None = Field(
        default=None, description="of the difference of `judged` and `expected`, Holm-corrected; None: too few texts"
    )


class BehaviourResult(_Record):
    """Number of failures of the default variant in a behavioural test."""

    name: str
    kind: str
    cases: int
    failures: int


class BaseModelSource(_Record):
    """The pretrained model that was fine-tuned."""

    name: str
    sha256: str


class Processor(_Record):
    """A processor: its display name, and its kind as defined by `engines/processor.py`."""

    name: str
    kind: str


class Manifest(_Record):
    """The manifest: what a server needs, and the provenance of the model."""

    schema_version: int
    created: str
    base_model: BaseModelSource
    labels: tuple[str, str] = Field(description="negative, positive")
    max_length: int = Field(ge=2, description="tokens, including special tokens")
    truncation_side: TruncationSide = Field(
        default="right", description="the side where longer texts are truncated: right keeps the beginning"
    )
    decision: Decision
    reference: Reference | None = None
    tokenizer: StoredFile
    variants: dict[str, Variant]
    default_variant: str
    default_reason: str
    not_built: dict[str, str] = Field(default={}, description="variants that could not be built, and why")
    measured_on: Processor | None = Field(
        default=None,
        description="the processor of all measurements; accuracy, scores and speed apply to its kind",
    )
    data: dict[str, DataSplit]
    findings: tuple[DataFinding, ...] = Field(default=(), description="data-quality issues")
    metrics: dict[str, dict[str, dict[str, float]]] = Field(
        description="split -> metric -> value, low, high (95 % bootstrap interval)"
    )
    judging: dict[str, str] = Field(default={}, description="the main metric, and a sentence on why")
    baseline: dict[str, dict[str, float]] = Field(
        default={}, description="metric -> value, low, high of TF-IDF and logistic regression on test"
    )
    comparisons: dict[str, Comparison] = Field(default={}, description="comparisons of the default variant, by name")
    calibration: dict[str, dict[str, float]] = Field(
        default={}, description="split -> calibration error and log loss before and after the temperature"
    )
    review: dict[str, dict[str, float]] = Field(default={}, description="split -> metrics of the review band")
    seeds: dict[str, dict[str, float]] = Field(
        default={}, description="metric -> mean, low, high over the seeds (95 % t-interval)"
    )
    warnings: list[str] = Field(default=[], description="limitations that a user must know")
    slices: tuple[SliceResult, ...] = Field(default=(), description="slices of the test split")
    behaviours: tuple[BehaviourResult, ...] = ()
    training: dict[str, str | int | float | bool | tuple[str, ...] | None]
    versions: dict[str, str]
    seed: int

    def exit_scales(self, name: str) -> tuple[ExitScale, ...]:
        """Return the calibration of each exit of the variant `name`; the last one is of the last layer.

        Older artifacts have one temperature for all exits, in the variant or in the decision.
        """
        variant = self.variants[name]
        scale = ExitScale(temperature=variant.temperature or self.decision.temperature)
        return variant.exit_scales or (scale,) * (len(variant.exit_margins) + 1)
