"""Texts of more tokens than are read: what is cut, and what windows cost."""

import numpy as np
import pandas as pd
import pytest

from bert_textclassification.serving.predictor import load_tokenizer
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.rows import join_splits
from bert_textclassification.training.data_quality.long_texts import count_windows, too_long


@pytest.mark.parametrize("length", [3, 8, 9, 13, 14, 40, 1002])
@pytest.mark.parametrize("max_length", [8, 16, 64])
def test_windows_are_as_many_as_the_server_reads(tiny_base, length, max_length):
    server = load_tokenizer(tiny_base / "tokenizer.json", max_length, overlap=max_length // 4)
    encoded = server.encode("help " * (length - 2))
    assert count_windows(np.array([length]), max_length, special_tokens=2).tolist() == [1 + len(encoded.overflowing)]


def test_long_texts_are_found_with_what_is_lost_and_what_windows_cost(tiny_base):
    rows = join_splits({"train": _rows("help " * 4, "help " * 14), "test": _rows("help " * 6)})
    found = too_long(rows, TrainingConfig(data="a.csv", base_model=str(tiny_base), max_length=8))
    assert found.rows[["split", "line", "note"]].to_numpy().tolist() == [["train", 3, "16 tokens, 3 windows"]]
    # 6 + 16 + 8 tokens, of which 8 are lost; in three windows, 2 + 2 tokens are read again twice.
    assert "33.3% of all, lose 26.7% of all tokens" in found.message
    assert "3.0 windows for each of them, 1.7 times the tokens" in found.message


def test_texts_that_fit_are_no_issue(tiny_base):
    config = TrainingConfig(data="a.csv", base_model=str(tiny_base), max_length=8)
    assert too_long(join_splits({"train": _rows("help")}), config) is None


def _rows(*texts):
    return pd.DataFrame({"text": texts, "label": "x", "source": "a.csv", "line": range(2, len(texts) + 2)})
