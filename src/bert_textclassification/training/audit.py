"""What the data look like before anything is trained: balance, lengths, near-duplicates."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from bert_textclassification.training.data import Splits

NEAR = 0.8
_WORD = re.compile(r"\w+")


def balance_table(splits: Splits) -> pd.DataFrame:
    """Return rows, positives and the positive share of each split."""
    rows = []
    for name, frame in splits.items():
        positives = sum(splits.targets(frame))
        rows.append({"split": name, "rows": len(frame), "positive": positives, "share": positives / len(frame)})
    return pd.DataFrame(rows).set_index("split").round(3)


def findings_table(splits: Splits) -> pd.DataFrame:
    """Return what was doubtful in the data, one row for each kind, with examples."""
    return pd.DataFrame(
        [asdict(finding) for finding in splits.findings], columns=["kind", "count", "message", "examples"]
    )


def token_lengths(frame: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int64]:
    """Return the number of tokens of each text, special ones included, uncut."""
    encoded = tokenizer(frame["text"].tolist(), truncation=False, verbose=False)["input_ids"]
    return np.array([len(ids) for ids in encoded])


def length_table(lengths: dict[str, NDArray[np.int64]], max_length: int) -> pd.DataFrame:
    """Return quantiles of the token lengths of each split and the share of texts that would be cut."""
    rows = {
        name: {
            "median": np.median(values),
            "p95": np.percentile(values, 95),
            "longest": values.max(),
            "share_cut": round(float(np.mean(values > max_length)), 4),
        }
        for name, values in lengths.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def near_duplicates(texts: Sequence[str], threshold: float = NEAR) -> list[tuple[int, int]]:
    """Return pairs (later, earlier) of rows whose sets of words have a Jaccard similarity of `threshold` or more.

    Each later row is paired with one earlier row at most. Candidates come from prefix filtering (Chaudhuri et al.
    2006): with words sorted rarest first, two sets that similar share a word among their first
    n - ceil(threshold * n) + 1.
    """
    words = [frozenset(_WORD.findall(text.casefold())) for text in texts]
    frequency = Counter(word for row in words for word in row)
    index: dict[str, list[int]] = defaultdict(list)
    pairs = []
    for row, own in enumerate(words):
        ordered = sorted(own, key=lambda word: (frequency[word], word))
        prefix = ordered[: len(own) - int(np.ceil(threshold * len(own))) + 1]
        candidates = {other for word in prefix for other in index[word]}
        match = next((other for other in sorted(candidates) if _similar(own, words[other], threshold)), None)
        if match is not None:
            pairs.append((row, match))
        for word in prefix:
            index[word].append(row)
    return pairs


def near_duplicate_table(splits: Splits, rows: int = 5) -> pd.DataFrame:
    """Return the first pairs of near-duplicates over all splits, with where each text stands."""
    everything = pd.concat([frame.assign(split=name) for name, frame in splits.items()], ignore_index=True)
    pairs = near_duplicates(everything["text"].tolist())
    shown = [
        {
            "text": everything["text"][later],
            "like": everything["text"][earlier],
            "splits": f"{everything['split'][later]}, {everything['split'][earlier]}",
        }
        for later, earlier in pairs[:rows]
    ]
    table = pd.DataFrame(shown, columns=["text", "like", "splits"])
    table.attrs["rate"] = len(pairs) / len(everything)
    return table


def _similar(first: frozenset[str], second: frozenset[str], threshold: float) -> bool:
    union = len(first | second)
    return union > 0 and len(first & second) / union >= threshold
