"""Label errors: labels that were turned round on purpose are found, and the search uses nothing it may not."""

import pandas as pd
import pytest

from bert_textclassification.training.label_errors import FOLDS, held_out_probabilities, label_errors

WORDS = {"yes": ["leak", "smoke", "flood"], "no": ["thanks", "lovely", "welcome"]}


def test_labels_that_were_turned_round_are_found_in_every_split():
    tables = {"train": _table(60, wrong=[7, 30]), "test": _table(30, wrong=[11])}
    finding = label_errors(tables, seed=0)
    assert set(finding.rows[["split", "line"]].itertuples(index=False, name=None)) == {
        ("train", 7), ("train", 30), ("test", 11)
    }  # fmt: skip
    assert finding.rows["note"].str.match(r"rather (yes|no) \(\d\d%\)").all()


def test_right_labels_are_no_finding():
    assert label_errors({"train": _table(60), "test": _table(30)}, seed=0) is None


def test_the_same_seed_finds_the_same():
    tables = {"train": _table(60, wrong=[7, 8, 9, 30]), "test": _table(30)}
    first, second = (label_errors(tables, seed=3).rows for _ in range(2))
    assert first.equals(second)


def test_what_is_found_in_train_does_not_depend_on_evaluation_rows():
    train, targets = _table(60, wrong=[7]), (_table(60, wrong=[7])["label"] == "yes").to_numpy().astype(int)
    one = held_out_probabilities({"train": train, "test": _table(30)}, targets, seed=0)
    other = held_out_probabilities({"train": train, "test": _table(20, wrong=range(20))}, targets, seed=0)
    assert (one["train"] == other["train"]).all()


def test_a_model_that_knows_nothing_says_so_and_accuses_nobody():
    train = pd.DataFrame({"text": [f"word{n}" for n in range(40)], "label": ["a", "a", "a", "b"] * 10})
    finding = label_errors({"train": train.assign(source="a.csv", line=range(40))}, seed=0)
    assert finding.count == 0
    assert finding.message.startswith("Not looked for: a model of words is right on 75% of texts")


@pytest.mark.parametrize("rows", [2, 2 * FOLDS - 2])
def test_too_few_rows_are_not_judged(rows):
    assert label_errors({"train": _table(rows)}, seed=0) is None


def _table(rows, wrong=()):
    """Rows whose line is their number, labels alternating; those at `wrong` turned round."""
    labels = ["yes" if n % 2 else "no" for n in range(rows)]
    texts = [f"{WORDS[label][n % 3]} {WORDS[label][(n // 2) % 3]} item{n}" for n, label in enumerate(labels)]
    turned = [{"yes": "no", "no": "yes"}[label] if n in wrong else label for n, label in enumerate(labels)]
    return pd.DataFrame({"text": texts, "label": turned, "source": "a.csv", "line": range(rows)})
