"""A fine-tuned model on disk, with its settings, history and facts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.modeling.base_models import find_base_model
from bert_textclassification.training.modeling.classifier import TextClassifier, load_classifier
from bert_textclassification.training.modeling.record import config_of, read_record

STUDENT = "student"  # folder of the student, in the folder of its teacher


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned model on disk, with its settings, history and facts.

    Attributes:
        folder: contains weights, tokenizer and `training.json`.
        config: the settings of the training.
        history: one dictionary for each logged step, with `step`, `epoch` and `loss` or `eval_*`.
        facts: precision, class weights, steps, seconds, base model and its hash, fingerprints of the splits.
    """

    folder: Path
    config: TrainingConfig
    history: list[dict[str, float]]
    facts: dict[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> "FineTuned":
        """Read a model that `fine_tune` wrote.

        Raises:
            DataError: the folder has no finished model.
        """
        record = read_record(folder)
        return cls(Path(folder), config_of(record), record["history"], record["facts"])

    def model(self) -> TextClassifier:
        """Load the model for inference in FP32."""
        return load_classifier(self.folder)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer."""
        return find_base_model(str(self.folder)).tokenizer()

    def student(self) -> "FineTuned | None":
        """Return the student that was distilled from this model, or None."""
        return FineTuned.load(self.folder / STUDENT) if (self.folder / STUDENT).exists() else None
