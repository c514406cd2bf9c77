"""The real data sets, where BERT_TEXTCLASSIFICATION_DATA names their folder: read, cleaned and split as they are."""

import os
from pathlib import Path

import pytest

from bert_textclassification.training.baseline import fit_baseline
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data import Splits, load_splits
from bert_textclassification.training.duplicates import normalise

FOLDER = os.environ.get("BERT_TEXTCLASSIFICATION_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(FOLDER is None, reason="BERT_TEXTCLASSIFICATION_DATA names no folder with the real data sets"),
]


def load(name: str, **settings: object) -> Splits:
    return load_splits(TrainingConfig.of({"data": str(Path(FOLDER or "") / name), **settings}))


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
    assert {finding.kind for finding in splits.findings} == {"repeat"}


def test_told_br_conflicts_and_leakage_are_found():
    findings = {finding.kind: finding.count for finding in load("told_br").findings}
    assert findings["leakage"] >= 30


def test_long_reviews_get_a_validation_split():
    splits = load("imdb_long")
    assert len(splits.test) == 1500
    assert len(splits.validation) > 400


def test_the_baseline_on_sms_beats_the_majority():
    splits = load("sms_spam")
    accuracy = fit_baseline(splits, seed=0).score(splits.test["text"], splits.targets(splits.test))
    assert accuracy > 0.95
