"""Texts of more tokens than are read, and what reading all of them would cost."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.issues import Suspects, suspects
from bert_textclassification.training.data.rows import rows_of_split
from bert_textclassification.training.data_quality.max_length import find_max_length
from bert_textclassification.training.data_quality.tokenization import token_lengths
from bert_textclassification.training.modeling.base_models import find_base_model


def too_long(rows: pd.DataFrame, config: TrainingConfig) -> Suspects | None:
    """Return the rows of more tokens than `max_length`, longest first, and what reading all of them would cost.

    Raises:
        ConfigurationError: the base model cannot be used.
    """
    tokenizer = find_base_model(config.base_model).tokenizer()
    max_length = find_max_length(config, rows_of_split(rows, "train"))
    lengths = token_lengths(rows, tokenizer)
    is_long = lengths > max_length
    if not is_long.any():
        return None
    windows = count_windows(lengths, max_length, tokenizer.num_special_tokens_to_add())
    message = _cost(lengths, windows, max_length, tokenizer.num_special_tokens_to_add())
    notes = [f"{length} tokens, {count} windows" for length, count in zip(lengths, windows, strict=True)]
    long_rows = rows.assign(note=notes, tokens=lengths)[is_long]
    return suspects(message, long_rows.sort_values("tokens", ascending=False, kind="stable"))


def count_windows(lengths: NDArray[np.int64], max_length: int, special_tokens: int) -> NDArray[np.int64]:
    """Return in how many windows texts of `lengths` tokens are read, with `special_tokens` in each.

    The windows are those of `serving/predictor.py`: of `max_length` tokens, overlapping by a quarter of it.
    """
    new_tokens = max_length - special_tokens - max_length // 4
    return 1 + np.ceil(np.maximum(lengths - max_length, 0) / new_tokens).astype(np.int64)


def _cost(lengths: NDArray[np.int64], windows: NDArray[np.int64], max_length: int, special_tokens: int) -> str:
    """Return what truncation loses, and how many more tokens windows read."""
    is_long = lengths > max_length
    read_in_windows = lengths + (windows - 1) * (max_length // 4 + special_tokens)  # the overlaps are read twice
    read = np.minimum(lengths, max_length)
    return (
        f"Texts of over {max_length} tokens, {is_long.mean():.1%} of all, lose {1 - read.sum() / lengths.sum():.1%} of "
        f"all tokens. Raise max_length, or serve them with truncation windows: {windows[is_long].mean():.1f} windows "
        f"for each of them, {read_in_windows.sum() / read.sum():.1f} times the tokens in all."
    )
