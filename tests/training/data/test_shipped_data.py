"""The shipped messages: balanced, varied, without shortcuts, and too hard for counting words."""

import pytest

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data_quality.duplicates import near_duplicates, normalise
from bert_textclassification.training.evaluation.baselines import fit_baseline
from bert_textclassification.training.prepare import load_splits

LABELS = ("escalate", "routine")
TRIGGERS = (
    *("urgent", "immediately", "asap", "emergency", "help", "fire", "stolen", "hacked", "dangerous"),
    *("lawyer", "refund", "cancel"),
)


@pytest.fixture(scope="module")
def splits():
    from tests.conftest import SHIPPED_DATA

    return load_splits(TrainingConfig(data=str(SHIPPED_DATA), positive_label="escalate"))


@pytest.fixture(scope="module")
def messages(splits):
    import pandas as pd

    return pd.concat([frame.assign(split=name) for name, frame in splits.items()], ignore_index=True)


def test_there_are_enough_messages_in_every_split(splits, messages):
    assert len(messages) >= 1000
    assert min(len(frame) for _, frame in splits.items()) >= 100


def test_both_labels_are_common_in_every_split(messages):
    shares = (messages["label"] == "escalate").groupby(messages["split"]).mean()
    assert set(messages["label"]) == set(LABELS)
    assert shares.between(0.25, 0.75).all()
    assert shares.max() - shares.min() < 0.05


def test_messages_have_2_to_100_words(messages):
    words = messages["text"].str.split().str.len()
    assert words.between(2, 100).all()
    assert words.quantile(0.1) < 12
    assert words.quantile(0.9) > 40


def test_nothing_is_doubtful(splits):
    assert splits.issues == []


def test_no_message_is_there_twice(messages):
    assert not messages["text"].map(normalise).duplicated().any()


def test_under_one_percent_of_the_messages_are_near_duplicates(messages):
    assert len(near_duplicates(messages["text"].tolist(), 0.8)) < 0.01 * len(messages)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("word", TRIGGERS)
def test_words_that_sound_urgent_are_in_both_classes(messages, label, word):
    texts = messages["text"][messages["label"] == label].str.casefold()
    assert texts.str.contains(rf"\b{word}\b").sum() >= 5


@pytest.mark.parametrize("label", LABELS)
def test_emoji_lower_case_and_long_messages_are_in_both_classes(messages, label):
    texts = messages["text"][messages["label"] == label]
    assert texts.str.contains("[\U0001f300-\U0001faff\u2600-\u27bf]").mean() > 0.05
    assert (texts == texts.str.lower()).mean() > 0.1
    assert (texts.str.split().str.len() >= 40).mean() > 0.1


def test_length_case_and_emoji_do_not_tell_the_label(messages):
    facts = messages.assign(
        words=messages["text"].str.split().str.len(),
        shouts=messages["text"].str.count("!"),
        capitals=messages["text"].str.count("[A-Z]") / messages["text"].str.len(),
        emoji=messages["text"].str.count("[\U0001f300-\U0001faff\u2600-\u27bf]"),
    )
    positive = (messages["label"] == "escalate").astype(float)
    for fact in ("words", "shouts", "capitals", "emoji"):
        assert abs(facts[fact].corr(positive)) < 0.2, fact


def test_counting_words_learns_something_but_leaves_room(splits):
    accuracy = fit_baseline(splits, seed=42).score(splits.test["text"], splits.targets(splits.test))
    assert 0.65 < accuracy < 0.9
