"""What the base model's tokenizer makes of the texts: tokens that are cut off, words that it does not know."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from bert_textclassification.training.data.issues import Finding, found, joined
from bert_textclassification.training.data.rows import Tables

# A foreign text has half of its words, and 20 letters or more, unknown or in pieces of 3 letters or fewer. With the
# English all-MiniLM-L6-v2, 0.0 % (IMDB, CoLA 0.3 %, SST-2 0.3 %) to 0.7 % (SMS Spam) of English texts are, and 55 % of
# the Brazilian tweets of ToLD-Br: the limit lies between, on a logarithmic scale.
FOREIGN_TEXTS = 0.05
_FOREIGN_WORDS, _LETTERS, _LETTERS_OF_A_PIECE = 0.5, 20, 3
_WORD = re.compile(r"[^\W\d_]+")
_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")  # Thai to Chinese
_AT_ONCE = 1000  # texts, so that their encodings fit into memory


def token_lengths(frame: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int64]:
    """Return the number of tokens of each text, special ones included, uncut."""
    texts, lengths = frame["text"].tolist(), []
    for start in range(0, len(texts), _AT_ONCE):
        encoded = tokenizer(texts[start : start + _AT_ONCE], truncation=False, verbose=False)["input_ids"]
        lengths += [len(ids) for ids in encoded]
    return np.array(lengths, dtype=np.int64)


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


def too_long(tables: Tables, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Finding | None:
    """Return the rows of more than `max_length` tokens, longest first, and what reading all of them would cost."""
    rows = joined(tables)
    lengths = token_lengths(rows, tokenizer)
    long = lengths > max_length
    if not long.any():
        return None
    special = tokenizer.num_special_tokens_to_add()
    windows = windows_of(lengths, max_length, special)
    read = lengths + (windows - 1) * (max_length // 4 + special)  # with windows: what they overlap is read twice
    cut = np.minimum(lengths, max_length)
    message = (
        f"Texts of over {max_length} tokens, {long.mean():.1%} of all, lose {1 - cut.sum() / lengths.sum():.1%} of all "
        f"tokens. Raise max_length, or serve them with truncation windows: {windows[long].mean():.1f} windows for each "
        f"of them, {read.sum() / cut.sum():.1f} times the tokens in all."
    )
    notes = [f"{length} tokens, {count} windows" for length, count in zip(lengths, windows, strict=True)]
    suspects = rows.assign(note=notes, tokens=lengths)[long]
    return found("too_long", message, suspects.sort_values("tokens", ascending=False, kind="stable"))


def windows_of(lengths: NDArray[np.int64], max_length: int, special: int) -> NDArray[np.int64]:
    """Return in how many windows texts of `lengths` tokens are read, `special` ones in each.

    As `serving/predictor.py` reads them: windows of `max_length` that overlap by a quarter of it.
    """
    fresh = max_length - special - max_length // 4
    return 1 + np.ceil(np.maximum(lengths - max_length, 0) / fresh).astype(np.int64)


def foreign_texts(tables: Tables, tokenizer: PreTrainedTokenizerBase) -> Finding | None:
    """Return the rows whose words the tokenizer does not know or breaks in small pieces, worst first.

    None where they are under FOREIGN_TEXTS of all: slang and names are in every language.
    """
    rows = joined(tables)
    words = [_WORD.findall(text) for text in rows["text"]]
    unknown, broken = unknown_and_broken({word for own in words for word in own}, tokenizer)
    strange = unknown | broken
    share = np.array([sum(word in strange for word in own) / max(len(own), 1) for own in words])
    telling = [any(word in unknown for word in own) or sum(map(len, own)) >= _LETTERS for own in words]
    foreign = (share >= _FOREIGN_WORDS) & telling
    if foreign.mean() < FOREIGN_TEXTS:
        return None
    running = [word for own in words for word in own]
    message = (
        f"The base model does not know the language of {foreign.mean():.0%} of the texts: of all words, "
        f"{np.mean([word in unknown for word in running]):.1%} are unknown to its tokenizer and "
        f"{np.mean([word in broken for word in running]):.1%} in small pieces. Take a base_model of that language, or "
        "a multilingual one."
    )
    notes = [f"{one:.0%} of {len(own)} words unknown or in pieces" for one, own in zip(share, words, strict=True)]
    suspects = rows.assign(note=notes, share=share)[foreign]
    return found("language", message, suspects.sort_values("share", ascending=False, kind="stable"))


def unknown_and_broken(words: set[str], tokenizer: PreTrainedTokenizerBase) -> tuple[set[str], set[str]]:
    """Return the words with a piece that is unknown, and those in several pieces of 3 letters or fewer on average.

    Chinese and other scripts without spaces have a token for a character; they are broken where it takes more.
    """
    listed = sorted(words)
    unknown, broken = set(), set()
    for word, pieces in zip(listed, _pieces(listed, tokenizer), strict=True):
        if tokenizer.unk_token_id in pieces:
            unknown.add(word)
        elif _is_broken(word, len(pieces)):
            broken.add(word)
    return unknown, broken


def _is_broken(word: str, pieces: int) -> bool:
    if _WITHOUT_SPACES.search(word):
        return pieces > len(word) + 1  # some tokenizers spend one on the space before it
    return pieces > 1 and len(word) <= _LETTERS_OF_A_PIECE * pieces


def _pieces(words: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not words:
        return []
    # The space makes byte-level tokenizers see a word as in the middle of a text.
    encoded: list[list[int]] = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    return encoded
