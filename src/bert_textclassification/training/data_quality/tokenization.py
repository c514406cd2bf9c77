"""How many tokens the base model's tokenizer makes of the texts."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

_TEXTS_AT_ONCE = 1000  # so that their encodings fit into memory


def token_lengths(rows: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int64]:
    """Return the number of tokens of each text, special ones included, uncut."""
    texts, lengths = rows["text"].tolist(), []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        encoded = tokenizer(texts[start : start + _TEXTS_AT_ONCE], truncation=False, verbose=False)["input_ids"]
        lengths += [len(ids) for ids in encoded]
    return np.array(lengths, dtype=np.int64)


def length_table(lengths: dict[str, NDArray[np.int64]], max_length: int) -> pd.DataFrame:
    """Return quantiles of the token lengths of each split and the share of texts that would be cut."""
    quantiles = {
        name: {
            "median": np.median(values),
            "p95": np.percentile(values, 95),
            "longest": values.max(),
            "share_cut": round(float(np.mean(values > max_length)), 4),
        }
        for name, values in lengths.items()
    }
    return pd.DataFrame.from_dict(quantiles, orient="index")
