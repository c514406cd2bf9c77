"""The variants of a fine-tuned model, and how the file of each is made: a variant is one line of VARIANTS."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bert_textclassification.engines.native.engine import instructions
from bert_textclassification.training.modeling.classifier import TextClassifier
from bert_textclassification.training.modeling.fine_tuned import FineTuned
from bert_textclassification.training.modeling.native import export_native, unsupported
from bert_textclassification.training.modeling.onnx import export_onnx, quantize_int8


@dataclass(frozen=True)
class VariantSpec:
    """How a variant is made and run.

    Attributes:
        file: name of the model file; variants with the same weights share it.
        precision: of weights and activations.
        engine: what runs the file.
        batch_size: texts in one call of ONNX Runtime.
        exits_early: whether a text may be answered by an early exit.
        of_student: whether the file holds the distilled student.
    """

    file: str
    precision: Literal["fp32", "int8"]
    engine: Literal["onnx", "native"]
    batch_size: int = 1
    exits_early: bool = False
    of_student: bool = False

    @property
    def approximates(self) -> bool:
        """Whether it computes less than the model, and not only with rounded weights."""
        return self.exits_early or self.of_student


# The more exact variants come first: int8 with a scale for each token, int8 with a scale for each text, then those that
# compute less. In ONNX Runtime, small batches of texts of the same length are 1.4 times as fast as single texts, and
# larger batches are slower. Its int8 has one activation scale for the whole batch: texts run alone, because a score
# must not depend on the other texts.
VARIANTS = {
    "fp32": VariantSpec("fp32.onnx", "fp32", "onnx", batch_size=8),
    "int8": VariantSpec("int8.safetensors", "int8", "native"),
    "int8_onnx": VariantSpec("int8.onnx", "int8", "onnx"),
    "int8_early": VariantSpec("int8.safetensors", "int8", "native", exits_early=True),
    "int8_student": VariantSpec("int8_student.safetensors", "int8", "native", of_student=True),
}
REFERENCE = "fp32"


@dataclass(frozen=True)
class Models:
    """The torch models that variants are made from."""

    model: TextClassifier
    student: TextClassifier | None

    @classmethod
    def of(cls, fine_tuned: FineTuned) -> "Models":
        """Load the fine-tuned model and, if there is one, its student."""
        student = fine_tuned.student()
        return cls(fine_tuned.model(), None if student is None else student.model())


def unavailable_reason(spec: VariantSpec, models: Models) -> str | None:
    """Return why the variant cannot be made from these models here, or None if it can."""
    if spec.exits_early and not models.model.exit_layers:
        return "The model was trained without early exits (exit_layers)."
    if spec.of_student and models.student is None:
        return "No student was distilled (student_layers)."
    if spec.engine == "onnx":
        return None
    if reason := unsupported(models.model):
        return f"The native engine cannot run this model: {reason}."
    if not instructions():
        return "The native engine is not compiled here: install the package where there is a C compiler."
    return None


def write(spec: VariantSpec, models: Models, folder: Path) -> Path:
    """Write the model file of the variant to `folder`, atomically, unless it exists; return its path."""
    path = folder / spec.file
    if path.exists():
        return path
    partial = path.with_name(f"{path.name}.partial")
    if spec.engine == "native":
        export_native(models.student if spec.of_student and models.student else models.model, partial)
    elif spec.precision == "fp32":
        export_onnx(models.model, partial)
    else:
        quantize_int8(write(VARIANTS[REFERENCE], models, folder), partial)
    return partial.replace(path)
