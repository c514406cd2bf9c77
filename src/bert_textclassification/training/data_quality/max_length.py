"""How many tokens are read of a text, where `max_length` is auto: the training texts decide.

config = with_max_length(config, splits)
print(max_length_sentence(config, splits))
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bert_textclassification.training.config import MAX_LENGTH, TrainingConfig
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.data_quality.tokenization import token_lengths
from bert_textclassification.training.modeling.base_models import find_base_model

LENGTHS = (128, 256, 512)
CUT_AT_MOST = 0.05  # share of the training texts that may be longer than what is read
_COUNTED_FROM_PADDING = ("camembert", "mpnet", "roberta", "xlm-roberta")  # the first positions of these are never used


def with_max_length(config: TrainingConfig, splits: Splits) -> TrainingConfig:
    """Return `config` with a number as `max_length`; one that is given stays, and one that `splits` were cleaned by.

    Raises:
        ConfigurationError: the base model cannot be used.
    """
    return config.model_copy(update={"max_length": _of_splits(config, splits)})


def find_max_length(config: TrainingConfig, train: pd.DataFrame) -> int:
    """Return `config.max_length`, or the length that suits the rows of train where it is auto.

    Raises:
        ConfigurationError: the base model cannot be used.
    """
    if config.max_length:
        return config.max_length
    base = find_base_model(config.base_model)
    return choose_max_length(token_lengths(train, base.tokenizer()), positions(base.config()))


def choose_max_length(lengths: NDArray[np.int64], longest: int) -> int:
    """Return the smallest of LENGTHS that reads all but CUT_AT_MOST of the texts whole, at most `longest`.

    Where none does, it is the last of LENGTHS, or `longest` where that is less; `truncation` says what the server does
    with the rest.

    Args:
        lengths: tokens of each training text, special ones included.
        longest: how many tokens the base model reads.
    """
    readable = [*(length for length in LENGTHS if length < longest), min(longest, LENGTHS[-1])]
    return next((length for length in readable if np.mean(lengths > length) <= CUT_AT_MOST), readable[-1])


def max_length_sentence(config: TrainingConfig, splits: Splits) -> str:
    """Return how many tokens are read of a text, and why."""
    if config.max_length:
        return f"Of a text {config.max_length} tokens are read, as max_length says."
    read = _of_splits(config, splits)
    return (
        f"Of a text {read} tokens are read: the shortest of {', '.join(map(str, LENGTHS))} that cuts at most "
        f"{CUT_AT_MOST:.0%} of the training texts, as far as the base model reads. Another max_length changes that."
    )


def _of_splits(config: TrainingConfig, splits: Splits) -> int:
    return config.max_length or splits.max_length or find_max_length(config, splits.train)


def positions(encoder: Any) -> int:
    """Return how many tokens an encoder with this configuration reads; MAX_LENGTH where it does not say."""
    embeddings = getattr(encoder, "max_position_embeddings", None)
    if not isinstance(embeddings, int) or embeddings <= 0:
        return MAX_LENGTH
    return embeddings - (int(encoder.pad_token_id) + 1 if encoder.model_type in _COUNTED_FROM_PADDING else 0)
