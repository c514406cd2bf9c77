"""The audit finds what is in the data, and the baseline learns: both on small tables worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from bert_textclassification.training.audit import (
    balance_table,
    findings_table,
    length_table,
    near_duplicate_table,
    near_duplicates,
    token_lengths,
)
from bert_textclassification.training.baseline import baseline_scores, fit_baseline
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data import Finding, Splits, load_splits
from bert_textclassification.training.model import find_base_model

TEN = "one two three four five six seven eight nine ten"


def test_balance_counts_each_split():
    splits = _splits(train=["no", "yes", "no"], validation=["no", "yes"], test=["yes", "yes", "no", "no", "no"])
    assert balance_table(splits).to_dict("index") == {
        "train": {"rows": 3, "positive": 1, "share": 0.333},
        "validation": {"rows": 2, "positive": 1, "share": 0.5},
        "test": {"rows": 5, "positive": 2, "share": 0.4},
    }


def test_findings_are_rows_with_examples():
    found = [Finding("repeat", 2, "2 training texts repeat.", ["a.csv line 3: 'x'"])]
    table = findings_table(_splits(findings=found))
    assert table.to_numpy().tolist() == [["repeat", 2, "2 training texts repeat.", ["a.csv line 3: 'x'"]]]


def test_clean_data_give_an_empty_table_of_findings():
    assert list(findings_table(_splits())) == ["kind", "count", "message", "examples"]
    assert findings_table(_splits()).empty


def test_lengths_are_those_of_the_whole_texts(tiny_base):
    tokenizer = find_base_model(str(tiny_base)).tokenizer()
    texts = ["help", "help help help", "help " * 1000]
    lengths = token_lengths(pd.DataFrame({"text": texts}), tokenizer)
    assert lengths.tolist() == [3, 5, 1002]


def test_length_quantiles_and_the_share_that_is_cut():
    table = length_table({"train": np.arange(1, 102), "test": np.array([4, 8, 9, 20])}, max_length=8)
    assert table.loc["train"].tolist() == [51, 96, 101, round(93 / 101, 4)]
    assert table.loc["test"].tolist() == pytest.approx([8.5, 18.35, 20, 0.5])


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("Same words HERE", "here: same, words!", True),
        (TEN, TEN.replace("ten", ""), True),  # 9 of 10
        (TEN.replace("nine", ""), TEN.replace("ten", ""), True),  # 8 of 10, the threshold itself
        (TEN.replace("nine", "neuf"), TEN, True),  # 9 of 11
        (TEN.replace("nine", "neuf").replace("ten", "dix"), TEN, False),  # 8 of 12
        ("one two three", "one two three four", False),
        ("!!!", "???", False),
    ],
)
def test_texts_that_share_most_words_are_near_duplicates(first, second, alike):
    assert near_duplicates([first, "something else", second]) == ([(2, 0)] if alike else [])


def test_each_later_text_is_paired_with_the_earliest_like_it():
    assert near_duplicates(["a b", "c d", "A B", "b a", "d c"]) == [(2, 0), (3, 0), (4, 1)]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.text("abcdefg ", max_size=24), max_size=12), st.sampled_from([0.5, 0.8, 1.0]))
def test_near_duplicates_are_those_that_comparing_every_pair_finds(texts, threshold):
    words = [set(text.split()) for text in texts]

    def alike(first, second):
        return bool(first) and bool(second) and len(first & second) >= threshold * len(first | second)

    pairs = [next(((row, at) for at in range(row) if alike(words[row], words[at])), None) for row in range(len(words))]
    assert near_duplicates(texts, threshold) == [pair for pair in pairs if pair]


def test_near_duplicates_are_shown_with_their_splits():
    splits = _splits(train=["no", "yes"], test=["no", "yes"])
    splits.test.loc[1, "text"] = splits.train.loc[0, "text"].upper()
    table = near_duplicate_table(splits)
    assert table.to_numpy().tolist() == [["TRAIN0 TEXT0", "train0 text0", "test, train"]]
    assert table.attrs["rate"] == pytest.approx(1 / 6)


def test_the_rate_counts_more_pairs_than_are_shown():
    splits = _splits(train=["no", "yes"] * 10)
    splits.train["text"] = "always the same"
    table = near_duplicate_table(splits, rows=3)
    assert len(table) == 3
    assert table.attrs["rate"] == pytest.approx(19 / 24)


def test_data_without_near_duplicates_have_a_rate_of_zero():
    table = near_duplicate_table(_splits())
    assert table.empty
    assert table.attrs["rate"] == 0


def test_the_baseline_learns_words_and_pairs_of_words(tmp_path):
    splits = _learnable(tmp_path)
    model = fit_baseline(splits, seed=0)
    scores = baseline_scores(model, ["not good today", "good today", "bad today", "not bad today"])
    assert (scores > 0.5).tolist() == [True, False, True, False]


def test_baseline_scores_are_probabilities_of_the_positive_label(tiny_splits):
    model = fit_baseline(tiny_splits, seed=0)
    scores = baseline_scores(model, tiny_splits.train["text"].tolist())
    assert scores.shape == (len(tiny_splits.train),)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert np.mean((scores > 0.5) == np.array(tiny_splits.targets(tiny_splits.train))) > 0.9


def test_the_baseline_is_the_best_candidate_on_validation(tiny_splits):
    chosen = fit_baseline(tiny_splits, seed=0)
    truth = tiny_splits.targets(tiny_splits.validation)
    scores = []
    for c in (0.3, 1, 3, 10):
        model = clone(chosen).set_params(logisticregression__C=c)
        model.fit(tiny_splits.train["text"], tiny_splits.targets(tiny_splits.train))
        scores.append(model.score(tiny_splits.validation["text"], truth))
    assert min(scores) < max(scores)
    assert chosen.score(tiny_splits.validation["text"], truth) == max(scores)


def _splits(train=("no", "yes"), validation=("no", "yes"), test=("no", "yes"), findings=()):
    """Splits with these labels and texts that have no word in common."""
    frames = [
        pd.DataFrame({"text": [f"{name}{n} text{n * 10 or 0}" for n in range(len(labels))], "label": list(labels)})
        for name, labels in (("train", train), ("validation", validation), ("test", test))
    ]
    return Splits(*frames, ("no", "yes"), list(findings))


def _learnable(folder):
    """Complaints (`not good`, `bad`) and praise (`good`, `not bad`), each in many wordings."""
    sayings = {"not good": "yes", "bad": "yes", "good": "no", "not bad": "no"}
    rows = [{"text": f"{saying} item{n}", "label": sayings[saying]} for n in range(40) for saying in sayings]
    pd.DataFrame(rows).to_csv(folder / "a.csv", index=False)
    return load_splits(TrainingConfig(data=str(folder / "a.csv"), positive_label="yes"))
