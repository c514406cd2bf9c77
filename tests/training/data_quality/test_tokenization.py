"""Lengths of texts in tokens."""

import numpy as np
import pandas as pd
import pytest

from bert_textclassification.training.data_quality.tokenization import length_table, token_lengths
from bert_textclassification.training.modeling.base_models import find_base_model


def test_lengths_are_those_of_the_whole_texts(tiny_base):
    tokenizer = find_base_model(str(tiny_base)).tokenizer()
    texts = ["help", "help help help", "help " * 1000]
    lengths = token_lengths(pd.DataFrame({"text": texts}), tokenizer)
    assert lengths.tolist() == [3, 5, 1002]


def test_length_quantiles_and_the_share_that_is_cut():
    table = length_table({"train": np.arange(1, 102), "test": np.array([4, 8, 9, 20])}, max_length=8)
    assert table.loc["train"].tolist() == [51, 96, 101, round(93 / 101, 4)]
    assert table.loc["test"].tolist() == pytest.approx([8.5, 18.35, 20, 0.5])
