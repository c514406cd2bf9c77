"""Labels: the same in every format, and of two the positive one is the one that a person expects."""

import csv
import datetime
import decimal
import gzip
import json
import tempfile
from pathlib import Path

import datasets
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.rows import read_rows, rows_of_split
from bert_textclassification.training.labels import expected_positive, label_of, positive_label

FORMATS = ("csv", "tsv", "jsonl", "ndjson", "json", "csv.gz", "json.gz", "parquet")
EXPECTED = [
    *[("-1", "1"), ("0", "1"), ("0", "2"), ("1", "2"), ("0", "4"), ("9", "10"), ("-1", "+1"), ("0.5", "1.5")],
    *[("False", "True"), ("false", "true"), ("FALSE", "TRUE"), ("f", "t"), ("F", "T")],
    *[
        ("no", "yes"),
        ("No", "Yes"),
        ("n", "y"),
        ("N", "Y"),
        ("off", "on"),
        ("nein", "ja"),
        ("non", "oui"),
        ("não", "sim"),
    ],
    *[("negative", "positive"), ("NEGATIVE", "POSITIVE"), ("neg", "pos"), ("neutral", "positive"), ("bad", "good")],
    *[
        ("ham", "spam"),
        ("Ham", "Spam"),
        ("legit", "spam"),
        ("not_spam", "spam"),
        ("not spam", "spam"),
        ("NotSpam", "Spam"),
    ],
    *[("notspam", "spam"), ("not spam", "spam"), ("is_ham", "is_spam"), ("non-toxic", "toxic"), ("nontoxic", "toxic")],
    *[("normal", "hate"), ("no hate speech", "hate speech"), ("none", "sexist"), ("NOT", "HOF"), ("other", "invoice")],
    *[("safe", "unsafe"), ("safe", "not safe"), ("real", "fake"), ("benign", "malignant"), ("ok", "fail"), ("-", "+")],
    *[("LABEL_0", "LABEL_1"), ("class-0", "class-1"), ("label9", "label10"), ("v1", "v2"), ("zero", "one")],
    *[("irrelevant", "relevant"), ("uninformative", "informative"), ("not_entailment", "entailment")],
    *[("negativo", "positivo"), ("négatif", "positif"), ("negativ", "positiv"), ("negatief", "positief")],
    *[("bad review", "good review"), ("low-risk", "high-risk"), ("other", "positivo"), ("negatif", "autre")],
    *[("normal comment", "toxic comment"), ("healthy", "unhealthy"), ("dissatisfied", "satisfied")],
]
UNDECIDED = [
    *[("a", "b"), ("x", "y"), ("f", "m"), ("n", "p"), ("cat", "dog"), ("escalate", "routine"), ("fake", "true")],
    *[
        ("hate", "offensive"),
        ("negative", "neutral"),
        ("no", "none"),
        ("007", "7"),
        ("1", "one"),
        ("", "+"),
        ("👍", "👎"),
    ],
]


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        *[(1, "1"), (1.0, "1"), (0.0, "0"), (-0.0, "0"), (-1.0, "-1"), (0.5, "0.5"), (1e16, "1e+16"), (True, "True")],
        *[("1", "1"), ("1.0", "1"), ("0.0", "0"), ("-0.0", "0"), ("-1.00", "-1"), (" 1.0 ", "1"), ("10.0", "10")],
        *[("007", "007"), ("00.0", "00.0"), ("1.50", "1.50"), ("1e3", "1e3"), ("v1.0", "v1.0"), ("1.0.0", "1.0.0")],
        *[(".0", ".0"), ("1.", "1"), ("1,0", "1,0"), ("+1", "1"), ("true", "True"), ("nan", "nan"), ("None", "None")],
        *[("0.", "0"), ("+1.0", "1"), ("+07", "+07"), ("FALSE", "False"), ("True", "True"), ("truely", "truely")],
        *[("٣.0", "٣.0"), ("two words", "two words"), ("9" * 5000 + ".0", "9" * 5000 + ".0")],
        *[(b"spam", "spam"), (b"1.0", "1"), ("Grüße".encode(), "Grüße"), (decimal.Decimal("1.00"), "1")],
        *[
            (np.int64(1), "1"),
            (np.float32(1), "1"),
            (np.bool_(True), "True"),
            (np.str_("a"), "a"),
            (np.bytes_(b"a"), "a"),
        ],
        *[(datetime.date(2024, 1, 2), "2024-01-02"), (np.array(1.0), "1"), (np.bytes_(b"a"), "a")],
        *[(None, ""), (float("nan"), ""), (np.nan, ""), (decimal.Decimal("nan"), ""), ("", ""), (" \t", "")],
    ],
)
def test_a_cell_is_one_label(cell, label):
    assert label_of(cell) == label


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        *[([], "a list"), (["a"], "a list"), (("a",), "a list"), ({"a"}, "a list"), (np.array([1]), "a list")],
        *[({}, "an object"), ({"a": 1}, "an object"), (b"\xff", "bytes that are not UTF-8")],
    ],
)
def test_a_cell_with_more_than_one_value_is_no_label(cell, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        label_of(cell)


def _stands_in_a_cell(text):
    """Whether a text is no empty label and may stand in TSV, where a tab beside a line break is refused."""
    return text.strip() and "\0" not in text and not ("\t" in text and {*text} & {"\r", "\n"})


@hypothesis.given(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8"), min_size=1).filter(_stands_in_a_cell),
        st.from_regex(r"[-+]?[0-9]{1,3}\.?[0-9]{0,2}([eE][0-9])?", fullmatch=True),
    )
)
@hypothesis.settings(max_examples=100, deadline=None)
def test_a_label_is_the_same_through_every_format_and_read_again(value):
    expected = label_of(value)
    assert label_of(expected) == expected
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMATS:
            path = Path(folder) / f"a.{form}"
            _write(path, [value])
            assert _labels(path) == [expected], form


def _write(path, values):
    """Write a table with these labels, each as its format has values of their type."""
    rows = [{"text": "a", "label": value} for value in values]
    form = path.name.removesuffix(".gz").rpartition(".")[2]
    if form == "parquet":
        pd.DataFrame(rows).to_parquet(path)
        return
    if form in ("csv", "tsv"):
        content = pd.DataFrame(rows).to_csv(
            index=False, sep="\t" if form == "tsv" else ",", quoting=csv.QUOTE_ALL, lineterminator="\n"
        )
    else:
        content = json.dumps(rows) if form == "json" else "".join(f"{json.dumps(row)}\n" for row in rows)
    raw = content.encode()
    path.write_bytes(gzip.compress(raw) if path.name.endswith(".gz") else raw)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.0, 1.0, 1.0], ["0", "1", "1"]),
        (["0.0", "1.0", "1"], ["0", "1", "1"]),
        ([-1, 1, 1], ["-1", "1", "1"]),
        ([True, False, True], ["True", "False", "True"]),
        (["007", "1.50", "1e3"], ["007", "1.50", "1e3"]),
        ([0.5, 1.5, 1.5], ["0.5", "1.5", "1.5"]),
    ],
)
def test_labels_read_alike_in_every_format(tmp_path, form, values, labels):
    _write(tmp_path / f"a.{form}", values)
    assert _labels(tmp_path / f"a.{form}") == labels


def test_splits_of_different_formats_have_the_same_labels(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"text {n},{n % 2:.1f}\n" for n in range(40)))
    (tmp_path / "validation.jsonl").write_text('{"text":"a","label":0}\n{"text":"b","label":1}\n')
    pd.DataFrame({"text": ["c", "d"], "label": [0.0, 1.0]}).to_parquet(tmp_path / "test.parquet")
    rows = read_rows(TrainingConfig(data=str(tmp_path)))
    assert [set(rows_of_split(rows, name)["label"]) for name in ("train", "validation", "test")] == [{"0", "1"}] * 3


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([b"x", b"y"], pa.binary()),
        pa.array([b"x", b"y"], pa.large_binary()),
        pa.array([b"x", b"y"], pa.binary(1)),
        pa.array(["x", "y"], pa.large_string()),
        pa.array(["x", "y"]).dictionary_encode(),
        pa.array(["x", "y"], pa.string_view()),
    ],
    ids=str,
)
def test_parquet_texts_and_bytes_of_every_type_are_labels(tmp_path, labels):
    pq.write_table(pa.table({"text": pa.array([b"a", b"b"]), "label": labels}), tmp_path / "a.parquet")
    rows = read_rows(TrainingConfig(data=str(tmp_path)))
    assert rows[["text", "label"]].to_numpy().tolist() == [["a", "x"], ["b", "y"]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pa.array([[1], [0]]), "row 1: the label is a list; write one text, number or boolean for each row"),
        (pa.array([{"a": 1}, {"a": 0}]), "row 1: the label is an object; write one"),
        (pa.array([b"x", b"\xff"]), "row 2: the label is bytes that are not UTF-8; write one"),
        (pa.array([None, None]), "row 1: the label is empty; fill it in"),
        (pa.array([1.0, float("nan")]), "row 2: the label is empty; fill it in"),
        (pa.array(["x", None]).dictionary_encode(), "row 2: the label is empty; fill it in"),
    ],
)
def test_parquet_cells_that_are_no_label_are_refused(tmp_path, labels, message):
    pq.write_table(pa.table({"text": ["a", "b"], "label": labels}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=rf"a\.parquet {message}"):
        _labels(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (pa.array([7]), "row 1: the text is the number 7; write a text"),
        (pa.array([True]), "row 1: the text is the boolean True; write a text"),
        (pa.array([["a"]]), "row 1: the text is a list; write a text"),
        (pa.array([{"a": "b"}]), "row 1: the text is an object; write a text"),
        (pa.array([b"\xff"]), "row 1: the text is bytes that are not UTF-8; write a text"),
        (pa.array([datetime.date(2024, 1, 2)]), "row 1: the text is a date; write a text"),
        (pa.array([None], pa.float64()), "row 1: the text is empty; fill it in"),
    ],
)
def test_parquet_cells_that_are_no_text_are_refused_by_what_they_are(tmp_path, texts, message):
    pq.write_table(pa.table({"text": texts, "label": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=rf"a\.parquet {message}"):
        _labels(tmp_path / "a.parquet")


def test_parquet_with_a_column_twice_is_refused(tmp_path):
    table = pa.table([pa.array(["a"]), pa.array(["x"]), pa.array(["y"])], names=["text", "label", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match=r"a\.parquet has the column 'label' twice; give every column a name of its own"
    ):
        _labels(tmp_path / "a.parquet")


def test_parquet_of_the_library_datasets_has_the_names_of_its_classes(tmp_path):
    names = datasets.ClassLabel(names=["calm", "angry"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names, "tone": names})
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1], "tone": [0, None, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    read = read_rows(TrainingConfig(data=str(tmp_path / "a.parquet")))
    assert read["label"].tolist() == ["angry", "calm", "-1"]
    assert read["slice:tone"].tolist() == ["calm", "", "angry"]


def test_parquet_of_the_library_datasets_may_mix_numbers_and_texts(tmp_path):
    found = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, "spam"]}, on_mixed_types="use_json")
    found.to_parquet(tmp_path / "a.parquet")
    assert _labels(tmp_path / "a.parquet") == ["1", "spam"]


@pytest.mark.parametrize("metadata", [b"no JSON", b"{}", b'{"info": null}', b'{"info": {"features": {"label": 3}}}'])
def test_other_metadata_of_parquet_are_no_names_of_classes(tmp_path, metadata):
    table = pa.table({"text": ["a", "b"], "label": [0, 1]}).replace_schema_metadata({b"huggingface": metadata})
    pq.write_table(table, tmp_path / "a.parquet")
    assert _labels(tmp_path / "a.parquet") == ["0", "1"]


@pytest.mark.parametrize(("negative", "positive"), EXPECTED)
def test_the_positive_label_is_the_one_a_person_expects_however_frequent_it_is(negative, positive):
    assert expected_positive(negative, positive) == expected_positive(positive, negative) == positive
    for counts in ({negative: 1, positive: 9}, {negative: 9, positive: 1}):
        found, why = positive_label(counts, None)
        assert (found, why) == (positive, "by the meaning of the two names; positive_label can change it")


@pytest.mark.parametrize(("first", "second"), UNDECIDED)
def test_where_names_do_not_tell_the_rarer_label_is_positive_and_of_equals_the_last(first, second):
    assert expected_positive(first, second) is expected_positive(second, first) is None
    rarer, why = positive_label({first: 1, second: 2}, None)
    assert (rarer, why.partition(";")[0]) == (first, "the names do not tell: the rarer one in train")
    last, why = positive_label({first: 5, second: 5}, None)
    assert (last, why.partition(":")[0]) == (max(first, second), "the names do not tell and both are equally frequent")


@hypothesis.given(st.sets(st.text(max_size=8), min_size=2, max_size=2), st.integers(1, 3), st.integers(1, 3))
def test_one_of_any_two_labels_is_positive_in_either_order(labels, first_rows, second_rows):
    first, second = labels
    counts = {first: first_rows, second: second_rows}
    assert positive_label(counts, None) == positive_label(dict(reversed(counts.items())), None)
    assert positive_label(counts, None)[0] in labels


def test_the_given_label_comes_before_every_rule():
    assert positive_label({"ham": 9, "spam": 1}, "ham") == ("ham", "set by positive_label")


def _labels(path):
    return read_rows(TrainingConfig(data=str(path)))["label"].tolist()
