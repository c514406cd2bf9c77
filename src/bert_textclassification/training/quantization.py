"""Export a fine-tuned model to ONNX, make int8 of it, and let int8 be the default only when it keeps the accuracy.

    artifact = build_artifact(fine_tuned, splits, Path("runs/demo/model"))

Every variant is measured with the engine that will serve it, against the torch model, on validation and test; only
validation decides.
"""

import datetime
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from bert_textclassification.artifact import (
    MANIFEST,
    MODEL_CARD,
    SCHEMA_VERSION,
    TOKENIZER,
    Artifact,
    BaseModelSource,
    DataSplit,
    Decision,
    Manifest,
    Reference,
    StoredFile,
    Variant,
    write_manifest,
)
from bert_textclassification.serving.engine import Engine
from bert_textclassification.training.data import Splits, fingerprint
from bert_textclassification.training.evaluation import (
    accuracy,
    agreement,
    largest_score_change,
    metrics_with_intervals,
    positive_scores,
)
from bert_textclassification.training.fine_tuning import Evaluated, FineTuned, evaluate_splits
from bert_textclassification.training.model import TextClassifier
from bert_textclassification.training.report import model_card

_RECORDED_VERSIONS = (
    "bert-textclassification", "torch", "transformers", "tokenizers", "onnx", "onnxruntime", "numpy",
)  # fmt: skip


@dataclass(frozen=True)
class Form:
    """How a variant is run: its precision and the most texts in one batch."""

    precision: Literal["fp32", "int8"]
    batch_size: int


# Small batches of texts of one length gain 1.4x over single ones, larger ones lose. Dynamic int8 takes one activation
# scale from the whole batch, so its texts run alone: a score must not depend on the neighbours.
FORMS = {"fp32": Form("fp32", batch_size=8), "int8": Form("int8", batch_size=1)}


def build_artifact(fine_tuned: FineTuned, splits: Splits, folder: Path) -> Artifact:
    """Write the artifact of `fine_tuned` to `folder` and return it, verified."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)  # until the new one is written, this is no artifact
    model = fine_tuned.model()
    evaluated = evaluate_splits(fine_tuned, model, splits)
    export_onnx(model, folder / "fp32.onnx")
    quantize_int8(folder / "fp32.onnx", folder / "int8.onnx")
    shutil.copyfile(fine_tuned.folder / TOKENIZER, folder / TOKENIZER)
    variants = {name: measure_variant(folder / f"{name}.onnx", form, evaluated) for name, form in FORMS.items()}
    default, reason = choose_default(variants, fine_tuned.config.max_accuracy_loss)
    scores = _scores(folder, variants[default], evaluated)
    metrics = {
        name: metrics_with_intervals(split.targets, scores[name], fine_tuned.config.seed)
        for name, split in evaluated.items()
    }
    reference = Reference.of(scores["validation"].tolist(), [len(ids) for ids in evaluated["validation"].token_ids])
    manifest = _manifest(fine_tuned, splits, folder, variants, default, reason, metrics, reference)
    (folder / MODEL_CARD).write_text(model_card(manifest), encoding="utf-8")
    return write_manifest(folder, manifest)


def export_onnx(model: TextClassifier, path: Path) -> None:
    """Write the model as FP32 ONNX with any number of texts and tokens: [texts, tokens] to logits [texts, 2]."""
    example = torch.ones((2, 8), dtype=torch.int64)
    dynamic = {0: "texts", 1: "tokens"}
    with warnings.catch_warnings():
        # The tracing exporter is deprecated and warns of branches that our shapes never take; it is exact to 5e-7
        # and an order of magnitude faster than its successor.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _LogitsOnly(model),
            (example, example),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={"input_ids": dynamic, "attention_mask": dynamic, "logits": {0: "texts"}},
            opset_version=17,
            dynamo=False,
        )


def quantize_int8(source: Path, target: Path) -> None:
    """Write `source` with int8 weights, one scale a channel, and activations quantized as they come."""
    with _muted_root_logger():
        quantize_dynamic(str(source), str(target), per_channel=True, weight_type=QuantType.QInt8)


def measure_variant(path: Path, form: Form, evaluated: dict[str, Evaluated]) -> Variant:
    """Run the variant at `path` with the engine that serves it and compare it with the torch model."""
    engine = Engine(path, form.batch_size)
    logits = {name: engine.logits(split.token_ids) for name, split in evaluated.items()}
    return Variant(
        **StoredFile.of(path).model_dump(),
        precision=form.precision,
        batch_size=form.batch_size,
        accuracy={name: accuracy(split.targets, logits[name]) for name, split in evaluated.items()},
        agreement={name: agreement(split.reference, logits[name]) for name, split in evaluated.items()},
        largest_score_change={
            name: largest_score_change(split.reference, logits[name]) for name, split in evaluated.items()
        },
    )


def choose_default(variants: dict[str, Variant], max_accuracy_loss: float) -> tuple[str, str]:
    """Return the variant to serve and why: int8 unless it loses more than `max_accuracy_loss` validation points."""
    loss = 100 * (variants["fp32"].accuracy["validation"] - variants["int8"].accuracy["validation"])
    measured = (
        f"int8 changes validation accuracy by {-loss:+.2f} points against fp32, where a loss of {max_accuracy_loss:g} "
        "is allowed"
    )
    if loss > max_accuracy_loss:
        return "fp32", f"{measured}, so fp32 stays the default."
    return "int8", f"{measured}, so int8 is the default."


def variants_table(artifact: Artifact) -> pd.DataFrame:
    """Return the measurements of each variant on validation and test, as a table for people."""
    rows = {
        name: {
            f"{measure} ({split})": value
            for measure in ("accuracy", "agreement", "largest_score_change")
            for split, value in getattr(variant, measure).items()
        }
        for name, variant in artifact.manifest.variants.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").round(4).T


def _scores(folder: Path, variant: Variant, evaluated: dict[str, Evaluated]) -> dict[str, NDArray[np.float64]]:
    """Return the positive scores that `variant` gives to each split."""
    engine = Engine(folder / variant.file, variant.batch_size)
    return {name: positive_scores(engine.logits(split.token_ids)) for name, split in evaluated.items()}


def _manifest(
    fine_tuned: FineTuned,
    splits: Splits,
    folder: Path,
    variants: dict[str, Variant],
    default: str,
    reason: str,
    metrics: dict[str, dict[str, dict[str, float]]],
    reference: Reference,
) -> Manifest:
    config = fine_tuned.config
    return Manifest(
        schema_version=SCHEMA_VERSION,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        base_model=BaseModelSource(**fine_tuned.facts["base_model"]),
        labels=splits.labels,
        max_length=config.max_length,
        decision=Decision(),
        reference=reference,
        tokenizer=StoredFile.of(folder / TOKENIZER),
        variants=variants,
        default_variant=default,
        default_reason=reason,
        data={
            name: DataSplit(rows=len(frame), positives=sum(splits.targets(frame)), sha256=fingerprint(frame))
            for name, frame in splits.items()
        },
        metrics=metrics,
        training={**config.model_dump(exclude={"data"}), "computed_in": fine_tuned.facts["precision"]},
        versions={name: version(name) for name in _RECORDED_VERSIONS},
        seed=config.seed,
    )


class _LogitsOnly(torch.nn.Module):
    """The classifier with its logits as the one plain output, as the exporter wants it."""

    def __init__(self, model: TextClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return self.model(input_ids, attention_mask).logits


@contextmanager
def _muted_root_logger() -> Iterator[None]:
    """Drop the quantizer's advice to optimise the graph first: the raw export measured as fast."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
