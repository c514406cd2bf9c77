"""Make the servable variants of a fine-tuned model and let measurements choose the default.

    artifact = build_artifact(fine_tuned, splits, Path("runs/demo/model"))

Every variant is measured with the engine that will serve it: its labels against the torch model's, on validation and
test, and its speed on this processor. The fastest that loses nothing on validation becomes the default; test only
reports.
"""

import datetime
import logging
import math
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
    PASSED,
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
from bert_textclassification.serving.engine import load_engine
from bert_textclassification.serving.native_engine import NativeEngine, instructions
from bert_textclassification.training.benchmark import machine, sample_stream, single, time_interleaved
from bert_textclassification.training.data import Splits, fingerprint
from bert_textclassification.training.early_exit import smallest_margin
from bert_textclassification.training.evaluation import (
    accuracy,
    agreement,
    largest_score_change,
    mcnemar,
    metrics_with_intervals,
    positive_scores,
    smallest_visible_loss,
)
from bert_textclassification.training.fine_tuning import Evaluated, FineTuned, evaluate_splits
from bert_textclassification.training.model import TextClassifier
from bert_textclassification.training.native_export import export_native, unsupported
from bert_textclassification.training.report import model_card

_RECORDED_VERSIONS = (
    "bert-textclassification", "torch", "transformers", "tokenizers", "onnx", "onnxruntime", "numpy",
)  # fmt: skip


@dataclass(frozen=True)
class Form:
    """How a variant is made and run."""

    file: str
    precision: Literal["fp32", "int8"]
    engine: Literal["onnx", "native"]
    batch_size: int = 1
    exits_early: bool = False


# ONNX Runtime's small batches of texts of one length gain 1.4x over single ones, larger ones lose. Its int8 takes one
# activation scale from the whole batch, so its texts run alone: a score must not depend on the neighbours.
FORMS = {
    "fp32": Form("fp32.onnx", "fp32", "onnx", batch_size=8),
    "int8": Form("int8.safetensors", "int8", "native"),
    "int8_early": Form("int8.safetensors", "int8", "native", exits_early=True),
    "int8_onnx": Form("int8.onnx", "int8", "onnx"),
}
REFERENCE = "fp32"
SIGNIFICANT = 0.05
TIMED_TEXTS, TIMED_ROUNDS = 100, 5


def build_artifact(fine_tuned: FineTuned, splits: Splits, folder: Path) -> Artifact:
    """Write the artifact of `fine_tuned` to `folder` and return it, verified."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)  # until the new one is written, this is no artifact
    model = fine_tuned.model()
    evaluated = evaluate_splits(fine_tuned, model, splits)
    not_built = build_variants(model, folder)
    shutil.copyfile(fine_tuned.folder / TOKENIZER, folder / TOKENIZER)
    built = {name: form for name, form in FORMS.items() if name not in not_built}
    variants = {
        name: measure_variant(folder / form.file, form, evaluated, fine_tuned.config.max_exit_loss)
        for name, form in built.items()
    }
    variants = judged(folder, variants, evaluated["validation"], fine_tuned.config.max_accuracy_loss)
    default, reason = choose_default(variants, len(evaluated["validation"].targets))
    scores = _scores(folder, variants[default], evaluated)
    metrics = {
        name: metrics_with_intervals(split.targets, scores[name], fine_tuned.config.seed)
        for name, split in evaluated.items()
    }
    reference = Reference.of(scores["validation"].tolist(), [len(ids) for ids in evaluated["validation"].token_ids])
    chosen = Chosen(variants, default, reason, not_built)
    manifest = _manifest(fine_tuned, splits, folder, chosen, metrics, reference)
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


def build_variants(model: TextClassifier, folder: Path) -> dict[str, str]:
    """Write the file of every form to `folder`; return those that could not be made, and why."""
    export_onnx(model, folder / FORMS["fp32"].file)
    quantize_int8(folder / FORMS["fp32"].file, folder / FORMS["int8_onnx"].file)
    reason = unsupported(model)
    if reason is None and not instructions():
        reason = "it is not compiled here: install the package where there is a C compiler"
    if reason is not None:
        return dict.fromkeys(("int8", "int8_early"), f"The native engine cannot run this model: {reason}.")
    export_native(model, folder / FORMS["int8"].file)
    return {} if model.exit_layer else {"int8_early": "The model was trained without an early exit (exit_layer)."}


def measure_variant(path: Path, form: Form, evaluated: dict[str, Evaluated], max_exit_loss: float = 0) -> Variant:
    """Run the variant at `path` with the engine that serves it and compare it with the torch model."""
    validation = evaluated["validation"]
    variant = Variant(
        **StoredFile.of(path).model_dump(),
        precision=form.precision,
        engine=form.engine,
        batch_size=form.batch_size,
        exit_margins=(exit_margin(path, validation, max_exit_loss),) if form.exits_early else (),
        accuracy={},
        agreement={},
        largest_score_change={},
    )
    engine = load_engine(path, variant)
    outputs = {name: engine.run(split.token_ids) for name, split in evaluated.items()}
    logits = {name: output.logits for name, output in outputs.items()}
    return variant.model_copy(
        update={
            "accuracy": {name: accuracy(split.targets, logits[name]) for name, split in evaluated.items()},
            "agreement": {name: agreement(split.reference, logits[name]) for name, split in evaluated.items()},
            "largest_score_change": {
                name: largest_score_change(split.reference, logits[name]) for name, split in evaluated.items()
            },
            "early_share": {
                name: float(np.mean(output.layers < engine.depth))
                for name, output in outputs.items()
                if isinstance(engine, NativeEngine) and output.layers is not None
            },
            "p_value": mcnemar(validation.targets, validation.reference, logits["validation"]),
        }
    )


def exit_margin(path: Path, validation: Evaluated, max_loss: float) -> float:
    """Return the margin from which the early exit of the native model at `path` answers."""
    early, last = (NativeEngine(path, margins=margins).logits(validation.token_ids) for margins in ((0.0,), ()))
    return smallest_margin(validation.targets, early, last, max_loss)


def judged(
    folder: Path, variants: dict[str, Variant], validation: Evaluated, max_accuracy_loss: float
) -> dict[str, Variant]:
    """Return the variants with their speed on this machine and a verdict."""
    stream = sample_stream(validation.token_ids, TIMED_TEXTS, seed=0)
    engines = {name: load_engine(folder / variant.file, variant) for name, variant in variants.items()}
    times = time_interleaved({name: single(engine) for name, engine in engines.items()}, stream, TIMED_ROUNDS)
    return {
        name: variant.model_copy(
            update={
                "milliseconds": round(float(np.median(times[name].mean(axis=1))), 3),
                "verdict": verdict(variants[REFERENCE], variant, max_accuracy_loss),
            }
        )
        for name, variant in variants.items()
    }


def verdict(reference: Variant, variant: Variant, max_accuracy_loss: float) -> str:
    """Return PASSED, or why the variant may not be the default."""
    loss = 100 * (reference.accuracy["validation"] - variant.accuracy["validation"])
    if loss > max_accuracy_loss:
        return f"loses {loss:.2f} points of validation accuracy, where {max_accuracy_loss:g} are allowed"
    if loss > 0 and variant.p_value is not None and variant.p_value < SIGNIFICANT:
        return f"loses {loss:.2f} points of validation accuracy, and not by chance (p = {variant.p_value:.3f})"
    return PASSED


def choose_default(variants: dict[str, Variant], rows: int) -> tuple[str, str]:
    """Return the fastest variant that passed, and why it is the default."""
    passed = {name: variant for name, variant in variants.items() if variant.verdict == PASSED}
    name = min(passed, key=lambda one: passed[one].milliseconds or math.inf)
    chosen, reference = passed[name], variants[REFERENCE]
    change = 100 * (chosen.accuracy["validation"] - reference.accuracy["validation"])
    faster = (reference.milliseconds or 0) / (chosen.milliseconds or math.inf)
    others = "".join(f" {other} {variant.verdict}." for other, variant in variants.items() if other not in passed)
    return name, (
        f"{name} is the fastest that keeps the accuracy: {faster:.1f} times fp32's speed on this machine, validation "
        f"accuracy {change:+.2f} points.{others} {rows} validation rows cannot show a loss under "
        f"{100 * smallest_visible_loss(rows):.2f} points."
    )


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
    engine = load_engine(folder / variant.file, variant)
    return {name: positive_scores(engine.logits(split.token_ids)) for name, split in evaluated.items()}


@dataclass(frozen=True)
class Chosen:
    """The variants, which of them is the default, and why; those that could not be made."""

    variants: dict[str, Variant]
    default: str
    reason: str
    not_built: dict[str, str]


def _manifest(
    fine_tuned: FineTuned,
    splits: Splits,
    folder: Path,
    chosen: Chosen,
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
        variants=chosen.variants,
        default_variant=chosen.default,
        default_reason=chosen.reason,
        not_built=chosen.not_built,
        made_on={"processor": machine()["processor"], "instructions": next(iter(instructions()), "")},
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
