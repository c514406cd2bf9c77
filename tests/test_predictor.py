"""Texts in, predictions out: the fields, the order, the schedule, what is refused, and the ids of training."""

import dataclasses
import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from bert_textclassification.artifact import Artifact
from bert_textclassification.errors import ArtifactError, RequestError
from bert_textclassification.serving.engine import Engine
from bert_textclassification.serving.predictor import Predictor, load_tokenizer, positive_probability

TEXTS = [
    "My boiler is leaking gas, please come now!",
    "hello",
    "Thank you so much for the quick reply. " * 3,
    "When does the office open?",
    "the lift is stuck with my mother inside",
    "?",
]
LONG = "the rent is due and the heating is off " * 60


@pytest.fixture(scope="module")
def predictor(tiny_artifact):
    return Predictor.load(tiny_artifact.folder)


@pytest.fixture(scope="module")
def fp32(tiny_artifact):
    return Predictor.load(tiny_artifact.folder, "fp32")


def test_a_prediction_says_what_the_model_found(predictor):
    (found,) = predictor.predict(["hello there"])
    labels = predictor.artifact.manifest.labels
    assert set(found.scores) == set(labels)
    assert sum(found.scores.values()) == pytest.approx(1)
    assert found.label == max(found.scores, key=found.scores.get)
    assert 0.5 <= found.score == found.scores[found.label] < 1
    assert (found.tokens, found.truncated) == (len(predictor.tokenise(["hello there"])[0].ids), False)


def test_the_scores_are_the_softmax_of_the_logits(predictor):
    for found in predictor.predict(TEXTS):
        odds = np.exp(np.array(found.logits) - max(found.logits))
        np.testing.assert_allclose(list(found.scores.values()), odds / odds.sum(), atol=1e-6)


def test_the_temperature_softens_the_scores_and_keeps_the_logits(copied_artifact):
    before = Predictor.load(copied_artifact).predict(["hello"])[0]
    after = _with_decision(copied_artifact, temperature=10).predict(["hello"])[0]
    assert after.logits == before.logits
    assert after.label == before.label
    assert after.score == pytest.approx(1 / (1 + np.exp(-abs(before.logits[1] - before.logits[0]) / 10)))


@pytest.mark.parametrize("logits", [(-2000, 2000), (2000, -2000), (0, 0)])
def test_extreme_logits_give_a_probability_without_overflow(logits):
    probability = positive_probability(np.array(logits, dtype=np.float32), 1.0)
    assert probability == {4000: 1.0, -4000: 0.0, 0: 0.5}[logits[1] - logits[0]]


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_the_answers_come_in_the_order_of_the_texts(tiny_artifact, variant):
    predictor = Predictor.load(tiny_artifact.folder, variant)
    forward, backward = predictor.predict(TEXTS), predictor.predict(TEXTS[::-1])
    assert [one.tokens for one in forward] == [len(ids.ids) for ids in predictor.tokenise(TEXTS)]
    np.testing.assert_allclose([one.score for one in forward], [one.score for one in backward[::-1]], atol=1e-6)
    assert len({one.logits for one in forward}) == len(TEXTS)


@settings(max_examples=30, deadline=None)
@given(chosen=st.lists(st.sampled_from([*TEXTS, LONG]), min_size=1, max_size=20))
def test_an_int8_score_is_the_same_alone_and_in_any_batch(predictor, chosen):
    assert predictor.predict(chosen) == [predictor.predict([text])[0] for text in chosen]


@settings(max_examples=30, deadline=None)
@given(chosen=st.lists(st.sampled_from([*TEXTS, LONG]), min_size=1, max_size=20))
def test_an_fp32_score_is_the_same_alone_and_in_any_batch(fp32, chosen):
    alone = [fp32.predict([text])[0].score for text in chosen]
    np.testing.assert_allclose([one.score for one in fp32.predict(chosen)], alone, atol=1e-6)


def test_no_texts_give_no_predictions(predictor):
    assert predictor.predict([]) == []


def test_a_text_that_is_too_long_is_cut_and_says_so(predictor):
    limit = predictor.artifact.manifest.max_length
    long, short = predictor.predict([LONG, "hello"])
    assert (long.tokens, long.truncated) == (limit, True)
    assert short.truncated is False


def test_a_text_of_just_the_limit_is_not_truncated(predictor):
    limit = predictor.artifact.manifest.max_length
    fits, over = predictor.tokenise(["? " * (limit - 2), "? " * (limit - 1)])
    assert (len(fits.ids), fits.truncated) == (limit, False)
    assert (len(over.ids), over.truncated) == (limit, True)
    assert over.ids[-1] == fits.ids[-1] == predictor._tokenizer.token_to_id("[SEP]")


def test_truncation_error_refuses_the_first_long_text_by_its_place(predictor):
    with pytest.raises(RequestError, match="longer than the 64 tokens") as problem:
        predictor.predict(["hello", LONG, LONG], truncation="error")
    assert (problem.value.code, problem.value.field, problem.value.status) == ("text_too_long", "instances[1]", 400)


def test_truncation_error_answers_texts_that_fit(predictor):
    assert predictor.predict(TEXTS[:2], truncation="error") == predictor.predict(TEXTS[:2])


def test_a_threshold_decides_the_label_and_leaves_the_scores(predictor):
    negative, positive = predictor.artifact.manifest.labels
    low, high = predictor.predict(TEXTS, threshold=1e-6), predictor.predict(TEXTS, threshold=1 - 1e-6)
    assert {one.label for one in low} == {positive}
    assert {one.label for one in high} == {negative}
    assert [one.scores for one in low] == [one.scores for one in high]
    assert all(one.score == one.scores[one.label] for one in [*low, *high])


def test_a_score_equal_to_the_threshold_is_positive(predictor):
    positive = predictor.artifact.manifest.labels[1]
    exact = predictor.predict(["hello"])[0].scores[positive]
    assert predictor.predict(["hello"], threshold=exact)[0].label == positive
    assert predictor.predict(["hello"], threshold=np.nextafter(exact, 1))[0].label != positive


def test_the_threshold_of_the_artifact_holds_when_none_is_asked_for(copied_artifact):
    positive = Artifact.load(copied_artifact).manifest.labels[1]
    predictor = _with_decision(copied_artifact, threshold=1e-6)
    assert {one.label for one in predictor.predict(TEXTS)} == {positive}
    assert predictor.predict(TEXTS, threshold=1 - 1e-6)[0].label != positive


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty_text"),
        (" \t\n\u00a0\u2003", "empty_text"),
        ("half \ud83d of a pair", "invalid_unicode"),
        ("\udc00", "invalid_unicode"),
        (None, "not_a_string"),
        (b"bytes", "not_a_string"),
        (7, "not_a_string"),
    ],
)
def test_a_text_that_is_none_is_refused_by_its_place(predictor, text, code):
    with pytest.raises(RequestError) as problem:
        predictor.predict(["hello", "you", text])
    assert (problem.value.code, problem.value.field, problem.value.status) == (code, "instances[2]", 400)


@pytest.mark.parametrize("text", ["\x00", "\ufeff", "🙂", "مرحبا", "x" * 100_000, "[SEP] [PAD]", "\u200b", "a\r\nb"])
def test_any_other_text_is_answered(predictor, text):
    assert predictor.predict([text])[0].tokens >= 2


def test_the_tokenizer_never_pads_even_when_its_file_fixes_padding(tiny_artifact, tmp_path):
    content = json.loads(tiny_artifact.tokenizer_path().read_text())
    content["padding"] = {
        "strategy": {"Fixed": 128},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    content["truncation"] = {"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 1}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    padding = load_tokenizer(tmp_path / "tokenizer.json", 64).encode_batch_fast(TEXTS)
    plain = load_tokenizer(tiny_artifact.tokenizer_path(), 64).encode_batch_fast(TEXTS)
    assert [one.ids for one in padding] == [one.ids for one in plain]
    assert len({len(one.ids) for one in padding}) > 1


def test_the_default_variant_is_the_artifacts_and_another_can_be_chosen(predictor, fp32):
    assert (predictor.variant_name, fp32.variant_name) == ("int8", "fp32")
    int8_logits, fp32_logits = ([one.logits for one in it.predict(TEXTS)] for it in (predictor, fp32))
    assert int8_logits != fp32_logits
    np.testing.assert_allclose(int8_logits, fp32_logits, atol=0.5)


def test_an_unknown_variant_cannot_be_loaded(tiny_artifact):
    with pytest.raises(ArtifactError, match="no variant 'int4'; choose one of: fp32, int8"):
        Predictor.load(tiny_artifact.folder, "int4")


def test_a_file_that_is_no_model_is_named(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match=r"cannot load .*model\.onnx"):
        Engine(tmp_path / "model.onnx", batch_size=1)


def test_business_rules_override_decide(tiny_artifact):
    class Careful(Predictor):
        def decide(self, text, prediction):
            return dataclasses.replace(prediction, label="escalate") if "gas" in text else prediction

    plain, careful = (kind.load(tiny_artifact.folder).predict(TEXTS) for kind in (Predictor, Careful))
    assert careful[0].label == "escalate"
    assert careful[1:] == plain[1:]
    assert careful[0].scores == plain[0].scores


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_threads_that_share_a_predictor_get_the_same_scores(tiny_artifact, variant):
    predictor = Predictor.load(tiny_artifact.folder, variant)
    expected, found = predictor.predict(TEXTS), []
    start = threading.Barrier(8)

    def ask():
        start.wait()
        found.extend(predictor.predict(TEXTS) for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 80


@settings(max_examples=100, deadline=None)
@given(text=st.text(min_size=1, max_size=200).filter(str.strip))
def test_the_ids_are_those_of_the_transformers_tokenizer(predictor, transformers_tokenizer, text):
    expected = transformers_tokenizer(text, truncation=True, max_length=64)["input_ids"]
    assert predictor.tokenise([text])[0].ids == expected


@pytest.mark.parametrize("text", [*TEXTS, LONG, "Ünïcödé 漢字 🙂", "[SEP] [MASK] [unused1]"])
def test_the_ids_of_real_texts_are_those_of_the_transformers_tokenizer(predictor, transformers_tokenizer, text):
    expected = transformers_tokenizer(text, truncation=True, max_length=64)["input_ids"]
    assert predictor.tokenise([text])[0].ids == expected


@pytest.fixture(scope="module")
def transformers_tokenizer(tiny_fine_tuned):
    return AutoTokenizer.from_pretrained(tiny_fine_tuned.folder)


def _with_decision(folder, **decision):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decision": decision}))
    return Predictor.load(folder)


def test_one_string_is_not_taken_for_a_list_of_letters(predictor):
    with pytest.raises(RequestError, match="Give a list of texts"):
        predictor.predict("the boiler is leaking")
