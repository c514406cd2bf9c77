"""Run the fine-tuned torch model on texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from bert_textclassification.engines.onnx import batches_by_length
from bert_textclassification.errors import NonFiniteLogitsError
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.modeling.classifier import TextClassifier
from bert_textclassification.training.modeling.fine_tuned import FineTuned


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Return the token ids of each text: special tokens included, truncated to `max_length`, not padded."""
    ids: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    return ids


@dataclass(frozen=True)
class Evaluated:
    """A tokenised split for evaluation: token ids, targets, and the logits of the fine-tuned torch model."""

    token_ids: list[list[int]]
    targets: list[int]
    reference: NDArray[np.float32]


def evaluate_splits(fine_tuned: FineTuned, model: TextClassifier, splits: Splits) -> dict[str, Evaluated]:
    """Return all splits except train, tokenised, with the torch model's logits.

    Raises:
        NonFiniteLogitsError: a logit is not finite.
    """
    tokenizer = fine_tuned.tokenizer()
    evaluated = {}
    for name, frame in splits.items():
        if name == "train":
            continue
        token_ids = encode(tokenizer, frame["text"].tolist(), fine_tuned.config.max_length)
        logits = torch_logits(model, token_ids)
        if not np.isfinite(logits).all():
            raise NonFiniteLogitsError(
                "Training has diverged: the logits are not finite numbers; lower learning_rate, or set precision to "
                "fp32."
            )
        evaluated[name] = Evaluated(token_ids, splits.targets(frame), logits)
    return evaluated


def torch_logits(
    model: TextClassifier, token_ids: Sequence[Sequence[int]], batch_size: int = 32
) -> NDArray[np.float32]:
    """Return the model's logits, float32 [texts, 2], in the order of `token_ids`; batches group similar lengths."""
    result = np.empty((len(token_ids), 2), dtype=np.float32)
    for batch in batches_by_length(token_ids, batch_size):
        rows = [torch.tensor(token_ids[index]) for index in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        with torch.inference_mode():
            result[batch] = model(ids, mask).logits.numpy()
    return result
