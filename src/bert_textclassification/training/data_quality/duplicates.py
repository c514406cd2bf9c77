"""Duplicates: repeated texts, texts with conflicting labels, and texts in several splits."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.files import place
from bert_textclassification.training.data.issues import Suspects, suspects
from bert_textclassification.training.data.rows import rows_of_split

NEAR = 0.8
EVALUATED = ("validation", "test")  # no metric is computed on held_back
CHOSEN_ON = ("validation", "held_back")  # they choose checkpoint, temperature, threshold; and the variant
_WORD = re.compile(r"\w+")


def normalise(text: str) -> str:
    """Return `text` as it is compared for duplicates: lower case, single spaces."""
    return " ".join(text.casefold().split())


def leakage(rows: pd.DataFrame, config: TrainingConfig) -> Suspects | None:
    """Return the rows of train whose text is also in EVALUATED, and those of CHOSEN_ON whose text is also in test."""
    rows = _keyed(rows)
    leaked = pd.concat([_also_in(EVALUATED, rows, ("train",)), _also_in(("test",), rows, CHOSEN_ON)])
    message = (
        "Texts are in several splits, which flatters every figure: drop those of train, and take what is in test out "
        "of validation."
    )
    return suspects(message, leaked)


def conflicts(rows: pd.DataFrame, config: TrainingConfig) -> Suspects | None:
    """Return the rows of all splits whose text also has another label."""
    rows = _keyed(rows)
    conflicting = rows[rows.groupby("key")["label"].transform("nunique") > 1]
    labels = {key: _counts(each) for key, each in conflicting.groupby("key")["label"]}
    conflicting = conflicting.assign(note=conflicting["key"].map(labels)).sort_values("key", kind="stable")
    message = "The same text has both labels: decide on one, or add to the text what tells them apart."
    return suspects(message, conflicting)


def repeats(rows: pd.DataFrame, config: TrainingConfig) -> Suspects | None:
    """Return the rows with text and label of an earlier row of the same split."""
    rows = _keyed(rows)
    identity = ["split", "key", "label"]
    rows = rows.assign(note="as " + rows.groupby(identity)["place"].transform("first"))
    message = "Texts repeat an earlier row and count twice: keep one of each."
    return suspects(message, rows[rows.duplicated(identity)])


def near_leakage(rows: pd.DataFrame, config: TrainingConfig) -> Suspects | None:
    """Return the rows of train that share NEAR of their words with a row of EVALUATED without having the same text."""
    evaluated = pd.concat([rows_of_split(rows, name) for name in EVALUATED])
    rows = pd.concat([evaluated, rows_of_split(rows, "train")], ignore_index=True)
    rows = rows.assign(place=_places(rows))
    texts = rows["text"].tolist()
    pairs = [
        (row, earlier)
        for row, earlier in near_duplicates(texts, among=len(evaluated))
        if row >= len(evaluated) and normalise(texts[row]) != normalise(texts[earlier])
    ]
    alike = rows.iloc[[row for row, _ in pairs]]
    notes = [f"like {_described(rows.iloc[earlier])}: {texts[earlier]}" for _, earlier in pairs]
    message = "Texts of train are nearly ones that are evaluated on: look whether they are copies; if so, drop them."
    return suspects(message, alike.assign(note=notes))


def near_duplicates(texts: Sequence[str], threshold: float = NEAR, among: int | None = None) -> list[tuple[int, int]]:
    """Return pairs (later, earlier) of rows whose sets of words have a Jaccard similarity of `threshold` or more.

    Each later row is paired with at most one earlier row, one of the first `among` where that is given. Candidates come
    from prefix filtering (Chaudhuri et al. 2006): with words sorted rarest first, two sets that similar share a word
    among their first n - ceil(threshold * n) + 1.
    """
    words = [frozenset(_WORD.findall(text.casefold())) for text in texts]
    frequency = Counter(word for row in words for word in row)
    index: dict[str, list[int]] = defaultdict(list)
    pairs = []
    for row, row_words in enumerate(words):
        ordered = sorted(row_words, key=lambda word: (frequency[word], word))
        prefix = ordered[: len(row_words) - int(np.ceil(threshold * len(row_words))) + 1]
        candidates = {other for word in prefix for other in index[word]}
        match = next((other for other in sorted(candidates) if _similar(row_words, words[other], threshold)), None)
        if match is not None:
            pairs.append((row, match))
        if among is None or row < among:
            for word in prefix:
                index[word].append(row)
    return pairs


def _also_in(others: tuple[str, ...], rows: pd.DataFrame, splits: tuple[str, ...]) -> pd.DataFrame:
    """Return the rows of `splits` whose text is in `others` too, with a note where."""
    first = rows[rows["split"].isin(others)].drop_duplicates("key").set_index("key")
    repeated = rows[rows["split"].isin(splits) & rows["key"].isin(first.index)]
    return repeated.assign(note=[f"also in {_described(first.loc[key])}" for key in repeated["key"]])


def _keyed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the columns key, by which texts are compared, and place."""
    return rows.assign(key=rows["text"].map(normalise), place=_places(rows))


def _places(rows: pd.DataFrame) -> list[str]:
    return [place(Path(source).name, line) for source, line in zip(rows["source"], rows["line"], strict=True)]


def _described(row: pd.Series) -> str:
    return f"{row['split']} ({row['place']}), labelled {row['label']}"


def _counts(labels: "pd.Series[str]") -> str:
    return "labelled " + ", ".join(f"{count} x {label}" for label, count in sorted(Counter(labels).items()))


def _similar(first: frozenset[str], second: frozenset[str], threshold: float) -> bool:
    union = len(first | second)
    return union > 0 and len(first & second) / union >= threshold
