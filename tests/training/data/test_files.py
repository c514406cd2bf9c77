"""Files of a data set: what is given is read or refused by name, and ordinary companions of data cause no error."""

import gzip
import os

import datasets
import pandas as pd
import pytest

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.files import find_files, unread_files
from bert_textclassification.training.data.rows import read_rows

LINES = '{"text":"%s a","label":0}\n{"text":"%s b","label":1}\n'
READ = {
    "csv": lambda name: f"text,label\n{name} a,0\n{name} b,1\n".encode(),
    "tsv": lambda name: f"text\tlabel\n{name} a\t0\n{name} b\t1\n".encode(),
    "jsonl": lambda name: (LINES % (name, name)).encode(),
    "ndjson": lambda name: (LINES % (name, name)).encode(),
    "json": lambda name: f'[{{"text":"{name} a","label":0}},\n {{"text":"{name} b","label":1}}]'.encode(),
    "JSON": lambda name: (LINES % (name, name)).encode(),
}
READ |= {f"{form}.gz": lambda name, form=form: gzip.compress(READ[form](name)) for form in list(READ)}
COMPANIONS = [
    *(
        "README",
        "README.md",
        "LICENSE",
        "DATASHEET.md",
        "behavioral_tests.yaml",
        "behaviours/mine.yml",
        "notes.txt",
        "a.pdf",
    ),
    *(
        ".DS_Store",
        ".git/config",
        "._train.csv",
        ".ipynb_checkpoints/train.csv",
        "_SUCCESS",
        "_metadata",
        "__MACOSX/a.csv",
    ),
    *("train-manifest", "training-manifest", "s3.manifest", "dataset_info.json", "dataset_infos.json", "labels.json"),
    *(
        "make_data.py",
        "train.csv.md5",
        "lost+found/a.csv",
        "~$train.xlsx",
        "Thumbs.db",
        "CITATION.cff",
        "plots/length.png",
    ),
]
REFUSED = {
    "test.xlsx": "save it as CSV UTF-8 in the spreadsheet program, or move it elsewhere if it is no data",
    "other.xls": "save it as CSV UTF-8",
    "test.zip": "unpack it, or move it elsewhere",
    "test.tar.gz": "unpack it",
    "test.parquet.gz": "unpack it",
    "test.csv.bz2": "unpack it",
    "test.csv.zst": "unpack it",
    "test.txt": "convert it to one of these",
    "train.md": "convert it to one of these",
    "test": "convert it to one of these",
    "test.feather": "convert it to one of these",
    "test.arrow": "convert it to one of these",
    "train.csv.bak": "convert it to one of these",
    "test.csv.dvc": "convert it to one of these",
    "more.xml": "convert it to one of these",
    "extra/deep/a.pkl": "convert it to one of these",
    "train/part-00001": "convert it to one of these",
}


@pytest.mark.parametrize("form", READ)
def test_every_format_is_read_as_a_split(tmp_path, form):
    _written(tmp_path / "train.csv", READ["csv"]("train"))
    _written(tmp_path / f"test.{form}", READ[form]("test"))
    assert _texts(tmp_path) == {"train": ["train a", "train b"], "test": ["test a", "test b"]}


@pytest.mark.parametrize("form", READ)
def test_every_format_is_read_from_a_single_file_and_inside_a_folder(tmp_path, form):
    path = _written(tmp_path / f"mine/a.{form}", READ[form]("mine"))
    assert _texts(path) == _texts(tmp_path) == {"train": ["mine a", "mine b"]}
    rows = read_rows(TrainingConfig(data=str(path)))
    assert rows["source"].unique().tolist() == [str(path)]
    assert rows["line"].is_unique


def test_subfolders_are_read_wherever_they_are(tmp_path):
    for name in ("train/2024/a", "train/b", "train/2025/01/c", "test/x/y/d"):
        _written(tmp_path / f"{name}.csv", READ["csv"](name))
    found = _texts(tmp_path)
    assert found["train"] == [f"train/{name} {row}" for name in ("2024/a", "2025/01/c", "b") for row in "ab"]
    assert found["test"] == ["test/x/y/d a", "test/x/y/d b"]


def test_subfolders_of_an_unsplit_folder_are_one_table(tmp_path):
    for name in ("monday", "week/tuesday"):
        _written(tmp_path / f"{name}.csv", READ["csv"](name))
    assert _texts(tmp_path) == {"train": ["monday a", "monday b", "week/tuesday a", "week/tuesday b"]}


@pytest.mark.parametrize("name", ["training.csv", "training/a.csv", "Training/A.CSV", "train.csv/part-0.csv"])
def test_train_has_other_names_too(tmp_path, name):
    _written(tmp_path / name, READ["csv"]("train"))
    _written(tmp_path / "testing.csv", READ["csv"]("test"))
    assert _texts(tmp_path) == {"train": ["train a", "train b"], "test": ["test a", "test b"]}


@pytest.mark.parametrize("folder", ["training", "train", "all/of/it", "my-data"])
def test_splits_inside_the_only_folder_are_the_splits(tmp_path, folder):
    for name in ("train", "dev", "test"):
        _written(tmp_path / folder / f"{name}.csv", READ["csv"](name))
    assert {name: texts[0] for name, texts in _texts(tmp_path).items()} == {
        "train": "train a",
        "validation": "dev a",
        "test": "test a",
    }


def test_parts_of_a_split_are_all_read(tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001-0123456789abcdef"):
        _written(tmp_path / f"data/{name}.csv", READ["csv"](name))
    _written(tmp_path / "README.md", b"about")
    assert {name: len(texts) for name, texts in _texts(tmp_path).items()} == {"train": 4, "test": 2}


def test_a_data_set_as_the_hub_stores_it_is_read(tmp_path):
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    for split in ("train", "validation"):
        (tmp_path / "data").mkdir(exist_ok=True)
        rows.to_parquet(tmp_path / f"data/{split}-00000-of-00001.parquet")
    assert list(_texts(tmp_path)) == ["train", "validation"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("train-00000-of-00002.csv", "train.csv"),
        ("train-00000-of-00001.csv", "train-00000-of-00002.csv"),
        ("train-00000-of-00002.csv", "train-00001-of-00002.json.gz"),
    ],
)
def test_what_is_no_part_of_the_same_split_is_there_twice(tmp_path, first, second):
    for name in (first, second):
        _written(tmp_path / name, READ[name.partition(".")[2]](name))
    with pytest.raises(DataError, match="are both the split train; keep one of them"):
        find_files(tmp_path)


@pytest.mark.parametrize("name", COMPANIONS)
@pytest.mark.parametrize("split", [True, False])
def test_companions_of_data_cause_no_error(tmp_path, name, split):
    _written(tmp_path / ("train.csv" if split else "mine.csv"), READ["csv"]("train"))
    _written(tmp_path / name, b"{}")
    assert _texts(tmp_path) == {"train": ["train a", "train b"]}


@pytest.mark.parametrize("name", ["README.md", "_SUCCESS", ".part-0.csv.crc", "dataset_info.json"])
def test_companions_inside_a_split_cause_no_error(tmp_path, name):
    _written(tmp_path / "train/part-0.csv", READ["csv"]("train"))
    _written(tmp_path / "train" / name, b"{}")
    assert _texts(tmp_path) == {"train": ["train a", "train b"]}


def test_a_base_model_may_be_a_channel(tmp_path, tiny_base):
    _written(tmp_path / "train/a.csv", READ["csv"]("train"))
    (tmp_path / "model").symlink_to(tiny_base)
    assert _texts(tmp_path) == {"train": ["train a", "train b"]}


def test_the_shipped_folder_has_three_splits():
    from tests.conftest import SHIPPED_DATA

    assert list(find_files(SHIPPED_DATA)) == ["train", "validation", "test"]
    assert [path.name for path in unread_files(SHIPPED_DATA)] == ["DATASHEET.md", "behavioral_tests.yaml"]


def test_files_that_are_not_read_are_told(tmp_path):
    _written(tmp_path / "train/a.csv", READ["csv"]("train"))
    for name in ("train/notes.txt", "LICENSE", ".hidden", "_SUCCESS", "docs/a.md"):
        _written(tmp_path / name, b"")
    assert [str(path.relative_to(tmp_path)) for path in unread_files(tmp_path)] == [
        "LICENSE",
        "docs/a.md",
        "train/notes.txt",
    ]


@pytest.mark.parametrize(("name", "remedy"), REFUSED.items())
def test_what_cannot_be_read_is_refused_by_name_with_the_remedy(tmp_path, name, remedy):
    _written(tmp_path / "train/a.csv", READ["csv"]("train"))
    _written(tmp_path / name, b"PK")
    with pytest.raises(DataError, match=rf"{name} is not a \.csv, \.tsv, .* or \.parquet file; {remedy}") as caught:
        find_files(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["train/test.csv", "train/x/validation.csv", "train/dev/a.csv", "test/train.csv"])
def test_a_file_that_is_named_as_another_split_is_refused(tmp_path, name):
    for given in {"train/a.csv", "test/b.csv", name}:
        _written(tmp_path / given, READ["csv"](given))
    with pytest.raises(DataError, match=rf"{name} lies in the data of \w+ but its name says \w+; give the splits as"):
        find_files(tmp_path)


@pytest.mark.parametrize("name", ["test_data.csv", "data-test.csv", "2024/test.csv", "my_dev_set.csv", "Test2.csv"])
def test_an_unsplit_folder_with_a_file_named_as_an_evaluation_split_is_refused(tmp_path, name):
    for given in ("train_data.csv", name):
        _written(tmp_path / given, READ["csv"](given))
    with pytest.raises(DataError, match=rf"{name} lies in the data of train but its name says (test|validation); give"):
        find_files(tmp_path)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("data_train.csv", "data_eval.csv"),
        ("mytrain.csv", "mytest.csv"),
        ("moviestrain.csv", "moviestest.csv"),
        ("reviewsTrain.csv", "reviewsTest.csv"),
        ("reviews.csv", "reviews_holdout.csv"),
        ("reviews.csv", "held-out.csv"),
        ("a.csv", "TestSet.csv"),
        ("a.csv", "evaluation/b.csv"),
        ("train/a.csv", "train/test_1.csv"),
        ("train/a.csv", "train/x/my-eval.csv"),
    ],
)
def test_evaluation_rows_never_slip_into_train(tmp_path, first, second):
    for name in (first, second):
        _written(tmp_path / name, READ["csv"](name))
    with pytest.raises(DataError, match=rf"{second} (lies in the data of train but its name says|holds data beside)"):
        find_files(tmp_path)


def test_an_evaluation_split_may_call_its_files_so(tmp_path):
    for name in ("train/a.csv", "test/eval_1.csv", "test/test_2.csv", "validation/holdout.csv"):
        _written(tmp_path / name, READ["csv"](name))
    assert {split: len(files) for split, files in find_files(tmp_path).items()} == {
        "train": 1,
        "validation": 1,
        "test": 2,
    }


@pytest.mark.parametrize("name", ["test.csv.txt", "test_data.txt", "test/a.txt/test.jsonl.md", "reviewsTest.txt"])
def test_a_document_with_the_name_of_a_split_is_refused(tmp_path, name):
    _written(tmp_path / "train.csv", READ["csv"]("train"))
    _written(tmp_path / name, READ["csv"]("test"))
    with pytest.raises(DataError, match=rf"{name} is not a .* file; convert it to one of these, or move it elsewhere"):
        find_files(tmp_path)


@pytest.mark.parametrize("name", ["_test.csv", "_test/a.csv", "__validation.jsonl", "_test_data.csv"])
def test_a_split_behind_an_underscore_is_refused(tmp_path, name):
    _written(tmp_path / "train.csv", READ["csv"]("train"))
    _written(tmp_path / name, READ["csv"]("test"))
    with pytest.raises(DataError, match="begins with an underscore, but it is named as a split; take the underscore"):
        find_files(tmp_path)


def test_a_split_with_tables_is_no_base_model(tmp_path):
    for name in ("train.csv", "test/a.csv", "test/config.json"):
        _written(tmp_path / name, READ["csv"](name))
    _written(tmp_path / "test/x.bin", b"x")
    with pytest.raises(DataError, match=r"test/x\.bin is not a "):
        find_files(tmp_path)


def test_words_that_only_hold_the_name_of_a_split_are_no_split(tmp_path):
    for name in (
        *("contest.csv", "devices.csv", "latest/evaluations.csv", "train_data.csv", "attestation.csv", "medieval.csv"),
        *("invalid.csv", "Contest2.csv", "intervals.csv", "latestTrain.csv"),
    ):
        _written(tmp_path / name, READ["csv"](name))
    assert len(_texts(tmp_path)["train"]) == 20


def test_a_broken_link_is_refused(tmp_path):
    _written(tmp_path / "train.csv", READ["csv"]("train"))
    (tmp_path / "test.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"test\.csv is neither a file nor a folder; mend the link or remove it"):
        find_files(tmp_path)


def test_a_pipe_is_refused(tmp_path):
    _written(tmp_path / "train.csv", READ["csv"]("train"))
    os.mkfifo(tmp_path / "test.csv")
    with pytest.raises(DataError, match=r"test\.csv is neither a file nor a folder"):
        find_files(tmp_path)


def test_a_link_to_a_folder_is_read_and_one_to_a_folder_above_it_is_refused(tmp_path):
    _written(tmp_path / "elsewhere/a.csv", READ["csv"]("a"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train").symlink_to(tmp_path / "elsewhere")
    assert _texts(tmp_path / "data") == {"train": ["a a", "a b"]}
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="back is a link to a folder above it; remove the link"):
        find_files(tmp_path / "elsewhere")


def test_a_delta_table_is_refused(tmp_path):
    _written(tmp_path / "train/_delta_log/0.json", b"{}")
    pd.DataFrame({"text": ["a"], "label": ["x"]}).to_parquet(tmp_path / "train/part-0.snappy.parquet")
    with pytest.raises(
        DataError, match="train is a Delta table, whose files hold deleted rows, too; write it as plain"
    ):
        find_files(tmp_path)


def test_a_folder_of_class_folders_with_one_text_a_file_is_refused(tmp_path):
    for label in ("pos", "neg"):
        _written(tmp_path / f"train/{label}/0_1.txt", b"a text")
    with pytest.raises(DataError, match="holds no training data; put a "):
        find_files(tmp_path)


def _written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _texts(path):
    return read_rows(TrainingConfig(data=str(path))).groupby("split")["text"].agg(list).to_dict()
