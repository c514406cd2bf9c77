"""Data: every format gives the same table, what cannot be used is refused with file, line and remedy."""

import gzip
from pathlib import Path

import datasets
import pandas as pd
import pytest

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data import splits as splitting
from bert_textclassification.training.data.rows import COLUMNS, join_splits, keep_slices, read_rows, rows_of_hub_dataset
from bert_textclassification.training.data.splits import fingerprint, hold_back
from bert_textclassification.training.data_quality.duplicates import normalise
from bert_textclassification.training.prepare import load_splits

AWKWARD = [
    "plain words",
    "a comma, and another",
    'she said "now" twice',
    "two\nlines",
    "carriage\r\nreturn",
    "a\ttab",
    "  spaces around  ",
    "Grüße 🚒 \u2028 日本",
    '"quoted from the start',
]
WRITERS = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True, force_ascii=False),
    "parquet": lambda frame, path: frame.to_parquet(path),
}
REFUSED = {
    "missing text column": (
        "a.csv",
        b"words,label\na,x\n",
        r"a\.csv has no column 'text', it has: words, label; .*set text_column",
    ),
    "missing label column": (
        "a.tsv",
        b"text\tkind\na\tx\n",
        r"a\.tsv has no column 'label', it has: text, kind; .*set label_column",
    ),
    "missing key": (
        "a.jsonl",
        b'{"text":"a","label":"x"}\n{"text":"b"}',
        r"a\.jsonl line 2 has no column 'label', it has: text; rename",
    ),
    "empty text": (
        "a.csv",
        b"text,label\na,x\n ,y\n",
        r"a\.csv line 3: the text is empty; fill it in or delete the row",
    ),
    "text that is a number": (
        "a.jsonl",
        b'{"text":7,"label":"x"}',
        r"a\.jsonl line 1: the text is the number 7; write a text, or delete the row",
    ),
    "text that is a boolean": ("a.jsonl", b'{"text":true,"label":"x"}', r"line 1: the text is the boolean True; write"),
    "text that is an object": ("a.jsonl", b'{"text":{"en":"a"},"label":"x"}', r"line 1: the text is an object; write"),
    "text that is a list": ("a.jsonl", b'{"text":["a"],"label":"x"}', r"line 1: the text is a list; write"),
    "text that is null": ("a.jsonl", b'{"text":null,"label":"x"}', r"line 1: the text is empty; fill it in"),
    "text that is not a number": ("a.jsonl", b'{"text":NaN,"label":"x"}', r"line 1: the text is empty; fill it in"),
    "label that is a list": (
        "a.jsonl",
        b'{"text":"a","label":["x"]}',
        r"a\.jsonl line 1: the label is a list; write one text, number or boolean for each row",
    ),
    "label that is an object": ("a.jsonl", b'{"text":"a","label":{"x":1}}', r"line 1: the label is an object; write"),
    "label that is not a number": ("a.jsonl", b'{"text":"a","label":NaN}', r"line 1: the label is empty; fill it in"),
    "column name twice": (
        "a.csv",
        b"text,label,label\na,x,y\n",
        r"a\.csv has the column 'label' twice; give every column a name of its own",
    ),
    "column names that differ in blanks": ("a.tsv", b"text\tlabel\t label \na\tx\ty\n", "has the column 'label' twice"),
    "column names that differ in a byte order mark": (
        "a.csv",
        b"text,\xef\xbb\xbftext,label\na,b,x\n",
        "has the column 'text' twice",
    ),
    "further column twice": ("a.csv", b"text,label,note,note\na,x,b,c\n", "has the column 'note' twice"),
    "key twice": (
        "a.jsonl",
        b'{"text":"a","label":"x"}\n{"text":"a","label":"x","label":"y"}\n',
        r"a\.jsonl line 2: not valid JSON \(the key 'label' is there twice\); mend or delete the line",
    ),
    "key twice in an array": (
        "a.json",
        b'[{"text":"a","text":"b","label":"x"}]',
        r"a\.json: not valid JSON \(the key 'text' is there twice\); mend it",
    ),
    "keys that differ in blanks": (
        "a.jsonl",
        b'{"text":"a","label":"x"," label":"y"}',
        "line 1 has the column 'label' twice",
    ),
    "semicolons": (
        "a.csv",
        b"text;label\na;x\n",
        r"a\.csv seems to separate its fields by semicolons, not by commas; save it with commas",
    ),
    "semicolons and quotes": (
        "a.csv",
        b'"text";"label"\n"a";"x"\n',
        "separate its fields by semicolons, not by commas",
    ),
    "semicolons behind a byte order mark": ("a.csv", b"\xef\xbb\xbftext;label\r\na;x\r\n", "its fields by semicolons"),
    "tabs in a CSV file": (
        "a.csv",
        b"text\tlabel\na\tx\n",
        "separate its fields by tabs, not by commas; name it .tsv or save it with commas",
    ),
    "commas in a TSV file": (
        "a.tsv",
        b"id,text,label\n1,a,x\n",
        "separate its fields by commas, not by tabs; name it .csv or save it with tabs",
    ),
    "bars": ("a.csv", b"label|text\nx|a\n", "separate its fields by vertical bars, not by commas; save it with commas"),
    "gzip under another name": (
        "a.csv",
        gzip.compress(b"text,label\na,x\n"),
        "is compressed by gzip; add .gz to its name",
    ),
    "gzip that is cut off": (
        "a.csv.gz",
        gzip.compress(b"text,label\na,x\n" * 50)[:-9],
        r"a\.csv\.gz is not a whole gzip file \(.*\); compress or copy it again",
    ),
    "no gzip": ("a.jsonl.gz", b'{"text":"a","label":"x"}', "is not a whole gzip file .*; compress or copy it again"),
    "a workbook called CSV": (
        "a.csv",
        b"PK\x03\x04\x14\x00",
        "is a zip archive or an Excel workbook; unpack it, or save",
    ),
    "Parquet called CSV": ("a.csv", b"PAR1\x15\x04", "is a Parquet file; name it .parquet"),
    "a pointer of Git LFS": (
        "a.csv",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        "is a pointer of Git LFS; fetch the file with `git lfs pull`",
    ),
    "bad UTF-8 in gzip": (
        "a.csv.gz",
        gzip.compress(b"text,label\ncaf\xe9,x\n"),
        r"line 2: byte 14 \(0xe9\) is not UTF-8",
    ),
    "an array that is cut off": (
        "a.json",
        b'[{"text":"a","label":"x"},',
        r"a\.json: not valid JSON \(.*line 1 column \d+.*\); mend it",
    ),
    "an array of texts": ("a.json", b'["a","b"]', r"a\.json row 1: must be an object such as"),
    "an object of columns": (
        "a.json",
        b'{"text":{"0":"a"},"label":{"0":"x"}}',
        r"a\.json row 1: the text is an object|a\.json row 1: the label is an object",
    ),
    "an object around the rows": (
        "a.json",
        b'{"data":[{"text":"a","label":"x"}]}',
        r"a\.json line 1 has no column 'text', it has: data; rename",
    ),
    "an object of several lines": (
        "a.json",
        b'{\n "data": [\n]}',
        r"a\.json line 1: not valid JSON \(.*\); write one object a line, or an array of objects",
    ),
    "lists within lists": ("a.jsonl", b"[" * 100_000, "are nested too deeply"),
    "empty label": (
        "a.csv",
        b"text,label\na,x\nb,y\nc, \n",
        r"a\.csv line 4: the label is empty; fill it in or delete the row",
    ),
    "null label": ("a.jsonl", b'{"text":"a","label":null}', r"a\.jsonl line 1: the label is empty; fill it in"),
    "not UTF-8": (
        "a.csv",
        b"text,label\na,x\ncaf\xe9,y\n",
        r"a\.csv line 3: byte 18 \(0xe9\) is not UTF-8; save the file as UTF-8",
    ),
    "not UTF-8 behind a BOM": (
        "a.csv",
        b"\xef\xbb\xbftext,label\ncaf\xe9,y\n",
        r"a\.csv line 2: byte 17 \(0xe9\) is not UTF-8; save",
    ),
    "UTF-16": ("a.csv", "text,label\n".encode("utf-16"), r"a\.csv line 1: byte 0 \(0xff\) is not UTF-8; save"),
    "too many fields": (
        "a.csv",
        b"text,label\na,x\nfirst, second,y\n",
        r"a\.csv line 3: 3 fields where the header has 2; quote texts that hold ','",
    ),
    "too few fields": (
        "a.tsv",
        b"text\tlabel\n\na\n",
        r"a\.tsv line 3: 1 fields where the header has 2; quote texts that hold '\\t'",
    ),
    "wrong field count behind a line break": (
        "a.csv",
        b'text,label\n"one\ntwo\nthree",x\nb,y,z\n',
        r"a\.csv line 5: 3 fields where the header has 2",
    ),
    "open quote": (
        "a.csv",
        b'text,label\na,x\n"b,y\nc,x\nd,y\n',
        r"a\.csv line 3: unexpected end of data; mend the quotes of the row",
    ),
    "rows run together by a quote in a TSV file without quoting": (
        "a.tsv",
        b'text\tlabel\nfine\t1\n"I never liked it.\t0\nBut he does."\t1\nwell\t0\n',
        r"a\.tsv line 3: a field in quotes holds a tab and a line break, .*double its quotes, or write a space",
    ),
    "rows run together in a TSV file of an old Macintosh": (
        "a.tsv",
        b'text\tlabel\r"I never liked it.\t0\rBut he does."\t1\r',
        r"a\.tsv line \d: a field in quotes holds a tab and a line break",
    ),
    "quote inside": ("a.csv", b'text,label\n"a"b,x\n', r"a\.csv line 2: ',' expected after '\"'; mend the quotes"),
    "open quote in the header": (
        "a.csv",
        b'"text,label\na,x\n',
        r"a\.csv line 1: unexpected end of data; mend the quotes",
    ),
    "bad JSON": (
        "a.jsonl",
        b'{"text":"a","label":"x"}\n\n{"text":\n',
        r"a\.jsonl line 3: not valid JSON .*mend or delete the line",
    ),
    "no JSON object": (
        "a.jsonl",
        b'["a","x"]\n',
        r'a\.jsonl row 1: must be an object such as {"text": "\.\.\.", "label"',
    ),
    "half an emoji in a text": (
        "a.jsonl",
        b'{"text":"a","label":"x"}\n{"text":"cut \\ud83d","label":"y"}',
        r"a\.jsonl line 2: 'text' holds half of a surrogate pair; write valid Unicode",
    ),
    "half an emoji in a label": (
        "a.jsonl",
        b'{"text":"a","label":"\\ude92"}',
        r"a\.jsonl line 1: 'label' holds half of a surrogate pair",
    ),
    "half an emoji in another cell": (
        "a.jsonl",
        b'{"text":"a","label":"x","from":"\\ud83d"}',
        r"a\.jsonl line 1: 'from' holds half of a surrogate pair",
    ),
    "half an emoji in a name": (
        "a.jsonl",
        b'{"\\ud83d":"a","label":"x"}',
        r"a\.jsonl line 1: '\\ud83d' holds half of a surrogate pair",
    ),
    "no Parquet": ("a.parquet", b"text,label\na,x\n", r"a\.parquet is not a readable Parquet file: .*; write it again"),
    "unknown suffix": (
        "a.xlsx",
        b"PK",
        r"a\.xlsx is not a \.csv, \.tsv, .* or \.parquet file; save it as CSV UTF-8 in the spreadsheet program",
    ),
    "empty CSV": ("a.csv", b"", r"a\.csv has no column 'text', it has: nothing; rename it"),
    "empty JSON Lines": ("a.jsonl", b"\n\n", "The split train has no rows; add labelled texts or remove its file"),
    "header only": ("a.csv", b"text,label\n", "The split train has no rows; add labelled texts"),
    "one class": (
        "a.csv",
        b"text,label\na,x\nb,x\n",
        "train has the one label 'x'; a classifier needs examples of two",
    ),
    "third label in train": (
        "a.csv",
        b"text,label\na,x\nb,y\nc,Y\nd,x\ne,y\n",
        r"a\.csv line 4: train has 3 labels .*'Y' is the rarest: correct or merge",
    ),
    "too few rows": (
        "a.csv",
        b"text,label\na,x\nb,y\nc,x\nd,y\n",
        "4 rows are too few to hold out 1 of both labels for test; add rows or give",
    ),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_table(tmp_path, suffix):
    labels = ["x", "y", "x"] * 3
    WRITERS[suffix](pd.DataFrame({"text": AWKWARD, "label": labels}), tmp_path / f"a.{suffix}")
    table = _table(tmp_path / f"a.{suffix}")
    assert table["text"].tolist() == AWKWARD
    assert table["label"].tolist() == labels
    assert set(table["source"]) == {str(tmp_path / f"a.{suffix}")}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    ("values", "labels"), [([1, 0, 1], ["1", "0", "1"]), ([True, False, True], ["True", "False", "True"])]
)
def test_integer_and_boolean_labels_read_alike_in_every_format(tmp_path, suffix, values, labels):
    WRITERS[suffix](pd.DataFrame({"text": ["a", "b", "c"], "label": values}), tmp_path / f"a.{suffix}")
    assert _table(tmp_path / f"a.{suffix}")["label"].tolist() == labels


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "Int64", "category"])
def test_whole_numbers_of_every_parquet_type_are_the_labels_0_and_1(tmp_path, dtype):
    labels = pd.Series([1, 0, 1]).astype(dtype)
    pd.DataFrame({"text": ["a", "b", "c"], "label": labels}).to_parquet(tmp_path / "a.parquet")
    assert _table(tmp_path / "a.parquet")["label"].tolist() == ["1", "0", "1"]


def test_a_fractional_label_is_kept_as_it_is(tmp_path):
    path = _written(tmp_path / "a.jsonl", '{"text":"a","label":0.5}\n{"text":"b","label":1.0}\n')
    assert _table(path)["label"].tolist() == ["0.5", "1"]


@pytest.mark.parametrize("dtype", ["float64", "Int64", "boolean", "str"])
def test_a_missing_label_in_parquet_is_refused_with_its_row(tmp_path, dtype):
    values = ["a", None] if dtype == "str" else [1, None]
    labels = pd.array(values, dtype=dtype)
    pd.DataFrame({"text": ["a", "b"], "label": labels}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet row 2: the label is empty; fill it in"):
        _table(tmp_path / "a.parquet")


@pytest.mark.parametrize(("name", "content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_refused_with_place_and_remedy(tmp_path, name, content, message):
    path = _written(tmp_path / name, content)
    with pytest.raises(DataError, match=message):
        _splits(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"words": ["a"], "label": ["x"]}, r"a\.parquet has no column 'text', it has: words, label; rename it or set"),
        ({"text": ["a", None], "label": ["x", "y"]}, r"a\.parquet row 2: the text is empty; fill it in or delete"),
    ],
)
def test_parquet_that_cannot_be_used_is_refused_with_its_row(tmp_path, columns, message):
    pd.DataFrame(columns).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=message):
        _table(tmp_path / "a.parquet")


def test_lines_are_those_an_editor_shows(tmp_path):
    path = _written(tmp_path / "a.csv", 'text,label\r\n"one\r\ntwo",x\r\n\r\nb,y\r\n"c\n\n\nd",x\r\ne,y')
    table = _table(path)
    assert table["line"].tolist() == [2, 5, 6, 10]
    assert table["text"].tolist() == ["one\r\ntwo", "b", "c\n\n\nd", "e"]


@pytest.mark.parametrize(("name", "content"), [("a.csv", "text,label\na,x\n"), ("a.jsonl", '{"text":"a","label":"x"}')])
def test_a_byte_order_mark_is_no_part_of_the_table(tmp_path, name, content):
    table = _table(_written(tmp_path / name, b"\xef\xbb\xbf" + content.encode()))
    assert table[["text", "label"]].to_numpy().tolist() == [["a", "x"]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", " text , label\na,x\n"),
        ("a.csv", "\ufeff\ufefftext,label\na,x\n"),
        ("a.tsv", "text\t\u00a0label \na\tx\n"),
        ("a.jsonl", '{" text":"a","label ":"x"}'),
        ("a.json", '[{"\ufefftext":"a","label":"x"}]'),
    ],
)
def test_blanks_and_byte_order_marks_around_the_names_of_columns_are_no_part_of_them(tmp_path, name, content):
    assert _table(_written(tmp_path / name, content))[["text", "label"]].to_numpy().tolist() == [["a", "x"]]


def test_columns_without_a_name_as_pandas_and_spreadsheets_leave_them_are_ignored(tmp_path):
    path = _written(tmp_path / "a.csv", ",text,label,,\n0,a,x,,\n1,b,y,,\n")
    assert _table(path).columns.tolist() == COLUMNS


def test_the_row_names_that_pandas_writes_into_parquet_are_no_slice(tmp_path):
    frame = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]}, index=["first", "second"])
    frame.to_parquet(tmp_path / "a.parquet")
    assert _table(tmp_path / "a.parquet").columns.tolist() == COLUMNS


def test_quoted_fields_of_a_tsv_file_may_hold_a_tab_or_a_line_break(tmp_path):
    path = _written(tmp_path / "a.tsv", 'text\tlabel\n"a\ttab"\tx\n"two\nlines"\ty\n')
    assert _table(path)["text"].tolist() == ["a\ttab", "two\nlines"]


def test_a_comma_file_may_hold_tabs_and_line_breaks_in_one_text(tmp_path):
    path = _written(tmp_path / "a.csv", 'text,label\n"a\ttab\nand a line",x\n')
    assert _table(path)["text"].tolist() == ["a\ttab\nand a line"]


def test_a_whole_emoji_that_is_escaped_is_read(tmp_path):
    path = _written(tmp_path / "a.jsonl", '{"text":"\\ud83d\\ude92","label":"x"}')
    assert _table(path)["text"].tolist() == ["🚒"]


def test_other_column_names_can_be_set(tmp_path):
    path = _written(tmp_path / "a.csv", "id,sentence,target,text\n1,a,x,no\n2,b,y,no\n")
    table = _table(path, text_column="sentence", label_column="target")
    assert table[["text", "label"]].to_numpy().tolist() == [["a", "x"], ["b", "y"]]


def test_spaces_around_labels_are_no_part_of_them(tmp_path):
    path = _written(tmp_path / "a.csv", "text,label\na, x\nb,x \n")
    assert set(_table(path)["label"]) == {"x"}


def test_a_channel_may_have_several_files_of_several_formats(tmp_path):
    _written(tmp_path / "train/b.jsonl", '{"text":"c","label":"x"}')
    _written(tmp_path / "train/a.csv", "text,label\na,x\nb,y\n")
    _written(tmp_path / "train/notes.txt", "no data")
    _written(tmp_path / "test/z.tsv", "text\tlabel\nd\ty\n")
    rows = read_rows(TrainingConfig(data=str(tmp_path)))
    assert rows.groupby("split")["text"].agg(list).to_dict() == {"train": ["a", "b", "c"], "test": ["d"]}
    assert rows["line"].tolist() == [2, 3, 1, 2]
    assert rows["source"].iloc[2] == str(tmp_path / "train/b.jsonl")


@pytest.mark.parametrize(
    "name", ["val.csv", "valid.csv", "dev.csv", "Dev.csv", "val/a.csv", "valid/a.csv", "dev/a.csv", "Val.CSV"]
)
def test_validation_has_other_names_too(tmp_path, name):
    _written(tmp_path / "train.csv", _csv(60))
    _written(tmp_path / name, _csv(20, 60))
    _written(tmp_path / "test.csv", _csv(10, 80))
    assert _sizes(_splits(tmp_path)) == {"train": 60, "validation": 20, "test": 10}


@pytest.mark.parametrize(
    ("first", "second", "split"),
    [
        ("dev.csv", "validation.csv", "validation"),
        ("val/a.csv", "validation.csv", "validation"),
        ("train/a.csv", "train.csv", "train"),
        ("test.csv", "test.jsonl", "test"),
        ("test.csv", "test.json.gz", "test"),
        ("test.csv", "test.csv.gz", "test"),
        ("test/a.csv", "testing.csv", "test"),
        ("train.csv", "training/a.csv", "train"),
    ],
)
def test_a_split_that_is_there_twice_is_refused(tmp_path, first, second, split):
    for name in {"train.csv", first, second}:
        _written(tmp_path / name, _csv(40))
    first, second = (name.partition("/")[0] for name in (first, second))
    with pytest.raises(DataError, match=f"{first} and .*{second} are both the split {split}; keep one"):
        _splits(tmp_path)


@pytest.mark.parametrize("name", ["eval.csv", "test2.jsonl", "holdout/a.parquet", "data/a.csv", "test_data.csv"])
def test_data_beside_the_splits_are_refused_rather_than_left_out(tmp_path, name):
    _written(tmp_path / "train.csv", _csv(40))
    _written(tmp_path / name, _csv(40))
    message = rf"{name.partition('/')[0]} holds data beside the splits but is none of them; rename it to one of train, "
    with pytest.raises(DataError, match=message):
        _splits(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["behavioral_tests.yaml", "behaviours/a.yaml", "model/config.json", "._train.csv", ".ipynb_checkpoints/train.csv"],
)
def test_what_is_no_data_may_lie_beside_the_splits(tmp_path, name):
    _written(tmp_path / "train/a.csv", _csv(40))
    _written(tmp_path / "train/._a.csv", b"\x00\x05\x16\x07")
    _written(tmp_path / "validation.csv/notes.txt", "no data")
    _written(tmp_path / name, "other: things")
    assert set(read_rows(TrainingConfig(data=str(tmp_path)))["split"]) == {"train"}


def test_a_folder_of_other_files_is_one_unsplit_table(tmp_path):
    _written(tmp_path / "monday.csv", _csv(40))
    _written(tmp_path / "tuesday.csv", _csv(40, start=40))
    assert _sizes(_splits(tmp_path)) == {"train": 56, "validation": 12, "test": 12}


def test_given_splits_are_taken_as_they_are(tmp_path):
    for name, rows, start in (("train", 60, 0), ("validation", 20, 60), ("test", 10, 80)):
        _written(tmp_path / f"{name}.csv", _csv(rows, start))
    splits = _splits(tmp_path)
    assert _sizes(splits) == {"train": 60, "validation": 20, "test": 10}
    assert splits.test["text"].tolist() == [f"message {n}" for n in range(80, 90)]


@pytest.mark.parametrize(("given", "missing"), [("test", "validation"), ("validation", "test")])
def test_only_the_missing_split_is_held_out(tmp_path, given, missing):
    _written(tmp_path / "train.csv", _csv(100))
    _written(tmp_path / f"{given}.csv", _csv(30, 100))
    assert _sizes(_splits(tmp_path)) == {"train": 85, missing: 15, given: 30}


def test_an_unsplit_file_loses_no_row(tmp_path):
    splits = _splits(_written(tmp_path / "a.csv", _csv(100)))
    texts = [text for _, frame in splits.items() for text in frame["text"]]
    assert sorted(texts) == sorted(f"message {n}" for n in range(100))
    assert _sizes(splits) == {"train": 70, "validation": 15, "test": 15}


def test_fractions_are_shares_of_all_rows(tmp_path):
    path = _written(tmp_path / "a.csv", _csv(100))
    splits = _splits(path, validation_fraction=0.1, test_fraction=0.4)
    assert _sizes(splits) == {"train": 50, "validation": 10, "test": 40}


def test_held_out_splits_are_stratified(tmp_path):
    splits = _splits(_written(tmp_path / "a.csv", _csv(400)))
    shares = {name: sum(splits.targets(frame)) / len(frame) for name, frame in splits.items()}
    assert shares == {"train": 0.25, "validation": 0.25, "test": 0.25}


def test_a_large_train_gives_rows_to_judge_on_where_validation_is_small():
    train = _frame([(f"message {n}", "yes" if n % 4 == 0 else "no") for n in range(4000)])
    rest, held_back = hold_back(train, count=200, seed=7)
    assert (len(rest), len(held_back)) == (3800, 200)
    assert not set(rest["text"]) & set(held_back["text"])
    assert (held_back["label"] == "yes").sum() == 50


@pytest.mark.parametrize("count", [0, -5, 201])
def test_nothing_is_held_back_that_is_not_needed_or_that_train_would_miss(count):
    train = _frame([(f"message {n}", "yes" if n % 4 == 0 else "no") for n in range(4000)])
    rest, held_back = hold_back(train, count, seed=7)
    assert held_back is None
    assert rest is train


def test_a_data_set_with_few_rows_to_validate_on_is_filled_up_to_the_rows_that_judge(tmp_path, monkeypatch):
    monkeypatch.setattr(splitting, "JUDGING_ROWS", 30)
    splits = _splits(_written(tmp_path / "a.csv", _csv(1000)), validation_fraction=0.01)
    assert _sizes(splits) == {"train": 820, "validation": 10, "test": 150, "held_back": 20}


def test_a_sorted_file_comes_shuffled(tmp_path):
    _written(tmp_path / "train.csv", _sorted_csv(50))
    _written(tmp_path / "validation.csv", _csv(20, 200))
    _written(tmp_path / "test.csv", _csv(20, 300))
    train = _splits(tmp_path).train
    assert 15 < (train["label"].head(50) == "no").sum() < 35
    assert train.index.tolist() == list(range(100))
    assert sorted(train["line"]) == list(range(2, 102))


def test_the_same_seed_gives_the_same_splits(tmp_path):
    path = _written(tmp_path / "a.csv", _csv(100))
    first, second = (_splits(path, seed=7) for _ in range(2))
    assert [fingerprint(f) for _, f in first.items()] == [fingerprint(f) for _, f in second.items()]


def test_another_seed_gives_other_splits(tmp_path):
    path = _written(tmp_path / "a.csv", _csv(100))
    first, second = _splits(path, seed=7), _splits(path, seed=8)
    assert set(first.test["text"]) != set(second.test["text"])
    assert set(first.validation["text"]) != set(second.validation["text"])


def test_another_seed_gives_given_rows_in_another_order(tmp_path):
    for name, start in (("train", 0), ("validation", 50), ("test", 100)):
        _written(tmp_path / f"{name}.csv", _csv(50, start))
    first, second = _splits(tmp_path, seed=7), _splits(tmp_path, seed=8)
    assert fingerprint(first.train) != fingerprint(second.train)
    assert fingerprint(first.test) == fingerprint(second.test)


@pytest.mark.parametrize(
    "other", [[("a", "x")], [("b", "y"), ("a", "x")], [("a", "y"), ("b", "y")], [("ax", ""), ("b", "y")]]
)
def test_the_fingerprint_depends_on_texts_labels_and_order(other):
    same = [fingerprint(_frame([("a", "x"), ("b", "y")])) for _ in range(2)]
    assert same[0] == same[1] != fingerprint(_frame(other))


@pytest.mark.parametrize(
    ("labels", "given", "expected"),
    [
        ("0001", None, ("0", "1")),
        ("1110", None, ("0", "1")),
        ("aaab", None, ("a", "b")),
        ("abbb", None, ("b", "a")),
        ("aabb", None, ("a", "b")),
        ("bbaa", None, ("a", "b")),
        ("aaab", "a", ("b", "a")),
        ("1110", "0", ("1", "0")),
    ],
)
def test_the_positive_label_is_the_given_else_the_expected_else_the_rarer_else_the_last(
    tmp_path, labels, given, expected
):
    rows = [f"text {n},{label}\n" for n, label in enumerate(labels * 10)]
    splits = _splits(_written(tmp_path / "a.csv", "text,label\n" + "".join(rows)), positive_label=given)
    assert splits.labels == expected
    assert splits.targets(splits.test) == [int(label == expected[1]) for label in splits.test["label"]]


@pytest.mark.parametrize(("negative", "positive"), [("-1", "1"), ("negative", "positive"), ("ham", "spam")])
def test_the_expected_label_is_positive_although_it_is_more_frequent(tmp_path, negative, positive):
    rows = [f"text {n},{negative if n % 4 == 0 else positive}\n" for n in range(40)]
    splits = _splits(_written(tmp_path / "a.csv", "text,label\n" + "".join(rows)))
    assert splits.labels == (negative, positive)
    assert sum(splits.targets(splits.train)) > len(splits.train) / 2


def test_a_run_begins_with_its_positive_label_and_the_files_it_has_not_read(tmp_path):
    for name in ("train.csv", "test.csv"):
        _written(tmp_path / name, _csv(40, start=100 * (name == "test.csv")))
    _written(tmp_path / "README.md", "about")
    _written(tmp_path / "docs/LICENSE", "free")
    assert _splits(tmp_path).notes == (
        "Positive label: 'yes', negative: 'no' (by the meaning of the two names; positive_label can change it).",
        "Not read as labelled texts: README.md, docs/LICENSE.",
    )


def test_many_files_that_are_not_read_are_counted(tmp_path):
    _written(tmp_path / "train.csv", _csv(40))
    for number in range(8):
        _written(tmp_path / f"{number}.md", "about")
    assert _splits(tmp_path).notes[1] == "Not read as labelled texts: 0.md, 1.md, 2.md, 3.md, 4.md and 3 more."


def test_the_files_of_one_table_and_the_columns_that_are_not_used_are_told(tmp_path):
    for name, start in (("monday", 0), ("tuesday", 100)):
        rows = "".join(f"message {n},{'yes' if n % 4 == 0 else 'no'},{n}\n" for n in range(start, start + 40))
        _written(tmp_path / f"{name}.csv", "text,label,id\n" + rows)
    notes = _splits(tmp_path).notes
    assert "Read as one table, train: monday.csv, tuesday.csv." in notes
    assert any(note.startswith("Columns that are not used: id;") for note in notes)


def test_a_second_text_in_a_row_is_refused(tmp_path):
    path = _written(tmp_path / "a.csv", "text,text_pair,label\na,b,x\nc,d,y\n")
    with pytest.raises(DataError, match=r"has a column 'text_pair', but a row is one text, .* or remove"):
        _splits(path)


def test_a_share_of_rows_for_a_split_that_is_given_is_told(tmp_path):
    for name in ("train.csv", "test.csv"):
        _written(tmp_path / name, _csv(40, start=100 * (name == "test.csv")))
    notes = _splits(tmp_path, test_fraction=0.3, validation_fraction=0.2).notes
    assert "test_fraction changes nothing: the data have a test split." in notes
    assert not any("validation_fraction" in note for note in notes)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "parquet"])
def test_a_file_that_may_not_be_read_is_one_sentence(tmp_path, suffix, monkeypatch):
    def forbidden(*arguments, **named):
        raise PermissionError(13, "Permission denied")

    path = _written(tmp_path / f"a.{suffix}", _csv(40))
    monkeypatch.setattr(Path, "read_bytes", forbidden)
    monkeypatch.setattr("pyarrow.parquet.ParquetFile", forbidden)
    with pytest.raises(DataError, match=rf"a\.{suffix} cannot be read \(Permission denied\); make it readable"):
        _splits(path)


@pytest.mark.parametrize("empty", [None, ""])
def test_a_hub_split_without_any_label_is_left_out(empty):
    train = datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
    bare = datasets.Dataset.from_dict({"text": ["c"]})
    unlabelled = datasets.Dataset.from_dict({"text": ["d"], "label": [empty]}, features=train.features)
    found = datasets.DatasetDict(train=train, validation=bare, test=unlabelled)
    assert set(rows_of_hub_dataset(found, TrainingConfig(data="some/name"))["split"]) == {"train"}


def test_minus_one_is_a_label_where_train_has_it():
    splits = _hub_splits({"train": [-1, 1], "test": [-1, -1]})
    assert splits["test"]["label"].tolist() == ["-1", "-1"]


def test_labels_of_csv_and_json_are_the_same(tmp_path):
    _written(tmp_path / "train.csv", "text,label\n" + "".join(f"a {n},{str(n % 2 == 0).lower()}\n" for n in range(40)))
    _written(tmp_path / "test.jsonl", '{"text": "b", "label": true}\n{"text": "c", "label": false}\n')
    assert _splits(tmp_path).labels == ("False", "True")


def test_a_single_file_has_one_note(tmp_path):
    (note,) = _splits(_written(tmp_path / "a.csv", _csv(40)), positive_label="no").notes
    assert note == "Positive label: 'no', negative: 'yes' (set by positive_label)."


@pytest.mark.parametrize("given", [1, 1.0, "1", "1.0", " 1 "])
def test_the_given_positive_label_is_read_as_the_labels_are(tmp_path, given):
    rows = [f"text {n},{(n % 2) + 0.0}\n" for n in range(40)]
    assert _splits(_written(tmp_path / "a.csv", "text,label\n" + "".join(rows)), positive_label=given).labels == (
        "0",
        "1",
    )


@pytest.mark.parametrize("given", [False, "False", "false", "FALSE"])
def test_the_given_positive_label_may_differ_in_case(tmp_path, given):
    rows = [f'{{"text":"text {n}","label":{"true" if n % 2 else "false"}}}\n' for n in range(40)]
    assert _splits(_written(tmp_path / "a.jsonl", "".join(rows)), positive_label=given).labels == ("True", "False")


def test_labels_that_differ_in_case_alone_need_the_exact_one(tmp_path):
    path = _written(tmp_path / "a.csv", "text,label\n" + "".join(f"text {n},{'Aa'[n % 2]}\n" for n in range(40)))
    assert _splits(path, positive_label="A").labels == ("a", "A")
    path = _written(
        tmp_path / "b.csv", "text,label\n" + "".join(f"text {n},{['AB', 'ab'][n % 2]}\n" for n in range(40))
    )
    with pytest.raises(DataError, match="positive_label is 'aB' but the labels are 'AB' and 'ab'; choose one"):
        _splits(path, positive_label="aB")


def test_a_positive_label_that_is_not_in_the_data_is_refused(tmp_path):
    path = _written(tmp_path / "a.csv", _csv(40))
    with pytest.raises(DataError, match="positive_label is 'maybe' but the labels are 'no' and 'yes'; choose one"):
        _splits(path, positive_label="maybe")


def test_a_third_label_in_test_is_refused_with_its_line(tmp_path):
    _written(tmp_path / "train.csv", _csv(40))
    _written(tmp_path / "test.csv", "text,label\na,yes\nb,no\nc,perhaps\n")
    with pytest.raises(
        DataError, match=r"test\.csv line 4: the label 'perhaps' is not in train, .*correct it or delete"
    ):
        _splits(tmp_path)


def test_a_given_split_of_one_class_is_refused(tmp_path):
    _written(tmp_path / "train.csv", _csv(40))
    _written(tmp_path / "validation.csv", "text,label\na,no\nb,no\n")
    with pytest.raises(DataError, match=r"validation \(.*validation\.csv\) has no row labelled 'yes'; add some"):
        _splits(tmp_path)


def test_an_empty_given_split_is_refused(tmp_path):
    _written(tmp_path / "train.csv", _csv(40))
    _written(tmp_path / "test.csv", "text,label\n")
    with pytest.raises(DataError, match="The split test has no rows; add labelled texts or remove its file"):
        _splits(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", "test.csv", "validation/a.csv"])
def test_a_folder_without_training_data_is_refused(tmp_path, name):
    _written(tmp_path / name, _csv(4))
    with pytest.raises(DataError, match=r"holds no training data; put a \.csv, .* file there, or in a folder train/"):
        _splits(tmp_path)


@pytest.mark.parametrize("path", ["missing.csv", "/there/is/nothing", "../nothing here"])
def test_a_missing_path_is_refused(path):
    with pytest.raises(DataError, match=f"There is no file or folder {path}; give the path of your labelled texts"):
        _splits(path)


def test_repeats_are_dropped_from_train_and_shown(tmp_path):
    path = _written(tmp_path / "a.csv", _csv(40) + "MESSAGE  0,yes\n message 4,yes\nmessage 1,no\n")
    splits = _splits(path)
    assert sum(_sizes(splits).values()) == 40
    assert _counts(splits) == [("repeat", 3, 3)]
    assert splits.issues[0].message == "Texts repeat an earlier row and count twice: keep one of each."
    assert splits.issues[0].rows.iloc[0].tolist() == ["train", str(path), 42, "yes", "MESSAGE  0", "as a.csv line 2"]


def test_texts_of_both_labels_are_all_dropped(tmp_path):
    splits = _splits(_written(tmp_path / "a.csv", _csv(40) + "Message 0,no\nmessage 1,yes\n"))
    texts = {normalise(text) for _, frame in splits.items() for text in frame["text"]}
    assert texts == {f"message {n}" for n in range(2, 40)}
    assert _counts(splits) == [("conflict", 4, 4)]
    assert "decide on one" in splits.issues[0].message


def test_texts_that_are_evaluated_on_are_dropped_from_train_only(tmp_path):
    _written(tmp_path / "train.csv", _csv(60))
    _written(tmp_path / "validation.csv", _csv(8) + "message 100,no\nmessage 100,yes\n")
    _written(tmp_path / "test.csv", "text,label\nMESSAGE 8,yes\nmessage 9,no\nmessage 9,no\n")
    splits = _splits(tmp_path)
    assert set(splits.train["text"]) == {f"message {n}" for n in range(10, 60)}
    assert _counts(splits) == [("leakage", 10, 10), ("conflict", 2, 0), ("repeat", 1, 0)]
    assert splits.test["text"].tolist() == ["MESSAGE 8", "message 9", "message 9"]
    assert splits.validation["line"].tolist() == list(range(2, 12))


def test_texts_of_validation_that_are_in_test_are_found_and_stay(tmp_path):
    for name, start in (("train", 0), ("validation", 60), ("test", 60)):
        _written(tmp_path / f"{name}.csv", _csv(20, start))
    splits = _splits(tmp_path)
    assert _sizes(splits) == {"train": 20, "validation": 20, "test": 20}
    assert _counts(splits) == [("leakage", 20, 0)]
    assert splits.issues[0].message.endswith("take what is in test out of validation.")


def test_what_is_kept_is_found_all_the_same(tmp_path):
    _written(tmp_path / "train.csv", _csv(40) + "message 0,yes\nmessage 1,yes\n")
    _written(tmp_path / "validation.csv", _csv(8))
    _written(tmp_path / "test.csv", _csv(8))
    splits = _splits(tmp_path, drop_issues=())
    assert _sizes(splits) == {"train": 42, "validation": 8, "test": 8}
    assert _counts(splits) == [("leakage", 18, 0), ("conflict", 4, 0), ("repeat", 1, 0)]  # 10 of train, 8 of validation


def test_repeats_that_are_kept_do_not_leak_over_a_split_made_here(tmp_path):
    splits = _splits(_written(tmp_path / "a.csv", _csv(100) + _csv(100).partition("\n")[2]), drop_issues=("leakage",))
    held_out = {*splits.validation["text"], *splits.test["text"]}
    assert not held_out & set(splits.train["text"])
    assert splits.train["text"].duplicated().any()


def test_rows_of_other_issues_are_dropped_from_train_where_that_is_set(tmp_path):
    damaged = "text,label\n" + "".join(f"n{n} &amp;,{label}\n" for n in range(3) for label in ("yes",))
    _written(tmp_path / "train.csv", _csv(40) + damaged.partition("\n")[2])
    _written(tmp_path / "test.csv", _csv(8, start=50) + "m &lt;3,no\n")
    splits = _splits(tmp_path, drop_issues=("html",), validation_fraction=0.1)
    assert not splits.train["text"].str.contains("&").any()
    assert splits.test["text"].str.contains("&").sum() == 1
    assert splits.issues[0].dropped == splits.issues[0].rows["split"].eq("train").sum() > 0


def test_train_that_is_all_duplicates_is_refused(tmp_path):
    _written(tmp_path / "train.csv", _csv(8))
    _written(tmp_path / "test.csv", _csv(8))
    message = "No row of train labelled 'no' is left without leakage; .*take 'leakage' out of drop"
    with pytest.raises(DataError, match=message):
        _splits(tmp_path)


SLICED = [("a", "x", "web", 1), ("b", "y", "", 2), ("c", "x", "mail", 3)]


@pytest.mark.parametrize("suffix", WRITERS)
def test_further_columns_are_kept_whatever_they_are_called(suffix, tmp_path):
    WRITERS[suffix](pd.DataFrame(SLICED, columns=["text", "label", "source", "line"]), tmp_path / f"a.{suffix}")
    table = _table(tmp_path / f"a.{suffix}")
    assert table["slice:source"].tolist() == ["web", "", "mail"]
    assert table["slice:line"].tolist() == ["1", "2", "3"]
    assert table["source"].tolist() == [str(tmp_path / f"a.{suffix}")] * 3


def test_columns_with_few_short_values_become_slices():
    values = {
        "few": ["a", "b"] * 20,
        "one": ["a"] * 40,
        "many": list(map(str, range(40))),
        "long": ["a", "b" * 61] * 20,
    }
    train = pd.DataFrame({f"slice:{name}": column for name, column in values.items()}).assign(text="t", label="x")
    train = train.assign(source="a.csv", line=range(40))
    kept = keep_slices(join_splits({"train": train, "test": train[["text", "label", "source", "line"]]}))
    assert [name for name in kept if name.startswith("slice:")] == ["slice:few"]
    assert kept["slice:few"].tolist() == values["few"] + [""] * 40


def test_slices_follow_their_texts_through_cleaning_and_splitting(tmp_path):
    rows = "".join(
        f"message {n},{'yes' if n % 4 == 0 else 'no'},{'even' if n % 2 == 0 else 'odd'}\n" for n in range(200)
    )
    _written(tmp_path / "a.csv", "text,label,parity\n" + rows + "message 1,no,even\n")
    for _, frame in _splits(tmp_path / "a.csv").items():
        even = frame["text"].str.removeprefix("message ").astype(int) % 2 == 0
        assert (frame["slice:parity"] == even.map({True: "even", False: "odd"})).all()


def test_hub_columns_become_slices_with_the_names_of_their_classes():
    features = {"text": datasets.Value("string"), "label": datasets.Value("int64")}
    features |= {"topic": datasets.ClassLabel(names=["war", "peace"]), "words": datasets.List(datasets.Value("string"))}
    rows = {"text": ["a", "b"], "label": [0, 1], "topic": [1, 0], "words": [["a"], []]}
    found = datasets.DatasetDict(train=datasets.Dataset.from_dict(rows, features=datasets.Features(features)))
    kept = keep_slices(rows_of_hub_dataset(found, TrainingConfig(data="some/name")))
    assert kept["slice:topic"].tolist() == ["peace", "war"]
    assert "slice:words" not in kept


def test_hub_splits_have_the_names_of_their_classes():
    splits = _hub_splits({"train": [0, 1, 1], "validation": [1, 0, 0]}, names=["calm", "angry"])
    assert splits["train"]["label"].tolist() == ["calm", "angry", "angry"]
    assert splits["validation"]["label"].tolist() == ["angry", "calm", "calm"]
    assert splits["validation"][["source", "line"]].iloc[2].tolist() == ["validation", 3]


def test_a_hub_test_split_without_labels_is_left_out():
    splits = _hub_splits({"train": [0, 1], "test": [-1, -1]}, names=["calm", "angry"])
    assert list(splits) == ["train"]


def test_hub_splits_that_are_not_used_are_named(capsys):
    _hub_splits({"dev": [0, 1], "train": [0, 1], "test": [-1, -1], "validation": [0, 1], "unsupervised": [-1, -1]})
    notes = set(capsys.readouterr().err.splitlines())
    assert notes == {f"note: the split {name} of some/name is not used" for name in ("dev", "test", "unsupervised")}


def test_a_hub_validation_split_may_be_called_dev():
    splits = _hub_splits({"train": [0, 1], "dev": [1, 0]})
    assert splits["validation"]["text"].tolist() == ["dev 0", "dev 1"]


def test_hub_splits_of_other_names_are_left_out():
    assert list(_hub_splits({"train": [0, 1], "unsupervised": [0, 1]})) == ["train"]


def test_a_hub_data_set_without_labelled_train_split_is_refused():
    with pytest.raises(DataError, match="some/name has no labelled train split; it has: train, extra"):
        _hub_splits({"train": [-1, -1], "extra": [0, 1]})


def test_a_missing_hub_column_is_refused():
    message = "the split train of some/name has no column 'sentence', it has: text, label; .*set text_column"
    with pytest.raises(DataError, match=message):
        _hub_splits({"train": [0, 1]}, text_column="sentence")


def test_hub_labels_that_are_numbers_and_texts_are_read():
    rows = {"text": ["a", "b", "c"], "label": [1, "spam", "1"]}
    found = datasets.Dataset.from_dict(rows, on_mixed_types="use_json")
    assert type(found.features["label"]).__name__ == "Json"
    read = rows_of_hub_dataset(datasets.DatasetDict(train=found), TrainingConfig(data="some/name"))
    assert read["label"].tolist() == ["1", "spam", "1"]


@pytest.mark.parametrize(
    ("column", "feature", "kind"),
    [
        ("label", datasets.List(datasets.Value("int64")), "List"),
        ("text", datasets.List(datasets.Value("string")), "List"),
        ("label", datasets.LargeList(datasets.Value("string")), "LargeList"),
        ("text", datasets.Translation(["en", "fr"]), "Translation"),
        ("label", {"a": datasets.Value("int64")}, "dict"),
    ],
)
def test_hub_features_without_one_value_a_row_are_named(column, feature, kind):
    features = {"text": datasets.Value("string"), "label": datasets.Value("int64")} | {column: feature}
    found = datasets.Dataset.from_dict({"text": [], "label": []}, features=datasets.Features(features))
    message = f"the split train of some/name: the column '{column}' is a feature of the kind {kind}; choose"
    with pytest.raises(DataError, match=message):
        rows_of_hub_dataset(datasets.DatasetDict(train=found), TrainingConfig(data="some/name"))


@pytest.mark.parametrize("kind", ["bool", "float64", "binary", "large_string", "uint8"])
def test_hub_labels_of_every_kind_of_value_are_read(kind):
    values = {"binary": [b"0", b"1"], "large_string": ["0", "1"], "bool": [False, True]}.get(kind, [0, 1])
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.Value(kind)})
    found = datasets.Dataset.from_dict({"text": ["a", "b"], "label": values}, features=features)
    read = rows_of_hub_dataset(datasets.DatasetDict(train=found), TrainingConfig(data="some/name"))
    assert read["label"].tolist() == (["False", "True"] if kind == "bool" else ["0", "1"])


@pytest.mark.parametrize("name", ["nobody/has-this", "nobody/has-this:configuration", "has-this"])
def test_a_hub_that_does_not_answer_gives_one_sentence(name):
    with pytest.raises(
        DataError, match=f"^{name} is neither a path here nor .*; check the name and the network"
    ) as caught:
        _splits(name)
    assert "\n" not in str(caught.value)


def _written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _csv(rows, start=0):
    """A table in which every fourth row is `yes`."""
    lines = [f"message {n},{'no' if n % 4 else 'yes'}\n" for n in range(start, start + rows)]
    return "text,label\n" + "".join(lines)


def _sorted_csv(rows_of_a_class):
    labels = ["no"] * rows_of_a_class + ["yes"] * rows_of_a_class
    return "text,label\n" + "".join(f"message {n},{label}\n" for n, label in enumerate(labels))


def _splits(path, **settings):
    return load_splits(TrainingConfig(data=str(path), **settings))


def _table(path, **settings):
    return read_rows(TrainingConfig(data=str(path), **settings))


def _frame(rows):
    return pd.DataFrame(rows, columns=["text", "label"])


def _sizes(splits):
    return {name: len(frame) for name, frame in splits.items()}


def _counts(splits):
    return [(issue.kind, issue.count, issue.dropped) for issue in splits.issues]


def _hub_splits(labels, names=None, **settings):
    """The rows by split of a data set in memory with these labels of its splits."""
    kind = datasets.ClassLabel(names=names) if names else datasets.Value("int64")
    features = datasets.Features({"text": datasets.Value("string"), "label": kind})
    found = datasets.DatasetDict()
    for name, values in labels.items():
        texts = [f"{name} {n}" for n in range(len(values))]
        found[name] = datasets.Dataset.from_dict({"text": texts, "label": values}, features=features)
    return dict(iter(rows_of_hub_dataset(found, TrainingConfig(data="some/name", **settings)).groupby("split")))
