"""Duplicates are found, exact and near ones, within a split and across splits."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.rows import join_splits
from bert_textclassification.training.data_quality.duplicates import (
    conflicts,
    leakage,
    near_duplicates,
    near_leakage,
    repeats,
)

CONFIG = TrainingConfig(data="a.csv")
TEN = "one two three four five six seven eight nine ten"


def test_leakage_names_the_row_that_is_evaluated_on_with_its_label():
    splits = {"train": _rows("a:yes", "B  b:no"), "test": _rows("b B:no", "c:yes", "b b:yes")}
    assert _suspects(leakage, **splits).to_numpy().tolist() == [
        ["train", "a.csv", 3, "no", "B  b", "also in test (a.csv line 2), labelled no"]
    ]


@pytest.mark.parametrize("split", ["validation", "held_back"])
def test_leakage_names_the_rows_to_choose_on_that_are_in_test(split):
    splits = {"train": _rows("a:yes"), split: _rows("b:no", "C:yes"), "test": _rows("c:no", "d:yes")}
    assert _suspects(leakage, **splits).to_numpy().tolist() == [
        [split, "a.csv", 3, "yes", "C", "also in test (a.csv line 2), labelled no"]
    ]


def test_leakage_lists_a_text_of_all_splits_for_train_and_for_validation():
    rows = _suspects(leakage, train=_rows("a:yes"), validation=_rows("a:yes"), test=_rows("a:yes"))
    assert rows["split"].tolist() == ["train", "validation"]


def test_rows_held_back_of_train_may_be_in_validation():
    assert _suspects(leakage, train=_rows("a:yes"), validation=_rows("b:yes"), held_back=_rows("b:yes")) is None


def test_conflicts_are_found_within_and_across_splits():
    splits = {"train": _rows("a:yes", "b:no", "b:yes", "c:no"), "test": _rows("A:no", "c:no")}
    rows = _suspects(conflicts, **splits)
    assert rows[["split", "line"]].to_numpy().tolist() == [["train", 2], ["test", 2], ["train", 3], ["train", 4]]
    assert rows["note"].tolist() == ["labelled 1 x no, 1 x yes"] * 4


def test_repeats_have_the_label_of_an_earlier_row_of_their_split():
    splits = {"train": _rows("a:yes", "b:no", "A:yes", "b:yes"), "test": _rows("a:yes", "c:no", "c:no")}
    rows = _suspects(repeats, **splits)
    assert rows[["split", "line", "note"]].to_numpy().tolist() == [
        ["train", 4, "as a.csv line 2"],
        ["test", 4, "as a.csv line 3"],
    ]


def test_near_leakage_is_of_train_rows_that_are_not_the_same():
    near = TEN.replace("ten", "")
    splits = {"train": _rows(f"{TEN}:yes", f"{near}:no", "else:no", "Else:no"), "test": _rows(f"{TEN.upper()}:yes")}
    rows = _suspects(near_leakage, **splits)
    assert rows[["split", "line"]].to_numpy().tolist() == [["train", 3]]
    assert rows["note"].tolist() == [f"like test (a.csv line 2), labelled yes: {TEN.upper()}"]


@pytest.mark.parametrize("check", [leakage, conflicts, repeats, near_leakage])
def test_clean_data_have_no_issue(check):
    assert _suspects(check, train=_rows("a b:yes", "c d:no"), test=_rows("e f:yes", "g h:no")) is None


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


def test_only_the_first_rows_are_compared_with_where_that_is_asked():
    assert near_duplicates(["a b", "c d", "c d", "a b"], among=1) == [(3, 0)]


def _rows(*rows):
    """Rows given as `text:label`, as if read from a.csv."""
    texts, labels = zip(*(row.rsplit(":", 1) for row in rows), strict=True)
    return pd.DataFrame({"text": texts, "label": labels, "source": "a.csv", "line": range(2, len(rows) + 2)})


def _suspects(check, **splits):
    """The rows that a check finds in these splits, None without any."""
    found = check(join_splits(splits), CONFIG)
    return None if found is None else found.rows
