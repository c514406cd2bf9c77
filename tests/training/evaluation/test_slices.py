"""Slices: slice values of texts, intervals, verdicts, and the sentence on a weak slice."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from bert_textclassification.training.evaluation.plots import plot_slices
from bert_textclassification.training.evaluation.robustness import slices_of
from bert_textclassification.training.evaluation.slices import (
    describe,
    holm,
    measure_slices,
    slice_table,
    slices_section,
    verdict,
    weak_slices,
)


@pytest.fixture(scope="module")
def tokenizer(tiny_fine_tuned):
    return tiny_fine_tuned.tokenizer()


def measured(languages, right):
    """Slices of texts by language, `right` is whether the model predicts the label."""
    targets = np.arange(len(right)) % 2
    scores = np.where(right, targets, 1 - targets)
    return measure_slices(pd.DataFrame({"column language": languages}), targets.tolist(), scores, seed=1)


def weak_in_french():
    return measured(["en"] * 200 + ["fr"] * 100, [True] * 190 + [False] * 10 + [True] * 60 + [False] * 40)


def test_a_slice_that_is_worse_than_the_rest_gets_a_sentence():
    english, french = weak_in_french()
    assert (verdict(english), verdict(french)) == ("better", "worse")
    (sentence,) = weak_slices([english, french])
    assert sentence.startswith("On column language: fr (100 texts), accuracy is 60.00 % (50.2")
    assert "; test texts with the same labels have 83.33 % on average. The difference is significant" in sentence


def test_intervals_are_wilsons():
    _, french = weak_in_french()  # 60 of 100: (0.5020, 0.6906)
    assert (french.low, french.high) == (pytest.approx(0.5020, abs=1e-4), pytest.approx(0.6906, abs=1e-4))
    assert french.f1_low < french.f1 < french.f1_high


def test_a_small_slice_is_reported_but_not_compared():
    results = measured(["en"] * 100 + ["fr"] * 29, [True] * 100 + [False] * 29)
    assert [(result.value, verdict(result)) for result in results] == [
        (name, "too few to compare") for name in ("en", "fr")
    ]


def test_holm_corrects_for_the_number_of_tests():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_chance_alone_makes_no_slice_worse():
    rng = np.random.default_rng(0)
    false_alarms = sum(
        any(
            verdict(result) != "no different"
            for result in measured(rng.choice(["a", "b", "c"], 300), rng.random(300) < 0.9)
        )
        for _ in range(40)
    )
    assert false_alarms <= 5


def test_texts_are_sliced_by_length_words_and_columns(tokenizer):
    texts = [" ".join(["help"] * length) for length in range(1, 41)]
    frame = pd.DataFrame({"text": [*texts, "日本 ☃"], "slice:source": ["mail"] * 20 + [""] * 21})
    described = describe(frame, tokenizer, max_length=20)
    assert set(described["tokens"]) == {"3 to 12", "13 to 20"}  # three quarters are truncated at 20 tokens
    assert described["cut"].tolist() == ["read whole"] * 18 + ["longer than 20 tokens"] * 22 + ["read whole"]
    assert described["unknown tokens"].tolist() == ["none"] * 40 + ["some"]
    assert set(described["column source"]) == {"mail", "(none)"}


def test_a_slice_of_one_class_has_no_f1():
    described = pd.DataFrame({"column a": ["x"] * 40 + ["y"] * 40})
    first, second = measure_slices(described, [0] * 40 + [1] * 40, [0.1] * 40 + [0.9] * 40, seed=0)
    assert (first.f1, second.f1) == (None, 1.0)
    assert "| x | 40 | 0 | 100.00 (91.24–100.00) |  |" in slices_section([first, second])


def without_positives(recall, metric="accuracy"):
    """Slices by source: one without positive texts, one with 40 % positive texts and this `recall`."""
    sources = np.array(["forum"] * 200 + ["mail"] * 400)
    targets = np.array([0] * 200 + [1] * 160 + [0] * 240)
    scores = np.where(np.arange(600) % 25 == 0, 0.8, 0.2)  # 4 % of the negatives are false positives in both
    scores[200:360] = np.where(np.arange(160) < recall * 160, 0.9, 0.1)
    return measure_slices(pd.DataFrame({"column source": sources}), targets.tolist(), scores, seed=0, metric=metric)


def test_a_slice_without_positives_is_not_better_for_that():
    forum, mail = without_positives(recall=0.5)
    assert (forum.accuracy, mail.accuracy) == (pytest.approx(0.96), pytest.approx(0.775, abs=0.01))
    assert (verdict(forum), verdict(mail)) == ("no different", "no different")
    by_ranking = without_positives(recall=0.5, metric="average_precision")
    assert [verdict(result) for result in by_ranking] == ["too few to compare", "too few to compare"]
    assert (by_ranking[0].judged, by_ranking[0].positives) == (None, 0)


def test_a_slice_of_rare_positives_is_compared_by_its_ranking():
    rng = np.random.default_rng(0)
    sources = np.array(["forum", "mail"] * 500)
    targets = (np.arange(1000) % 25 < 2).astype(int)
    evidence = rng.normal(size=1000) + np.where(sources == "mail", 4, 0) * targets
    described = pd.DataFrame({"column source": sources})
    forum, mail = measure_slices(
        described, targets.tolist(), 0.1 / (1 + np.exp(-evidence)), 0, 0.5, "average_precision"
    )
    assert forum.accuracy == pytest.approx(mail.accuracy, abs=0.01)  # accuracy does not differ: no score reaches 0.5
    assert (verdict(forum), verdict(mail)) == ("worse", "better")
    assert forum.judged_low <= forum.judged <= forum.judged_high < forum.expected
    (sentence,) = weak_slices([forum, mail])
    assert sentence.startswith("On column source: forum (500 texts), average precision is ")
    assert "average precision |" in slices_section([forum, mail])
    assert plot_slices([forum, mail]).axes[0].get_xlabel() == "test average precision, %"


def test_by_the_loss_lower_is_better():
    rng = np.random.default_rng(0)
    sources, targets = np.array(["a", "b"] * 200), np.arange(400) // 2 % 2
    sure = np.where(sources == "a", 0.95, 0.6) + rng.uniform(-0.02, 0.02, 400)
    scores = np.where(targets == 1, sure, 1 - sure)
    first, second = measure_slices(pd.DataFrame({"column x": sources}), targets.tolist(), scores, 0, 0.5, "loss")
    assert (verdict(first), verdict(second)) == ("better", "worse")
    assert first.judged < first.expected < second.judged
    assert 0 < first.judged_low < first.judged < first.judged_high


def test_slices_are_a_table_and_a_figure():
    results = weak_in_french()
    assert slice_table(results)["verdict"].tolist() == ["better", "worse"]
    assert [label.get_text() for label in plot_slices(results).axes[0].get_yticklabels()][1].endswith("fr (100)")


def test_the_manifest_and_the_card_have_the_slices_of_what_is_served(tiny_artifact, tiny_fine_tuned, tiny_splits):
    slices = tiny_artifact.manifest.slices
    assert sum(result.rows for result in slices if result.slice == "tokens") == len(tiny_splits.test)
    assert "column" not in {result.slice.split()[0] for result in slices}
    assert slices_section(slices) in (tiny_artifact.folder / "model_card.md").read_text()


def test_the_torch_model_is_sliced_by_the_columns_of_the_data(tiny_fine_tuned, tiny_splits):
    test = tiny_splits.test.assign(**{"slice:tokens": ["a", "b"] * 30})
    splits = dataclasses.replace(tiny_splits, test=test)
    results = slices_of(tiny_fine_tuned, splits, np.zeros(60))
    assert [result.rows for result in results if result.slice == "column tokens"] == [30, 30]
