"""Distil a fine-tuned classifier into a student with fewer layers.

    student = distil(fine_tuned, splits)

The student starts from evenly spaced layers of its teacher. It learns the labels, the teacher's logits and the
teacher's hidden states, as in DistilBERT (Sanh et al. 2019) and TinyBERT (Jiao et al. 2020).
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
    """Train a student with `student_layers` layers and write it to the teacher's folder; arguments: see `fine_tune`.

    Raises:
        ConfigurationError: the student is not smaller than its teacher.
    """
    config = teacher.config
    model = teacher.model()
    set_seed(config.seed)
    student = smaller(model, config.student_layers, config.dropout)
    base = find_base_model(str(teacher.folder))
    make_trainer = partial(DistillingTrainer, teacher=model)
    return train(student, base, config, splits, teacher.folder / STUDENT, make_trainer, checkpoints, callbacks)


def smaller(teacher: TextClassifier, layers: int, dropout: float) -> TextClassifier:
    """Return a copy of `teacher` with `layers` evenly spaced layers and without early exits.

    Raises:
        ConfigurationError: `teacher` does not have more than `layers` layers, or its layers cannot be dropped.
    """
    require_smaller(layers, teacher.encoder.config.num_hidden_layers)
    encoder = copy.deepcopy(teacher.encoder)
    keep_layers(encoder, layers)
    student = TextClassifier(encoder, dropout)
    student.head.load_state_dict(teacher.head.state_dict())
    return student


class DistillingTrainer(FineTuningTrainer):
    """A Trainer whose loss is the mean of the label loss, the score loss and the hidden-state loss."""

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
        """Return the loss of a batch, and the student's outputs if `return_outputs`."""
        texts = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
        student = model(**texts, output_hidden_states=True)
        with torch.no_grad():
            teacher = self.teacher(**texts, output_hidden_states=True)
        labels = self.compute_loss_func(student, inputs["labels"])
        scores = score_loss(teacher["logits"], student["logits"])
        hidden = hidden_loss(teacher["hidden_states"], student["hidden_states"], inputs["attention_mask"])
        loss = (labels + scores + hidden) / 3
        return (loss, ClassifierOutput(logits=student.logits)) if return_outputs else loss


def score_loss(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Return T^2 KL(teacher | student) of softened scores, from logits [texts, 2] (Hinton et al. 2015)."""
    target = torch.log_softmax(teacher.float() / TEMPERATURE, dim=-1)
    predicted = torch.log_softmax(student.float() / TEMPERATURE, dim=-1)
    return TEMPERATURE**2 * torch.nn.functional.kl_div(predicted, target, reduction="batchmean", log_target=True)


def hidden_loss(
    teacher: tuple[torch.Tensor, ...], student: tuple[torch.Tensor, ...], attention_mask: torch.Tensor
) -> torch.Tensor:
    """Return 1 - cosine similarity of the student's layers to the teacher's, mean over tokens and layers.

    Args:
        teacher: hidden states of the embeddings and of each layer, [texts, tokens, hidden].
        student: the same, with fewer layers.
        attention_mask: 1 for tokens, 0 for padding, [texts, tokens].
    """
    real = attention_mask.bool()
    teacher_layers = kept_layers(len(teacher) - 1, len(student) - 1)
    similarities = [
        torch.nn.functional.cosine_similarity(
            teacher[teacher_layer][real].float(), student[student_layer][real].float(), dim=-1
        )
        for student_layer, teacher_layer in enumerate(teacher_layers, start=1)
    ]
    return 1 - torch.stack(similarities).mean()
