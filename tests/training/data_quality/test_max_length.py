"""How many tokens are read: where `max_length` is auto, the training texts decide, as far as the base model goes."""

import numpy as np
import pandas as pd
import pytest
from transformers import BertConfig, MPNetConfig, RobertaConfig

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data_quality.audit import audit
from bert_textclassification.training.data_quality.max_length import (
    choose_max_length,
    find_max_length,
    max_length_sentence,
    positions,
    with_max_length,
)
from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.prepare import load_splits


def lengths(short: int, long: int, tokens: int):
    return np.array([20] * short + [tokens] * long)


@pytest.mark.parametrize(
    ("found", "longest", "expected"),
    [
        (lengths(100, 0, 0), 512, 128),
        (lengths(95, 5, 600), 512, 128),  # 5 % may be cut
        (lengths(94, 6, 200), 512, 256),
        (lengths(94, 6, 256), 512, 256),
        (lengths(50, 50, 300), 512, 512),
        (lengths(50, 50, 3000), 512, 512),  # none reads them whole: the longest
        (lengths(50, 50, 3000), 8192, 512),
        (lengths(50, 50, 3000), 384, 384),
        (np.array([380] * 10), 384, 384),
        (np.array([180] * 10), 200, 200),
        (lengths(50, 50, 3000), 64, 64),  # a base model of short texts
    ],
)
def test_the_shortest_length_that_cuts_few_training_texts_is_chosen(found, longest, expected):
    assert choose_max_length(found, longest) == expected


def test_positions_before_the_first_of_a_text_are_not_counted():
    assert positions(BertConfig(max_position_embeddings=512)) == 512
    assert positions(RobertaConfig(max_position_embeddings=514, pad_token_id=1)) == 512
    assert positions(MPNetConfig(max_position_embeddings=514, pad_token_id=1)) == 512


@pytest.fixture
def long_texts(tiny_data, tmp_path):
    """Data whose texts have over 128 tokens in most."""
    for split in ("train", "validation", "test"):
        frame = pd.read_csv(tiny_data / f"{split}.csv")
        frame.assign(text=frame["text"] + " and so on" * 20).to_csv(tmp_path / f"{split}.csv", index=False)
    return tmp_path


def test_long_training_texts_are_read_whole_and_the_run_says_so(tiny_base, long_texts):
    config = TrainingConfig(data=str(long_texts), base_model=str(tiny_base))
    splits = load_splits(config)
    assert with_max_length(config, splits).max_length == 256
    assert "256 tokens are read: the shortest of 128, 256, 512" in max_length_sentence(config, splits)
    assert "too_long" not in [issue.kind for issue in audit(splits, config).issues]


def test_a_length_that_is_given_stays(tiny_base, long_texts):
    config = TrainingConfig(data=str(long_texts), base_model=str(tiny_base), max_length=32)
    splits = load_splits(config)
    assert with_max_length(config, splits) == config
    assert "32 tokens are read, as max_length says" in max_length_sentence(config, splits)


def test_the_record_of_a_training_has_the_length_that_was_chosen(tiny_config, tiny_splits, tmp_path):
    config = tiny_config.model_copy(update={"max_length": 0, "epochs": 0.1})
    expected = with_max_length(config, tiny_splits).max_length
    assert expected > 0
    assert fine_tune(config, tiny_splits, tmp_path).config.max_length == expected


def test_what_is_left_without_long_texts_is_read_at_the_length_that_decided_on_them(tiny_base, tiny_data, tmp_path):
    for split in ("train", "validation", "test"):
        frame = pd.read_csv(tiny_data / f"{split}.csv")
        longer = [text + " and so on" * (300 if row % 8 == 0 else 0) for row, text in enumerate(frame["text"])]
        frame.assign(text=longer).to_csv(tmp_path / f"{split}.csv", index=False)
    config = TrainingConfig(data=str(tmp_path), base_model=str(tiny_base), drop_issues=("too_long",))
    splits = load_splits(config)
    read = with_max_length(config, splits).max_length
    assert read == splits.max_length
    assert f"Of a text {read} tokens are read" in max_length_sentence(config, splits)
    assert find_max_length(config, splits.train) < read  # what would have been decided anew
