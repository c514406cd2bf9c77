"""Distil a fine-tuned classifier into a student with fewer layers.

    student = distil(fine_tuned, splits)

The student starts from evenly spaced layers of its teacher and learns its logits and its hidden states beside the
labels, as DistilBERT (Sanh et al. 2019) and TinyBERT (Jiao et al. 2020) do.
"""

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, set_seed

from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.fine_tuning.run import train
from bert_textclassification.training.fine_tuning.trainer import FineTuningTrainer
from bert_textclassification.training.modeling.base_models import find_base_model
from bert_textclassification.training.modeling.classifier import (
    ClassifierOutput,
    TextClassifier,
    keep_layers,
    kept_layers,
    require_smaller,
)
from bert_textclassification.training.modeling.fine_tuned import STUDENT, FineTuned

TEMPERATURE = 2.0  # of the softened scores, as in DistilBERT


def distil(
    teacher: FineTuned, splits: Splits, checkpoints: Path | None = None, callbacks: Sequence[TrainerCallback] = ()
) -> FineTuned:
    """Train a student of `student_layers` layers and write it beside its teacher; arguments as of `fine_tune`.

    Raises:
        ConfigurationError: the student would not be smaller than its teacher.
    """
    config = teacher.config
    model = teacher.model()
    set_seed(config.seed)
    student = smaller(model, config.student_layers, config.dropout)
    base = find_base_model(str(teacher.folder))
    make_trainer = partial(DistillingTrainer, teacher=model)
    return train(student, base, config, splits, teacher.folder / STUDENT, make_trainer, checkpoints, callbacks)


def smaller(teacher: TextClassifier, layers: int, dropout: float) -> TextClassifier:
    """Return a copy of `teacher` with evenly spaced layers of it and without its early exit.

    Raises:
        ConfigurationError: `teacher` has no more than `layers` layers, or does not keep them where BERT does.
    """
    require_smaller(layers, teacher.encoder.config.num_hidden_layers)
    encoder = copy.deepcopy(teacher.encoder)
    keep_layers(encoder, layers)
    student = TextClassifier(encoder, dropout)
    student.head.load_state_dict(teacher.head.state_dict())
    return student


class DistillingTrainer(FineTuningTrainer):
    """A Trainer whose loss is a third labels, a third the teacher's scores, a third its hidden states."""

    def __init__(self, *, teacher: TextClassifier, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.teacher = teacher.to(self.args.device).eval()

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of a batch, and the student's answers when asked for."""
        texts = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
        answers = model(**texts, output_hidden_states=True)
        with torch.no_grad():
            taught = self.teacher(**texts, output_hidden_states=True)
        labels = self.compute_loss_func(answers, inputs["labels"])
        scores = score_loss(taught["logits"], answers["logits"])
        hidden = hidden_loss(taught["hidden_states"], answers["hidden_states"], inputs["attention_mask"])
        loss = (labels + scores + hidden) / 3
        return (loss, ClassifierOutput(logits=answers.logits)) if return_outputs else loss


def score_loss(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Return T^2 KL(teacher | student) of softened scores, from logits [texts, 2] (Hinton et al. 2015)."""
    wanted = torch.log_softmax(teacher.float() / TEMPERATURE, dim=-1)
    given = torch.log_softmax(student.float() / TEMPERATURE, dim=-1)
    return TEMPERATURE**2 * torch.nn.functional.kl_div(given, wanted, reduction="batchmean", log_target=True)


def hidden_loss(
    teacher: tuple[torch.Tensor, ...], student: tuple[torch.Tensor, ...], attention_mask: torch.Tensor
) -> torch.Tensor:
    """Return how far the student's layers are from those they stand for: 1 - cosine, mean over tokens and layers.

    Args:
        teacher: hidden states of the embeddings and of each layer, [texts, tokens, hidden].
        student: the same, of fewer layers.
        attention_mask: 1 for tokens, 0 for padding, [texts, tokens].
    """
    real = attention_mask.bool()
    stand_for = kept_layers(len(teacher) - 1, len(student) - 1)
    near = [
        torch.nn.functional.cosine_similarity(teacher[theirs][real].float(), student[own][real].float(), dim=-1)
        for own, theirs in enumerate(stand_for, start=1)
    ]
    return 1 - torch.stack(near).mean()
