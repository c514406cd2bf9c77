"""Texts longer than the model reads: their beginning alone against windows."""

import dataclasses

import pytest

from bert_textclassification.benchmarks.long_texts import FEWEST, compare_long_texts, long_texts_sentence
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.training.data_quality.long_texts import too_long
from bert_textclassification.training.export.timing import machine
from tools.results_tables import long_texts_table


@pytest.fixture(scope="module")
def wordy(tiny_splits):
    """The splits with a test split whose texts come to the point late."""
    test = tiny_splits.test.assign(text=["Good morning to you all. " * 20 + text for text in tiny_splits.test["text"]])
    return dataclasses.replace(tiny_splits, test=test)


@pytest.fixture(scope="module")
def found(tiny_artifact, tiny_fine_tuned, wordy):
    return compare_long_texts(tiny_artifact, tiny_fine_tuned, wordy, texts=5, rounds=2)


def test_every_long_text_is_answered_in_both_ways(found, tiny_artifact, wordy):
    assert (found.rows, found.share, found.comparison.rows) == (len(wordy.test), 1, len(wordy.test))
    predictor, truth = Predictor(tiny_artifact), wordy.test["label"].tolist()
    for way in ("truncate", "windows"):
        predictions = predictor.predict(wordy.test["text"].tolist(), truncation=way)
        right = [one.label == label for one, label in zip(predictions, truth, strict=True)]
        assert found.accuracy[way]["value"] == pytest.approx(sum(right) / len(right))
    assert found.windows == pytest.approx(sum(one.windows for one in predictions) / len(predictions))


def test_windows_take_longer(found):
    assert found.milliseconds["windows"] > found.milliseconds["truncate"] > 0


def test_where_hardly_a_text_is_long_nothing_is_compared(tiny_artifact, tiny_fine_tuned, tiny_splits):
    assert compare_long_texts(tiny_artifact, tiny_fine_tuned, tiny_splits) is None


@pytest.mark.parametrize("many", [0, 5, 60])
def test_the_sentence_counts_as_the_data_check_does(many, tiny_artifact, tiny_fine_tuned, tiny_splits, wordy):
    kept = tiny_splits.test["text"].where(tiny_splits.test.index >= many, wordy.test["text"])
    splits = dataclasses.replace(tiny_splits, test=tiny_splits.test.assign(text=kept))
    found = compare_long_texts(tiny_artifact, tiny_fine_tuned, splits, texts=2, rounds=1)
    sentence = long_texts_sentence(tiny_artifact, tiny_fine_tuned, splits, found)
    suspects = too_long(splits.test.assign(split="test"), tiny_fine_tuned.config)
    count = 0 if suspects is None else len(suspects.rows)
    assert sentence.startswith(f"{count} of the 60 test texts ({count / 60:.1%}) have more than 64 tokens.")
    assert ("are needed to compare" in sentence) == (0 < count < FEWEST)
    assert ("eading windows" in sentence) == (count >= FEWEST)


def test_texts_of_more_windows_than_the_server_takes_are_left_out(tiny_artifact, tiny_fine_tuned, wordy):
    endless = wordy.test["text"].where(wordy.test.index != wordy.test.index[0], "word " * 10_000)
    longer = dataclasses.replace(wordy, test=wordy.test.assign(text=endless))
    assert compare_long_texts(tiny_artifact, tiny_fine_tuned, longer, texts=2, rounds=1).rows == len(wordy.test) - 1


def test_a_published_run_with_long_texts_has_a_row(found):
    results = {
        "reviews": {"quantization_benchmark": {"long_texts": found.record(), "machine": machine()}},
        "short": {"quantization_benchmark": {}},
    }
    lines = long_texts_table(results).splitlines()
    assert len(lines) == 3
    assert found.comparison.sentence in lines[2]
