"""Texts in a language that the base model's tokenizer does not know."""

import pandas as pd
import pytest

from bert_textclassification.training.config import DEFAULT_BASE_MODEL, TrainingConfig
from bert_textclassification.training.data_quality.language import foreign_texts, unknown_and_broken
from bert_textclassification.training.modeling.base_models import find_base_model

CONFIG = TrainingConfig(data="a.csv")
ENGLISH = ["The food was cold and nobody cared", "We will come back with all of our friends", "Gr8 film tbh, luv it!!!"]
FOREIGN = {
    "Chinese": "这部电影非常好看,我很喜欢它的音乐",
    "Russian": "Этот фильм мне очень понравился, советую всем",
    "Portuguese": "nossos queridinhos chegaram, vem comigo tomar um cafezinho gostoso",
    "Greek": "Το φαγητό ήταν κρύο και κανείς δεν νοιάστηκε",
}


@pytest.mark.parametrize("language", FOREIGN)
def test_a_language_that_the_base_model_does_not_know_is_found(language):
    found = foreign_texts(_rows(*ENGLISH, FOREIGN[language]), CONFIG)
    assert found.rows["text"].tolist() == [FOREIGN[language]]
    assert "does not know the language of 25% of the texts" in found.message
    assert "words unknown or in pieces" in found.rows["note"][0]


def test_english_and_a_rare_foreign_text_are_no_issue():
    assert foreign_texts(_rows(*ENGLISH * 10, FOREIGN["Chinese"]), CONFIG) is None


def test_texts_without_words_are_no_issue():
    assert foreign_texts(_rows("12 €", "!!!"), CONFIG) is None


def test_unknown_words_are_told_from_broken_ones():
    english = find_base_model(DEFAULT_BASE_MODEL).tokenizer()
    assert unknown_and_broken({"friends", "喜欢", "очень"}, english) == ({"喜欢"}, {"очень"})


def _rows(*texts):
    lines = range(2, len(texts) + 2)
    return pd.DataFrame({"text": texts, "label": "x", "source": "a.csv", "line": lines, "split": "train"})
