"""The forms in which a fine-tuned model may be served, and how the file of each is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bert_textclassification.engines.native.engine import instructions
from bert_textclassification.training.modeling.classifier import TextClassifier
from bert_textclassification.training.modeling.fine_tuned import FineTuned
from bert_textclassification.training.modeling.native import export_native, unsupported
from bert_textclassification.training.modeling.onnx import export_onnx, quantize_int8


@dataclass(frozen=True)
class Form:
    """How a variant is made and run."""

    file: str
    precision: Literal["fp32", "int8"]
    engine: Literal["onnx", "native"]
    batch_size: int = 1
    exits_early: bool = False
    of_student: bool = False

    @property
    def approximates(self) -> bool:
        """Whether it computes something else than the model, rounded."""
        return self.exits_early or self.of_student


# ONNX Runtime's small batches of texts of one length gain 1.4x over single ones, larger ones lose. Its int8 takes one
# activation scale from the whole batch, so its texts run alone: a score must not depend on the neighbours.
# The more exact ones come first: int8 with a scale for each token, with one for each text, then what computes less.
FORMS = {
    "fp32": Form("fp32.onnx", "fp32", "onnx", batch_size=8),
    "int8": Form("int8.safetensors", "int8", "native"),
    "int8_onnx": Form("int8.onnx", "int8", "onnx"),
    "int8_early": Form("int8.safetensors", "int8", "native", exits_early=True),
    "int8_student": Form("int8_student.safetensors", "int8", "native", of_student=True),
}
REFERENCE = "fp32"


@dataclass(frozen=True)
class Models:
    """The torch models that variants are made of."""

    model: TextClassifier
    student: TextClassifier | None

    @classmethod
    def of(cls, fine_tuned: FineTuned) -> "Models":
        """Load them."""
        student = fine_tuned.student()
        return cls(fine_tuned.model(), None if student is None else student.model())


def obstacle(form: Form, models: Models) -> str | None:
    """Return why this form cannot be made of these models here, or None if it can."""
    if form.exits_early and not models.model.exit_layers:
        return "The model was trained without early exits (exit_layers)."
    if form.of_student and models.student is None:
        return "No student was distilled (student_layers)."
    if form.engine == "onnx":
        return None
    if reason := unsupported(models.model):
        return f"The native engine cannot run this model: {reason}."
    if not instructions():
        return "The native engine is not compiled here: install the package where there is a C compiler."
    return None


def write(form: Form, models: Models, folder: Path) -> Path:
    """Make the model file of `form` in `folder`, in one step, where it is not there yet; return its path."""
    path = folder / form.file
    if path.exists():
        return path
    partial = path.with_name(f"{path.name}.partial")
    if form.engine == "native":
        export_native(models.student if form.of_student and models.student else models.model, partial)
    elif form.precision == "fp32":
        export_onnx(models.model, partial)
    else:
        quantize_int8(write(FORMS[REFERENCE], models, folder), partial)
    return partial.replace(path)
