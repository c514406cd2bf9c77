"""Texts longer than the model's maximum length: truncation compared with windows."""

import dataclasses

import pytest

from bert_textclassification.benchmarks.long_texts import FEWEST, compare_long_texts, long_texts_sentence
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.training.data_quality.long_texts import too_long
from bert_textclassification.training.export.timing import machine
from tools.results_tables import long_texts_table


@pytest.fixture(scope="module")
def wordy(tiny_splits):
    """Splits whose test texts have a long beginning without content."""
    test = tiny_splits.test.assign(text=["Good morning to you all. " * 20 + text for text in tiny_splits.test["text"]])
    return dataclasses.replace(tiny_splits, test=test)


@pytest.fixture(scope="module")
def result(tiny_artifact, tiny_fine_tuned, wordy):
    return compare_long_texts(tiny_artifact, tiny_fine_tuned, wordy, texts=5, rounds=2)


def test_every_long_text_is_answered_in_both_ways(result, tiny_artifact, wordy):
    assert (result.rows, result.share, result.comparison.rows) == (len(wordy.test), 1, len(wordy.test))
    predictor, truth = Predictor(tiny_artifact), wordy.test["label"].tolist()
    for truncation in ("truncate", "windows"):
        predictions = predictor.predict(wordy.test["text"].tolist(), truncation=truncation)
        correct = [prediction.label == label for prediction, label in zip(predictions, truth, strict=True)]
        assert result.accuracy[truncation]["value"] == pytest.approx(sum(correct) / len(correct))
    assert result.windows == pytest.approx(sum(prediction.windows for prediction in predictions) / len(predictions))


def test_windows_take_longer(result):
    assert result.milliseconds["windows"] > result.milliseconds["truncate"] > 0


def test_with_few_long_texts_nothing_is_compared(tiny_artifact, tiny_fine_tuned, tiny_splits):
    assert compare_long_texts(tiny_artifact, tiny_fine_tuned, tiny_splits) is None


@pytest.mark.parametrize("num_long", [0, 5, 60])
def test_the_sentence_counts_as_the_data_check_does(num_long, tiny_artifact, tiny_fine_tuned, tiny_splits, wordy):
    kept = tiny_splits.test["text"].where(tiny_splits.test.index >= num_long, wordy.test["text"])
    splits = dataclasses.replace(tiny_splits, test=tiny_splits.test.assign(text=kept))
    result = compare_long_texts(tiny_artifact, tiny_fine_tuned, splits, texts=2, rounds=1)
    sentence = long_texts_sentence(tiny_artifact, tiny_fine_tuned, splits, result)
    issue = too_long(splits.test.assign(split="test"), tiny_fine_tuned.config)
    count = 0 if issue is None else len(issue.rows)
    assert sentence.startswith(f"{count} of the 60 test texts ({count / 60:.1%}) have more than 64 tokens.")
    assert ("are needed to compare" in sentence) == (0 < count < FEWEST)
    assert ("eading windows" in sentence) == (count >= FEWEST)


def test_texts_with_too_many_windows_for_the_server_are_left_out(tiny_artifact, tiny_fine_tuned, wordy):
    endless = wordy.test["text"].where(wordy.test.index != wordy.test.index[0], "word " * 10_000)
    longer = dataclasses.replace(wordy, test=wordy.test.assign(text=endless))
    assert compare_long_texts(tiny_artifact, tiny_fine_tuned, longer, texts=2, rounds=1).rows == len(wordy.test) - 1


def test_a_published_run_with_long_texts_has_a_row(result):
    results = {
        "reviews": {"quantization_benchmark": {"long_texts": result.record(), "machine": machine()}},
        "short": {"quantization_benchmark": {}},
    }
    lines = long_texts_table(results).splitlines()
    assert len(lines) == 3
    assert result.comparison.sentence in lines[2]
