"""The model artifact on disk: what training writes and serving reads.

A folder, or its `model.tar.gz`, with everything needed to serve and nothing executable:

    manifest.json     schema, labels, decision, variants with hashes and measurements, provenance
    tokenizer.json    the fast tokenizer
    fp32.onnx         the model files of the variants
    int8.safetensors
    model_card.md     the manifest for people

The manifest is written last, so a folder without one is not an artifact.

A reader ignores fields that it does not know, so that a release serves what a newer one has trained. What an older
release must not overlook gets a new schema version.
"""

import hashlib
import json
import logging
import tarfile
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from bert_textclassification.errors import ArtifactError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
Number = TypeVar("Number", float, "NDArray[np.float64]")

PASSED = "passed"  # the verdict on a variant that may be the default
SCHEMA_VERSION = 2  # schema 1 is read, too
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
MODEL_CARD = "model_card.md"
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


@dataclass(frozen=True)
class Artifact:
    """An artifact folder whose manifest was read and whose files are all there."""

    folder: Path
    manifest: Manifest
    version: str

    @classmethod
    def load(cls, folder: str | Path) -> "Artifact":
        """Read and check the artifact in `folder`.

        Raises:
            ArtifactError: the folder, the manifest or a file is missing, damaged, or from another schema.
        """
        folder = Path(folder)
        raw = _manifest_bytes(folder)
        artifact = cls(folder, _parse_manifest(raw, folder / MANIFEST), hashlib.sha256(raw).hexdigest()[:12])
        for stored in (artifact.manifest.tokenizer, *artifact.manifest.variants.values()):
            _check_size(folder / stored.file, stored)
        return artifact

    def tokenizer_path(self) -> Path:
        """Return the verified tokenizer file."""
        return _verified(self.folder, self.manifest.tokenizer)

    def variant(self, name: str | None = None) -> tuple[str, Variant]:
        """Return the variant called `name`, or the default one, with its name."""
        name = name or self.manifest.default_variant
        if name not in self.manifest.variants:
            known = ", ".join(sorted(self.manifest.variants))
            raise ArtifactError(f"{self.folder} has no variant {name!r}; choose one of: {known}.")
        return name, self.manifest.variants[name]

    def model_path(self, name: str) -> Path:
        """Return the verified model file of the variant called `name`."""
        return _verified(self.folder, self.variant(name)[1])


def write_manifest(folder: Path, manifest: Manifest) -> Artifact:
    """Write the manifest in one step, after every file it names is in `folder`, and read it back."""
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / MANIFEST)
    return Artifact.load(folder)


def pack(folder: Path, archive: Path) -> Path:
    """Write the artifact in `folder` as the gzipped tar that SageMaker expects: files at the top, no folder."""
    manifest = Artifact.load(folder).manifest
    stored = [manifest.tokenizer, *manifest.variants.values()]
    names = [MANIFEST, MODEL_CARD, *(item.file for item in stored)]
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(archive.name + ".partial")
    with tarfile.open(partial, "w:gz", compresslevel=1) as tar:  # weights hardly compress
        for name in dict.fromkeys(names):  # variants may share a file
            if (folder / name).exists():
                tar.add(folder / name, arcname=name, recursive=False)
    return partial.replace(archive)


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest_bytes(folder: Path) -> bytes:
    try:
        if not folder.is_dir():
            raise ArtifactError(f"There is no model folder {folder}; train a model or set MODEL_DIR to one.")
        return (folder / MANIFEST).read_bytes()
    except OSError as problem:
        if not isinstance(problem, FileNotFoundError):
            raise _unreadable(folder / MANIFEST, problem) from None
        raise ArtifactError(
            f"{folder} has no {MANIFEST}, so it is not a finished model artifact; train again or point to "
            "the folder that training wrote."
        ) from None


def _parse_manifest(raw: bytes, path: Path) -> Manifest:
    try:
        content = json.loads(raw)
    except ValueError as problem:
        raise ArtifactError(f"{path} is not valid JSON ({problem}); copy the artifact again.") from None
    _check_schema(content.get("schema_version") if isinstance(content, dict) else None, path)
    content = _with_known_variants(content, path)
    try:
        # Construction refuses unknown fields, reading ignores them.
        manifest = Manifest.model_validate(_as_schema_2(content), extra="ignore")
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{path} is damaged at {where!r}: {first['msg']}; copy it again.") from None
    if manifest.default_variant not in manifest.variants:
        raise ArtifactError(
            f"{path} names the default variant {manifest.default_variant!r}, which it lacks; copy it again."
        )
    return manifest


def _check_schema(version: object, path: Path) -> None:
    if type(version) is not int or version < 1:
        raise ArtifactError(f"{path} has the schema version {version!r}, which no release writes; copy it again.")
    if version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} was written by a newer release: it has schema version {version} and this release reads up to "
            f"{SCHEMA_VERSION}; serve it with the release that trained it."
        )


def _with_known_variants(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a manifest without the variants that need an engine of a newer release.

    Raises:
        ArtifactError: the default variant is one of them.
    """
    variants = content.get("variants")
    if not isinstance(variants, dict):
        return content
    newer = [name for name, variant in variants.items() if isinstance(variant, dict) and _is_newer(variant)]
    if (default := content.get("default_variant")) in newer:
        raise ArtifactError(
            f"{path} was written by a newer release: this one has no engine {variants[default].get('engine')!r} in "
            f"{variants[default].get('precision')!r}, which the default variant {default!r} needs; serve it with the "
            "release that trained it."
        )
    for name in newer:
        log.warning("%s: the variant %s needs a newer release and is left out.", path, name)
    return {**content, "variants": {name: variant for name, variant in variants.items() if name not in newer}}


def _is_newer(variant: dict[str, Any]) -> bool:
    """Whether a variant names an engine or a precision, and one that this release does not have."""
    fields = {name: Variant.model_fields[name] for name in ("engine", "precision")}
    return any(
        isinstance(given := variant.get(name), str) and given not in get_args(field.annotation)
        for name, field in fields.items()
    )


def _as_schema_2(content: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest as schema 2 has it; schema 1 called `measured_on` `made_on` and always cut texts on the right.

    Its `instructions` are those of the native engine's kernels.
    """
    made_on = content.get("made_on")
    if content["schema_version"] != 1 or not isinstance(made_on, dict):
        return content
    processor = {"name": made_on.get("processor", ""), "kind": made_on.get("instructions", "")}
    return {**content, "measured_on": processor}


def _check_size(path: Path, stored: StoredFile) -> None:
    if not path.is_file():
        raise ArtifactError(f"The artifact lacks {path}; copy the whole folder again.")
    if path.stat().st_size != stored.size_bytes:
        raise ArtifactError(
            f"{path} has {path.stat().st_size} bytes where the manifest says {stored.size_bytes}; "
            "copy the artifact again."
        )


def _verified(folder: Path, stored: StoredFile) -> Path:
    path = folder / stored.file
    try:
        _check_size(path, stored)
        digest = sha256_of(path)
    except OSError as problem:
        raise _unreadable(path, problem) from None
    if digest != stored.sha256:
        raise ArtifactError(f"{path} does not match the SHA-256 in the manifest; copy the artifact again.")
    return path


def _unreadable(path: Path, problem: OSError) -> ArtifactError:
    return ArtifactError(f"{path} cannot be read ({problem.strerror}); let this user read the whole model folder.")
