"""The real data sets, where BERT_TEXTCLASSIFICATION_DATA names their folder: read, cleaned and split as they are."""

import functools
import os
import re
import time
from pathlib import Path

import pytest

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.issues import Issue
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.data_quality.audit import audit
from bert_textclassification.training.data_quality.duplicates import normalise
from bert_textclassification.training.data_quality.label_errors import label_errors
from bert_textclassification.training.evaluation.baselines import fit_baseline
from bert_textclassification.training.evaluation.selection_metric import choose_metric
from bert_textclassification.training.prepare import load_splits
from tests.conftest import PATIENCE_S

FOLDER = os.environ.get("BERT_TEXTCLASSIFICATION_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(FOLDER is None, reason="BERT_TEXTCLASSIFICATION_DATA names no folder with the real data sets"),
]


def load(name: str, **settings: object) -> Splits:
    return load_splits(TrainingConfig.of({"data": str(Path(FOLDER or "") / name), **settings}))


@functools.cache
def issues(name: str) -> dict[str, Issue]:
    """All issues of a data set with the default settings, by kind."""
    config = TrainingConfig.of({"data": str(Path(FOLDER or "") / name)})
    return {issue.kind: issue for issue in audit(load_splits(config), config).issues}


def test_sst2_keeps_its_evaluation_splits_and_loses_only_duplicates():
    splits = load("sst2")
    assert (len(splits.validation), len(splits.test)) == (872, 1821)
    assert splits.held_back is not None
    assert 66_500 < len(splits.train) + len(splits.held_back) < 67_349
    assert splits.labels == ("0", "1")


def test_sms_is_split_by_label_without_leakage():
    splits = load("sms_spam")
    shares = [sum(splits.targets(frame)) / len(frame) for _, frame in splits.items()]
    assert max(shares) - min(shares) < 0.005
    texts = [text for _, frame in splits.items() for text in frame["text"].map(normalise)]
    assert len(texts) == len(set(texts))
    assert {issue.kind for issue in splits.issues} == {"repeat", "encoding", "html"}


def test_told_br_conflicts_and_leakage_are_found():
    splits = load("told_br")
    (leakage,) = [issue for issue in splits.issues if issue.kind == "leakage"]
    assert leakage.rows["split"].value_counts().to_dict() == {"train": 59, "validation": 7}
    assert leakage.dropped == 59
    assert (len(splits.validation), len(splits.test)) == (2100, 2100)


def test_long_reviews_get_a_validation_split():
    splits = load("imdb_long")
    assert len(splits.test) == 1500
    assert len(splits.validation) > 400


def test_the_baseline_on_sms_beats_the_majority():
    splits = load("sms_spam")
    accuracy = fit_baseline(splits, seed=0).score(splits.test["text"], splits.targets(splits.test))
    assert accuracy > 0.95


def test_sms_is_judged_by_average_precision_and_sst2_by_accuracy():
    metrics = {name: choose_metric(TrainingConfig(data=name), load(name)).metric for name in ("sms_spam", "sst2")}
    assert metrics == {"sms_spam": "average_precision", "sst2": "accuracy"}


@pytest.mark.parametrize(
    ("name", "kind", "telling", "at_least"),
    [
        ("told_br", "encoding", "U+FFFD", 50),
        ("told_br", "encoding", "should be ã: UTF-8 that was read as gbk", 100),
        ("imdb_long", "html", "<br />", 2600),
        ("imdb_long", "encoding", "U+0096", 30),
        ("sms_spam", "html", "&lt;", 150),
        ("sms_spam", "encoding", "U+0092", 5),
        ("cola", "encoding", "U+0008", 3),
    ],
)
def test_known_damage_is_found(name, kind, telling, at_least):
    assert issues(name)[kind].rows["note"].str.contains(telling, regex=False).sum() >= at_least


@pytest.mark.parametrize("name", ["sst2", "sms_spam", "cola", "imdb_long", "told_br"])
def test_of_these_languages_the_english_base_model_does_not_know_portuguese_alone(name):
    assert ("language" in issues(name)) == (name == "told_br")


def test_long_reviews_are_found_with_what_is_lost_and_what_windows_cost():
    message = issues("imdb_long")["too_long"].message
    assert re.search(r"512 tokens, 15\.\d% of all, lose 12\.\d% of all tokens.* 1\.2 times the tokens in all", message)


def test_most_labels_that_were_turned_round_are_found_and_few_others():
    train = load("sms_spam").train
    turned = train.index % 20 == 0
    swapped = train["label"].map({"0": "1", "1": "0"})
    rows = train.assign(label=train["label"].mask(turned, swapped), split="train")
    found = label_errors(rows, TrainingConfig(data="a.csv", seed=0)).rows
    right = set(found["line"]) & set(train["line"][turned])
    assert len(right) > 0.5 * turned.sum()
    assert len(right) > 0.9 * len(found)


@pytest.mark.parametrize(("name", "at_most"), [("told_br", 0.02), ("sst2", 0.005), ("imdb_long", 0.01)])
def test_few_labels_are_called_wrong_by_a_model_that_is_often_wrong_itself(name, at_most):
    issue = issues(name).get("label_error")
    rows = sum(len(frame) for _, frame in load(name).items())
    assert issue is None or issue.count < at_most * rows


def test_a_model_of_words_cannot_tell_label_errors_of_grammar():
    assert issues("cola")["label_error"].message.startswith("Not looked for")


def test_sst2_is_audited_within_minutes():
    start = time.perf_counter()
    issues.__wrapped__("sst2")
    assert time.perf_counter() - start < PATIENCE_S
