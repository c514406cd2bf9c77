"""Label errors: labels that were turned round on purpose are found, and the search uses nothing it may not."""

import pandas as pd
import pytest

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.rows import join_splits
from bert_textclassification.training.data_quality.label_errors import (
    FEWEST_SUREST,
    FOLDS,
    held_out_probabilities,
    label_errors,
)

WORDS = {"yes": ["leak", "smoke", "flood"], "no": ["thanks", "lovely", "welcome"]}


def test_labels_that_were_turned_round_are_found_in_every_split():
    found = _suspects(train=_rows(200, wrong=[7, 30]), test=_rows(30, wrong=[11]))
    assert set(found.rows[["split", "line"]].itertuples(index=False, name=None)) == {
        ("train", 7), ("train", 30), ("test", 11)
    }  # fmt: skip
    assert found.rows["note"].str.match(r"rather (yes|no) \(\d\d%\)").all()


def test_right_labels_are_no_issue():
    assert _suspects(train=_rows(200), test=_rows(30)) is None


def test_the_same_seed_finds_the_same():
    splits = {"train": _rows(200, wrong=[7, 8, 9, 30]), "test": _rows(30)}
    first, second = (_suspects(seed=3, **splits).rows for _ in range(2))
    assert first.equals(second)


def test_what_is_found_in_train_does_not_depend_on_evaluation_rows():
    train, targets = _rows(60, wrong=[7]), (_rows(60, wrong=[7])["label"] == "yes").to_numpy().astype(int)
    rows, other_rows = (join_splits({"train": train, "test": test}) for test in (_rows(30), _rows(20, wrong=range(20))))
    first, second = (held_out_probabilities(each, targets, seed=0)["train"] for each in (rows, other_rows))
    assert (first == second).all()


def test_a_model_that_knows_nothing_says_so_and_accuses_nobody():
    train = pd.DataFrame({"text": [f"word{n}" for n in range(40)], "label": ["a", "a", "a", "b"] * 10})
    found = _suspects(train=train.assign(source="a.csv", line=range(40)))
    assert found.rows.empty
    assert found.message.startswith("Not looked for: a model of words is right on 75% of texts")


def test_a_model_that_is_right_on_two_thirds_accuses_nobody():
    train = _weak_rows(600, right=0.65)
    found = _suspects(train=train)
    assert found.rows.empty
    assert found.message.startswith("Not looked for: a model of words is right on 65% of texts")


def test_only_what_the_model_is_sure_of_is_listed_beside_texts_it_knows_nothing_about():
    easy, hard = _rows(400, wrong=range(5, 400, 40)), _weak_rows(400, right=0.6).assign(line=range(1000, 1400))
    found = _suspects(train=pd.concat([easy, hard], ignore_index=True))
    planted = set(range(5, 400, 40))
    lines = set(found.rows["line"])
    assert len(lines & planted) >= len(planted) / 2
    assert len(lines - planted) <= len(lines) / 3


def test_rare_rows_that_a_poor_model_misses_are_not_listed():
    rows = _weak_rows(1000, right=0.5)
    rare = rows.assign(label=["yes" if n % 20 == 0 else "no" for n in range(1000)])
    assert _suspects(train=rare).rows.empty


@pytest.mark.parametrize("rows", [2, 2 * FOLDS - 2, FEWEST_SUREST])
def test_too_few_rows_are_not_judged(rows):
    assert _suspects(train=_rows(rows)) is None


def _weak_rows(rows, right):
    """Rows with one word that tells the label of a share `right` of them, and one that tells nothing."""
    labels = ["yes" if n % 2 else "no" for n in range(rows)]
    told = [round((n + 1) * right) > round(n * right) for n in range(rows // 2) for _ in range(2)]
    words = [label if tells else {"yes": "no", "no": "yes"}[label] for label, tells in zip(labels, told, strict=True)]
    texts = [f"sounds_{word} item{n}" for n, word in enumerate(words)]
    return pd.DataFrame({"text": texts, "label": labels, "source": "a.csv", "line": range(rows)})


def _rows(rows, wrong=()):
    """Rows whose line is their number, labels alternating; those at `wrong` turned round."""
    labels = ["yes" if n % 2 else "no" for n in range(rows)]
    texts = [f"{WORDS[label][n % 3]} {WORDS[label][(n // 2) % 3]} item{n}" for n, label in enumerate(labels)]
    turned = [{"yes": "no", "no": "yes"}[label] if n in wrong else label for n, label in enumerate(labels)]
    return pd.DataFrame({"text": texts, "label": turned, "source": "a.csv", "line": range(rows)})


def _suspects(seed=0, **splits):
    return label_errors(join_splits(splits), TrainingConfig(data="a.csv", seed=seed))
