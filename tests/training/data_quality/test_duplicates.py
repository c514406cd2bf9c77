"""Duplicates: what is there twice is found, exactly and nearly, within a split and across."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_textclassification.training.data_quality.duplicates import (
    conflicts,
    leakage,
    near_duplicates,
    near_leakage,
    repeats,
)

TEN = "one two three four five six seven eight nine ten"


def test_leakage_names_the_row_that_is_evaluated_on_with_its_label():
    tables = {"train": _table("a:yes", "B  b:no"), "test": _table("b B:no", "c:yes", "b b:yes")}
    assert leakage(tables).rows.to_numpy().tolist() == [
        ["train", "a.csv", 3, "no", "B  b", "also in test (a.csv line 2), labelled no"]
    ]


@pytest.mark.parametrize("split", ["validation", "held_back"])
def test_leakage_names_the_rows_to_choose_on_that_are_in_test(split):
    tables = {"train": _table("a:yes"), split: _table("b:no", "C:yes"), "test": _table("c:no", "d:yes")}
    assert leakage(tables).rows.to_numpy().tolist() == [
        [split, "a.csv", 3, "yes", "C", "also in test (a.csv line 2), labelled no"]
    ]


def test_leakage_lists_a_text_of_all_splits_for_train_and_for_validation():
    rows = leakage({"train": _table("a:yes"), "validation": _table("a:yes"), "test": _table("a:yes")}).rows
    assert rows["split"].tolist() == ["train", "validation"]


def test_rows_held_back_of_train_may_be_in_validation():
    assert leakage({"train": _table("a:yes"), "validation": _table("b:yes"), "held_back": _table("b:yes")}) is None


def test_conflicts_are_found_within_and_across_splits():
    tables = {"train": _table("a:yes", "b:no", "b:yes", "c:no"), "test": _table("A:no", "c:no")}
    rows = conflicts(tables).rows
    assert rows[["split", "line"]].to_numpy().tolist() == [["train", 2], ["test", 2], ["train", 3], ["train", 4]]
    assert rows["note"].tolist() == ["labelled 1 x no, 1 x yes"] * 4


def test_repeats_have_the_label_of_an_earlier_row_of_their_split():
    tables = {"train": _table("a:yes", "b:no", "A:yes", "b:yes"), "test": _table("a:yes", "c:no", "c:no")}
    rows = repeats(tables).rows
    assert rows[["split", "line", "note"]].to_numpy().tolist() == [
        ["train", 4, "as a.csv line 2"],
        ["test", 4, "as a.csv line 3"],
    ]


def test_near_leakage_is_of_train_rows_that_are_not_the_same():
    near = TEN.replace("ten", "")
    tables = {"train": _table(f"{TEN}:yes", f"{near}:no", "else:no", "Else:no"), "test": _table(f"{TEN.upper()}:yes")}
    rows = near_leakage(tables).rows
    assert rows[["split", "line"]].to_numpy().tolist() == [["train", 3]]
    assert rows["note"].tolist() == [f"like test (a.csv line 2), labelled yes: {TEN.upper()}"]


@pytest.mark.parametrize("find", [leakage, conflicts, repeats, near_leakage])
def test_clean_data_have_no_finding(find):
    assert find({"train": _table("a b:yes", "c d:no"), "test": _table("e f:yes", "g h:no")}) is None


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


def _table(*rows):
    """A table of `text:label` rows as if read from a.csv."""
    texts, labels = zip(*(row.rsplit(":", 1) for row in rows), strict=True)
    return pd.DataFrame({"text": texts, "label": labels, "source": "a.csv", "line": range(2, len(rows) + 2)})
