"""The audit lists every issue once, with its rows."""

import pandas as pd

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.issues import COLUMNS, Issue
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.data_quality.audit import audit, balance_table, issues_table, rows_table
from bert_textclassification.training.prepare import load_splits


def test_balance_counts_each_split():
    splits = _splits(train=["no", "yes", "no"], validation=["no", "yes"], test=["yes", "yes", "no", "no", "no"])
    assert balance_table(splits).to_dict("index") == {
        "train": {"rows": 3, "positive": 1, "share": 0.333},
        "validation": {"rows": 2, "positive": 1, "share": 0.5},
        "test": {"rows": 5, "positive": 2, "share": 0.4},
    }


def test_issues_are_counted_against_all_rows_that_were_read():
    splits = _splits(issues=[_issue("repeat", rows=4, dropped=2), _issue("html", rows=1)])
    table = issues_table(splits)
    assert table.loc["repeat"].tolist() == [4, 0.5, 2, "Mend it."]
    assert table.loc["html"].tolist() == [1, 0.125, 0, "Mend it."]


def test_rows_of_one_issue_or_of_all_are_shown():
    splits = _splits(issues=[_issue("repeat", rows=4), _issue("html", rows=1), _issue("label_error", rows=0)])
    assert rows_table(splits)["kind"].tolist() == ["repeat"] * 4 + ["html"]
    assert rows_table(splits, rows=2)["kind"].tolist() == ["repeat"] * 2 + ["html"]
    assert rows_table(splits, "html").columns.tolist() == ["kind", *COLUMNS]


def test_clean_data_give_empty_tables():
    assert issues_table(_splits()).empty
    assert rows_table(_splits()).empty


def test_the_audit_adds_what_takes_a_tokenizer_or_a_model(tmp_path, tiny_base):
    rows = [f"{'bad' if n % 4 == 0 else 'fine'} item {n},{'yes' if n % 4 == 0 else 'no'}" for n in range(400)]
    rows += ["fine item,yes", "fine item,yes", f"{'bad ' * 30},yes", "bad &amp; worse,yes"]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]))
    config = TrainingConfig(data=str(tmp_path), base_model=str(tiny_base), max_length=8)
    splits = audit(load_splits(config), config)
    assert [issue.kind for issue in splits.issues] == ["repeat", "html", "too_long", "label_error"]
    assert "fine item" in set(rows_table(splits, "label_error")["text"])


def test_what_was_dropped_is_not_looked_for_again(tmp_path, tiny_base):
    rows = [f"item {n} {'help ' * (n % 20)},{'yes' if n % 2 else 'no'}" for n in range(200)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]))
    config = TrainingConfig.of(
        {"data": str(tmp_path), "base_model": str(tiny_base), "max_length": 16, "drop_issues": "too_long"}
    )
    splits = audit(load_splits(config), config)
    (issue,) = [issue for issue in splits.issues if issue.kind == "too_long"]
    assert 0 < issue.dropped < issue.count
    assert splits.train["text"].str.count("help").max() < 14 <= splits.test["text"].str.count("help").max()


def _issue(kind, rows, dropped=0):
    frame = pd.DataFrame([["train", "a.csv", n, "no", "text", ""] for n in range(rows)], columns=COLUMNS)
    return Issue(kind, "Mend it.", frame, dropped)


def _splits(train=("no", "yes"), validation=("no", "yes"), test=("no", "yes"), issues=()):
    """Splits with these labels."""
    frames = [pd.DataFrame({"text": "text", "label": list(labels)}) for labels in (train, validation, test)]
    return Splits(*frames, ("no", "yes"), list(issues))
