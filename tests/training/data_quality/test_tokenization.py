"""What the tokenizer makes of texts: lengths, what is cut and what windows cost, languages that it does not know."""

import numpy as np
import pandas as pd
import pytest

from bert_textclassification.serving.predictor import load_tokenizer
from bert_textclassification.training.config import DEFAULT_BASE_MODEL
from bert_textclassification.training.data_quality.tokenization import (
    foreign_texts,
    length_table,
    token_lengths,
    too_long,
    unknown_and_broken,
    windows_of,
)
from bert_textclassification.training.modeling.base_models import find_base_model

ENGLISH = ["The food was cold and nobody cared", "We will come back with all of our friends", "Gr8 film tbh, luv it!!!"]
FOREIGN = {
    "Chinese": "这部电影非常好看,我很喜欢它的音乐",
    "Russian": "Этот фильм мне очень понравился, советую всем",
    "Portuguese": "nossos queridinhos chegaram, vem comigo tomar um cafezinho gostoso",
    "Greek": "Το φαγητό ήταν κρύο και κανείς δεν νοιάστηκε",
}


@pytest.fixture(scope="module")
def english():
    """The tokenizer of the default base model."""
    return find_base_model(DEFAULT_BASE_MODEL).tokenizer()


def test_lengths_are_those_of_the_whole_texts(tiny_base):
    tokenizer = find_base_model(str(tiny_base)).tokenizer()
    texts = ["help", "help help help", "help " * 1000]
    lengths = token_lengths(pd.DataFrame({"text": texts}), tokenizer)
    assert lengths.tolist() == [3, 5, 1002]


def test_length_quantiles_and_the_share_that_is_cut():
    table = length_table({"train": np.arange(1, 102), "test": np.array([4, 8, 9, 20])}, max_length=8)
    assert table.loc["train"].tolist() == [51, 96, 101, round(93 / 101, 4)]
    assert table.loc["test"].tolist() == pytest.approx([8.5, 18.35, 20, 0.5])


@pytest.mark.parametrize("length", [3, 8, 9, 13, 14, 40, 1002])
@pytest.mark.parametrize("max_length", [8, 16, 64])
def test_windows_are_as_many_as_the_server_reads(tiny_base, length, max_length):
    server = load_tokenizer(tiny_base / "tokenizer.json", max_length, overlap=max_length // 4)
    encoded = server.encode("help " * (length - 2))
    assert windows_of(np.array([length]), max_length, special=2).tolist() == [1 + len(encoded.overflowing)]


def test_long_texts_are_found_with_what_is_lost_and_what_windows_cost(tiny_base):
    tables = {"train": _table("help " * 4, "help " * 14), "test": _table("help " * 6)}
    finding = too_long(tables, find_base_model(str(tiny_base)).tokenizer(), max_length=8)
    assert finding.rows[["split", "line", "note"]].to_numpy().tolist() == [["train", 3, "16 tokens, 3 windows"]]
    # 6 + 16 + 8 tokens, of which 8 are lost; in three windows, 2 + 2 tokens are read again twice.
    assert "33.3% of all, lose 26.7% of all tokens" in finding.message
    assert "3.0 windows for each of them, 1.7 times the tokens" in finding.message


def test_texts_that_fit_are_no_finding(tiny_base):
    tokenizer = find_base_model(str(tiny_base)).tokenizer()
    assert too_long({"train": _table("help")}, tokenizer, max_length=8) is None


@pytest.mark.parametrize("language", FOREIGN)
def test_a_language_that_the_base_model_does_not_know_is_found(english, language):
    finding = foreign_texts({"train": _table(*ENGLISH, FOREIGN[language])}, english)
    assert finding.rows["text"].tolist() == [FOREIGN[language]]
    assert "does not know the language of 25% of the texts" in finding.message
    assert "words unknown or in pieces" in finding.rows["note"][0]


def test_english_and_a_rare_foreign_text_are_no_finding(english):
    assert foreign_texts({"train": _table(*ENGLISH * 10, FOREIGN["Chinese"])}, english) is None


def test_texts_without_words_are_no_finding(english):
    assert foreign_texts({"train": _table("12 €", "!!!")}, english) is None


def test_unknown_words_are_told_from_broken_ones(english):
    assert unknown_and_broken({"friends", "喜欢", "очень"}, english) == ({"喜欢"}, {"очень"})


def _table(*texts):
    return pd.DataFrame({"text": texts, "label": "x", "source": "a.csv", "line": range(2, len(texts) + 2)})
