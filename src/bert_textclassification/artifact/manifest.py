"""The model artifact on disk: what training writes and serving reads.

A folder, or its `model.tar.gz`, with everything needed to serve and nothing executable::

    manifest.json     schema, labels, decision, variants with hashes and measurements, provenance
    tokenizer.json    the fast tokenizer
    fp32.onnx         the model files of the variants
    int8.safetensors
    model_card.md     the manifest for people

The manifest is written last, so a folder without one is not an artifact.

A reader ignores fields that it does not know, so that a release serves what a newer one has trained. What an older
release must not overlook gets a new schema version.
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

PASSED = "passed"  # the verdict on a variant that may be the default
SCHEMA_VERSION = 2  # schema 1 is read, too
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
    """Two classifiers on the same rows: the difference of a metric in points, and what it says."""

    metric: str = Field(default="accuracy", description="what is compared; loss: the log loss")
    points: float = Field(description="hundredths of the metric, positive where the first is better")
    low: float = Field(description="lower end of the paired 95 % bootstrap interval")
    high: float
    p_value: float = Field(description="two-sided: McNemar's exact test of accuracy, else a paired permutation test")
    rows: int
    sentence: str


class Interval(_Record):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


class ExitScale(_Record):
    """How the logits behind one layer become calibrated: Platt scaling (Platt 1999) of their difference.

    The positive score is the logistic function of `(positive - negative) / temperature + offset`.
    """

    temperature: float = Field(gt=0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)

    def log_odds(self, margin: Number) -> Number:
        """Return the calibrated log-odds of the positive label from how far its logit lies above the other one."""
        return margin / self.temperature + self.offset


class Variant(StoredFile):
    """One servable form of the model with what was measured of it.

    Accuracies and agreement are shares in [0, 1], at the threshold that suits the fine-tuned torch model's scores;
    agreement is the share of texts that get the same label as from that model; the largest score change is against the
    same. Average precision, log loss (nats) and calibration error are those of the calibrated scores of each split.
    """

    precision: Literal["fp32", "int8"]
    engine: Literal["onnx", "native"] = "onnx"
    batch_size: int = Field(default=1, ge=1, description="Most texts that ONNX Runtime may put in one batch")
    accuracy: dict[str, float]
    agreement: dict[str, float]
    largest_score_change: dict[str, float]
    exit_margins: tuple[float, ...] = Field(
        default=(), description="How far apart the logits must be at each early exit for a text to be answered there"
    )
    mean_layers: dict[str, float] = Field(default={}, description="Layers a text took on average, with early exits")
    temperature: float | None = Field(
        default=None,
        gt=0,
        description="One temperature for all exits, of artifacts without exit_scales; the decision's when not given",
    )
    exit_scales: tuple[ExitScale, ...] = Field(
        default=(), description="One for each early exit in order, then that of the last layer; all give one scale"
    )
    average_precision: dict[str, float] = Field(default={}, description="of the positive class, in [0, 1], by split")
    log_loss: dict[str, float] = Field(default={}, description="nats a text, by split")
    calibration_error: dict[str, float] = Field(
        default={}, description="expected calibration error in [0, 1], by split"
    )
    milliseconds: float | None = Field(
        default=None, description="A text, one thread, on the machine that made this: median over rounds of the mean"
    )
    milliseconds_low: float | None = Field(default=None, description="The fastest of the rounds")
    milliseconds_high: float | None = Field(default=None, description="The slowest of the rounds")
    loss_points: float = Field(
        default=0, description="Accuracy lost against the torch model, in points, on the rows that judge"
    )
    p_value: float | None = Field(default=None, description="McNemar's exact test against the torch model, same rows")
    loss_at_most: float | None = Field(
        default=None, description="Points that the same rows do not rule out to be lost, one-sided 95 %"
    )
    average_precision_loss: Interval | None = Field(
        default=None,
        description="Points of the rarer label's lost against the torch model on the rows that judge, paired bootstrap",
    )
    log_loss_increase: Interval | None = Field(
        default=None, description="Nats added to the torch model's on the rows that judge, paired bootstrap"
    )
    compared: Comparison | None = Field(default=None, description="with the torch model, on test")
    verdict: str = Field(default="", description="Whether this may be the default, and why")

    @model_validator(mode="after")
    def _one_scale_for_each_exit(self) -> "Variant":
        exits = len(self.exit_margins) + 1
        if self.exit_scales and len(self.exit_scales) != exits:
            raise ValueError(f"{exits} exits, the last layer's included, need {exits} exit_scales")
        return self


class Decision(_Record):
    """How a positive-class score becomes a label and a decision, and what that was chosen on."""

    threshold: float = Field(default=0.5, gt=0, lt=1)
    temperature: float = Field(default=1.0, gt=0, description="of the default variant")
    review_band: tuple[float, float] | None = Field(
        default=None, description="Positive scores from the first up to the second are for a person to decide"
    )
    objective: str = "no objective: the threshold is 0.5"
    chosen_on: str = "not tuned: the default of 0.5 on uncalibrated scores"

    @model_validator(mode="after")
    def _band_in_order(self) -> "Decision":
        low, high = self.review_band or (0.0, 1.0)
        if not 0 <= low <= high <= 1:
            raise ValueError(f"a review band lies in [0, 1], its lower end first, not {self.review_band}")
        return self


class DataSplit(_Record):
    """One split the model was made from or measured on."""

    rows: int
    positives: int
    sha256: str


class DataFinding(_Record):
    """Something doubtful in the data: how many rows, how many of them were dropped from train, and what to do."""

    kind: str
    count: NonNegativeInt
    dropped: NonNegativeInt
    message: str


class Histogram(_Record):
    """Counts of values: `counts[i]` of those up to `edges[i]` and over the edge before; the last, over every edge."""

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
    """What the default variant said of the validation split: live traffic is compared with it to notice drift."""

    scores: Histogram = Field(description="calibrated scores of the positive label")
    tokens: Histogram = Field(description="tokens of a text, special ones included, cut at max_length")

    @classmethod
    def of(cls, scores: Sequence[float], tokens: Sequence[int]) -> "Reference":
        """Count scores and lengths in the bins that the server's metrics have too."""
        return cls(scores=Histogram.of(scores, SCORE_EDGES), tokens=Histogram.of(tokens, TOKEN_EDGES))


class SliceResult(_Record):
    """How the default variant does on the test texts that have something in common, against all the others."""

    slice: str = Field(description="what the texts are told apart by")
    value: str
    rows: int
    positives: int | None = Field(default=None, description="texts with the positive label")
    accuracy: float
    low: float = Field(description="lower end of the accuracy's 95 % Wilson interval")
    high: float
    f1: float | None = Field(description="of the positive class; None where no text has it")
    f1_low: float | None = None
    f1_high: float | None = None
    rest_accuracy: float
    metric: str = Field(default="accuracy", description="what the slice is judged by")
    judged: float | None = Field(default=None, description="that metric; None where no text has the label it looks for")
    judged_low: float | None = Field(default=None, description="lower end of its 95 % interval")
    judged_high: float | None = None
    expected: float | None = Field(
        default=None, description="that metric of as many texts of each label, drawn from all of test"
    )
    p_value: float | None = Field(
        default=None, description="that `judged` is this far from `expected`, with Holm's correction; None: too few"
    )


class BehaviourResult(_Record):
    """How often the default variant failed a behavioural test."""

    name: str
    kind: str
    cases: int
    failures: int


class BaseModelSource(_Record):
    """The pretrained model that was fine-tuned."""

    name: str
    sha256: str


class Processor(_Record):
    """A processor: its name for people, and its kind as `engines/processor.py` tells them apart."""

    name: str
    kind: str


class Manifest(_Record):
    """Everything a server must know, and everything a person may ask later."""

    schema_version: int
    created: str
    base_model: BaseModelSource
    labels: tuple[str, str] = Field(description="negative, positive")
    max_length: int = Field(ge=2, description="tokens, special ones included")
    truncation_side: TruncationSide = Field(
        default="right", description="where a text of more than max_length tokens is cut: right reads its beginning"
    )
    decision: Decision
    reference: Reference | None = None
    tokenizer: StoredFile
    variants: dict[str, Variant]
    default_variant: str
    default_reason: str
    not_built: dict[str, str] = Field(default={}, description="variants that could not be made, and why")
    measured_on: Processor | None = Field(
        default=None,
        description="where every figure of this manifest was taken; accuracies, scores and speeds hold for its kind",
    )
    data: dict[str, DataSplit]
    findings: tuple[DataFinding, ...] = Field(default=(), description="what is doubtful in the data")
    metrics: dict[str, dict[str, dict[str, float]]] = Field(
        description="split -> metric -> value, low, high (95 % bootstrap interval)"
    )
    judging: dict[str, str] = Field(default={}, description="metric that the model is judged by, and a sentence on why")
    baseline: dict[str, dict[str, float]] = Field(
        default={}, description="metric -> value, low, high of TF-IDF and logistic regression on test"
    )
    comparisons: dict[str, Comparison] = Field(default={}, description="what the default variant is compared with")
    calibration: dict[str, dict[str, float]] = Field(
        default={}, description="split -> calibration error and log loss before and after the temperature"
    )
    review: dict[str, dict[str, float]] = Field(default={}, description="split -> what the review band yields")
    seeds: dict[str, dict[str, float]] = Field(
        default={}, description="metric -> mean, low, high over the seeds (95 % t-interval)"
    )
    warnings: list[str] = Field(default=[], description="what a user must know before trusting the model")
    slices: tuple[SliceResult, ...] = Field(default=(), description="on test")
    behaviours: tuple[BehaviourResult, ...] = ()
    training: dict[str, str | int | float | bool | tuple[str, ...] | None]
    versions: dict[str, str]
    seed: int

    def exit_scales(self, name: str) -> tuple[ExitScale, ...]:
        """Return the scale of each exit of the variant called `name`, the last layer's last.

        Older artifacts have one temperature for all exits, of the variant or of the decision.
        """
        variant = self.variants[name]
        one = ExitScale(temperature=variant.temperature or self.decision.temperature)
        return variant.exit_scales or (one,) * (len(variant.exit_margins) + 1)
