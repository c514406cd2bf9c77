"""Build the manifest of an artifact from the trained model, the measurements and the choices."""

import datetime
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from bert_textclassification.artifact.manifest import (
    SCHEMA_VERSION,
    BaseModelSource,
    DataFinding,
    DataSplit,
    Decision,
    Manifest,
    Processor,
    Reference,
    StoredFile,
    Variant,
)
from bert_textclassification.engines import processor
from bert_textclassification.training.data.splits import Splits, fingerprint
from bert_textclassification.training.evaluation.inference import Evaluated
from bert_textclassification.training.evaluation.quality import Quality, Served
from bert_textclassification.training.export.timing import machine
from bert_textclassification.training.modeling.fine_tuned import FineTuned

_RECORDED_VERSIONS = (
    "bert-textclassification", "torch", "transformers", "tokenizers", "onnx", "onnxruntime", "numpy",
)  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """The choice of the default variant.

    Attributes:
        variants: the measured variants, by name.
        default: name of the default variant.
        reason: why it is the default, in a sentence.
        not_built: why the other variants could not be exported, by name.
    """

    variants: dict[str, Variant]
    default: str
    reason: str
    not_built: dict[str, str]


def versions() -> dict[str, str]:
    """Return the versions of the libraries that an artifact depends on."""
    return {name: version(name) for name in _RECORDED_VERSIONS}


def describe(
    fine_tuned: FineTuned,
    splits: Splits,
    tokenizer: Path,
    chosen: Chosen,
    evaluated: dict[str, Evaluated],
    served: Served,
    decision: Decision,
    quality: Quality,
) -> Manifest:
    """Return the manifest; `served` has the log-odds of the default variant for each split."""
    config, validation = fine_tuned.config, evaluated["validation"]
    return Manifest(
        schema_version=SCHEMA_VERSION,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        base_model=BaseModelSource(**fine_tuned.facts["base_model"]),
        labels=splits.labels,
        max_length=config.max_length,
        truncation_side=fine_tuned.tokenizer().truncation_side,
        decision=decision,
        reference=Reference.of(served["validation"].scores.tolist(), [len(ids) for ids in validation.token_ids]),
        tokenizer=StoredFile.of(tokenizer),
        variants=chosen.variants,
        default_variant=chosen.default,
        default_reason=chosen.reason,
        not_built=chosen.not_built,
        measured_on=Processor(name=machine()["processor"], kind=processor.kind()),
        data={
            name: DataSplit(rows=len(frame), positives=sum(splits.targets(frame)), sha256=fingerprint(frame))
            for name, frame in splits.items()
        },
        findings=tuple(
            DataFinding(kind=issue.kind, count=issue.count, dropped=issue.dropped, message=issue.message)
            for issue in splits.issues
        ),
        **asdict(quality) | {"comparisons": quality.comparisons},
        seeds=fine_tuned.facts.get("seeds", {}),
        training={
            **config.model_dump(exclude={"data", "behavioral_tests", "base_model"}),
            "computed_in": fine_tuned.facts["precision"],
        },
        versions=versions(),
        seed=config.seed,
    )
