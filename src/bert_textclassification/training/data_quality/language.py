"""Texts in a language that the base model's tokenizer does not know."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.issues import Suspects, suspects
from bert_textclassification.training.modeling.base_models import find_base_model

# A foreign text has half of its words, and 20 letters or more, unknown or in pieces of 3 letters or fewer. With the
# English all-MiniLM-L6-v2, 0.0 % (IMDB, CoLA 0.3 %, SST-2 0.3 %) to 0.7 % (SMS Spam) of English texts are foreign, and
# 55 % of the Brazilian tweets of ToLD-Br: the limit lies between, on a logarithmic scale.
FOREIGN_TEXTS = 0.05
_FOREIGN_WORDS, _LETTERS, _LETTERS_OF_A_PIECE = 0.5, 20, 3
_WORD = re.compile(r"[^\W\d_]+")
_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")  # Thai to Chinese


def foreign_texts(rows: pd.DataFrame, config: TrainingConfig) -> Suspects | None:
    """Return the rows whose words the tokenizer does not know or splits into small pieces, worst first.

    None where they are under FOREIGN_TEXTS of all: slang and names are in every language.

    Raises:
        ConfigurationError: the base model cannot be used.
    """
    words = [_WORD.findall(text) for text in rows["text"]]
    vocabulary = {word for words_of_text in words for word in words_of_text}
    unknown, broken = unknown_and_broken(vocabulary, find_base_model(config.base_model).tokenizer())
    foreign = unknown | broken
    share = np.array([sum(word in foreign for word in each) / max(len(each), 1) for each in words])
    is_evident = [any(word in unknown for word in each) or sum(map(len, each)) >= _LETTERS for each in words]
    is_foreign = (share >= _FOREIGN_WORDS) & is_evident
    if is_foreign.mean() < FOREIGN_TEXTS:
        return None
    all_words = [word for words_of_text in words for word in words_of_text]
    message = (
        f"The base model does not know the language of {is_foreign.mean():.0%} of the texts: of all words, "
        f"{np.mean([word in unknown for word in all_words]):.1%} are unknown to its tokenizer and "
        f"{np.mean([word in broken for word in all_words]):.1%} in small pieces. Take a base_model of that language, "
        "or a multilingual one."
    )
    notes = [f"{part:.0%} of {len(each)} words unknown or in pieces" for part, each in zip(share, words, strict=True)]
    foreign_rows = rows.assign(note=notes, share=share)[is_foreign]
    return suspects(message, foreign_rows.sort_values("share", ascending=False, kind="stable"))


def unknown_and_broken(words: set[str], tokenizer: PreTrainedTokenizerBase) -> tuple[set[str], set[str]]:
    """Return the words with an unknown piece, and those in several pieces of 3 letters or fewer on average.

    Chinese and other scripts without spaces have one token for a character; with more, a word counts as broken.
    """
    ordered = sorted(words)
    unknown, broken = set(), set()
    for word, pieces in zip(ordered, _pieces(ordered, tokenizer), strict=True):
        if tokenizer.unk_token_id in pieces:
            unknown.add(word)
        elif _is_broken(word, len(pieces)):
            broken.add(word)
    return unknown, broken


def _is_broken(word: str, pieces: int) -> bool:
    if _WITHOUT_SPACES.search(word):
        return pieces > len(word) + 1  # some tokenizers have a token for the space before it
    return pieces > 1 and len(word) <= _LETTERS_OF_A_PIECE * pieces


def _pieces(words: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not words:
        return []
    # With the space, byte-level tokenizers read a word as if it were inside a text.
    encoded: list[list[int]] = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    return encoded
