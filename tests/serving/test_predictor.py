"""The predictor: fields and order of predictions, scheduling, errors, and the same token ids as in training."""

import dataclasses
import json
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.engines.onnx import OnnxEngine
from bert_textclassification.errors import ArtifactError, RequestError
from bert_textclassification.serving import predictor as predictor_module
from bert_textclassification.serving.cache import OutputCache
from bert_textclassification.serving.predictor import MAX_WINDOWS, Predictor, load_tokenizer, positive_probability

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
    (prediction,) = predictor.predict(["hello there"])
    labels = predictor.artifact.manifest.labels
    assert set(prediction.scores) == set(labels)
    assert sum(prediction.scores.values()) == pytest.approx(1)
    assert prediction.label == max(prediction.scores, key=prediction.scores.get)
    assert 0.5 <= prediction.score == prediction.scores[prediction.label] < 1
    assert (prediction.tokens, prediction.truncated) == (len(predictor.tokenise(["hello there"])[0].ids), False)


def test_a_variant_without_a_temperature_of_its_own_takes_the_decisions(copied_artifact):
    path = copied_artifact / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["decision"]["temperature"] = 3
    manifest["variants"]["int8"] |= {"temperature": None, "exit_scales": []}
    path.write_text(json.dumps(manifest))
    assert Predictor.load(copied_artifact, "int8").temperature == 3


def test_the_scores_are_the_logistic_function_of_the_margin_over_the_temperature_plus_the_offset(predictor):
    (scale,) = predictor.artifact.manifest.exit_scales(predictor.variant_name)
    for prediction in predictor.predict(TEXTS):
        log_odds = (prediction.logits[1] - prediction.logits[0]) / scale.temperature + scale.offset
        positive = 1 / (1 + np.exp(-log_odds))
        np.testing.assert_allclose(list(prediction.scores.values()), [1 - positive, positive], atol=1e-6)


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


@pytest.mark.parametrize("variant", ["fp32", "int8", "int8_onnx"])
def test_the_answers_come_in_the_order_of_the_texts(tiny_artifact, variant):
    predictor = Predictor.load(tiny_artifact.folder, variant)
    forward, backward = predictor.predict(TEXTS), predictor.predict(TEXTS[::-1])
    assert [prediction.tokens for prediction in forward] == [len(ids.ids) for ids in predictor.tokenise(TEXTS)]
    np.testing.assert_allclose(
        [prediction.score for prediction in forward], [prediction.score for prediction in backward[::-1]], atol=1e-6
    )
    assert len({prediction.logits for prediction in forward}) == len(TEXTS)


@settings(max_examples=30, deadline=None)
@given(chosen=st.lists(st.sampled_from([*TEXTS, LONG]), min_size=1, max_size=20))
def test_an_int8_score_is_the_same_alone_and_in_any_batch(predictor, chosen):
    assert predictor.predict(chosen) == [predictor.predict([text])[0] for text in chosen]


@settings(max_examples=30, deadline=None)
@given(chosen=st.lists(st.sampled_from([*TEXTS, LONG]), min_size=1, max_size=20))
def test_an_fp32_score_is_the_same_alone_and_in_any_batch(fp32, chosen):
    alone = [fp32.predict([text])[0].score for text in chosen]
    np.testing.assert_allclose([prediction.score for prediction in fp32.predict(chosen)], alone, atol=1e-6)


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
    with pytest.raises(RequestError, match="longer than the model's 64 tokens") as problem:
        predictor.predict(["hello", LONG, LONG], truncation="error")
    assert (problem.value.code, problem.value.field, problem.value.status) == ("text_too_long", "instances[1]", 400)


def test_truncation_error_answers_texts_that_fit(predictor):
    assert predictor.predict(TEXTS[:2], truncation="error") == predictor.predict(TEXTS[:2])


def test_a_threshold_decides_the_label_and_leaves_the_scores(predictor):
    negative, positive = predictor.artifact.manifest.labels
    low, high = predictor.predict(TEXTS, threshold=1e-6), predictor.predict(TEXTS, threshold=1 - 1e-6)
    assert {prediction.label for prediction in low} == {positive}
    assert {prediction.label for prediction in high} == {negative}
    assert [prediction.scores for prediction in low] == [prediction.scores for prediction in high]
    assert all(prediction.score == prediction.scores[prediction.label] for prediction in [*low, *high])


def test_a_score_equal_to_the_threshold_is_positive(predictor):
    positive = predictor.artifact.manifest.labels[1]
    exact = predictor.predict(["hello"])[0].scores[positive]
    assert predictor.predict(["hello"], threshold=exact)[0].label == positive
    assert predictor.predict(["hello"], threshold=np.nextafter(exact, 1))[0].label != positive


def test_the_threshold_of_the_artifact_holds_when_none_is_asked_for(copied_artifact):
    positive = Artifact.load(copied_artifact).manifest.labels[1]
    predictor = _with_decision(copied_artifact, threshold=1e-6)
    assert {prediction.label for prediction in predictor.predict(TEXTS)} == {positive}
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
    assert [encoding.ids for encoding in padding] == [encoding.ids for encoding in plain]
    assert len({len(encoding.ids) for encoding in padding}) > 1


def test_the_default_variant_is_the_artifacts_and_another_can_be_chosen(predictor, fp32):
    assert (predictor.variant_name, fp32.variant_name) == ("int8", "fp32")
    int8_logits, fp32_logits = ([prediction.logits for prediction in it.predict(TEXTS)] for it in (predictor, fp32))
    assert int8_logits != fp32_logits
    np.testing.assert_allclose(int8_logits, fp32_logits, atol=0.5)


def test_an_unknown_variant_cannot_be_loaded(tiny_artifact):
    with pytest.raises(ArtifactError, match="no variant 'int4'; choose one of: fp32, int8"):
        Predictor.load(tiny_artifact.folder, "int4")


def test_a_file_that_is_no_model_is_named(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match=r"cannot load .*model\.onnx"):
        OnnxEngine(tmp_path / "model.onnx", batch_size=1)


def test_business_rules_override_decide(tiny_artifact):
    class Careful(Predictor):
        def decide(self, text, prediction):
            return dataclasses.replace(prediction, label="escalate") if "gas" in text else prediction

    plain, careful = (kind.load(tiny_artifact.folder).predict(TEXTS) for kind in (Predictor, Careful))
    assert careful[0].label == "escalate"
    assert careful[1:] == plain[1:]
    assert careful[0].scores == plain[0].scores


@pytest.mark.parametrize("variant", ["fp32", "int8", "int8_onnx"])
def test_threads_that_share_a_predictor_get_the_same_scores(tiny_artifact, variant):
    predictor = Predictor.load(tiny_artifact.folder, variant)
    expected, predictions = predictor.predict(TEXTS), []
    start = threading.Barrier(8)

    def ask():
        start.wait()
        predictions.extend(predictor.predict(TEXTS) for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert predictions == [expected] * 80


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


def test_one_string_is_not_taken_for_a_list_of_letters(predictor):
    with pytest.raises(RequestError, match="Give a list of texts"):
        predictor.predict("the boiler is leaking")


@pytest.mark.parametrize("make", [iter, lambda texts: (text for text in texts), pd.Series, tuple, np.array])
def test_texts_may_come_from_any_series(predictor, make):
    texts = ["the boiler is leaking gas", "where is my parcel"]
    assert predictor.predict(make(texts)) == predictor.predict(texts)


@pytest.mark.parametrize("make", [pd.DataFrame, dict, set, lambda rows: 7, lambda rows: None])
def test_what_has_no_order_of_texts_is_refused(predictor, make):
    rows = {"text": ["the boiler is leaking"], "id": ["17"]}
    with pytest.raises(RequestError, match="Give a list of texts, such as one column of a table, not "):
        predictor.predict(make(rows))


@pytest.mark.parametrize(
    "parameters",
    [
        {"truncation": "window"},
        {"truncation": None},
        *({"threshold": value} for value in (0, 1, -1, 5, np.nan, "0.5", True)),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(predictor, parameters):
    with pytest.raises(RequestError) as problem:
        predictor.predict(["the boiler is leaking"], **parameters)
    assert (problem.value.code, problem.value.field) == ("invalid_parameter", f"parameters.{next(iter(parameters))}")


def _with_decision(folder, **decision):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["decision"] |= decision
    if "temperature" in decision:
        for variant in manifest["variants"].values():
            variant["exit_scales"] = [{"temperature": decision["temperature"]}]
    path.write_text(json.dumps(manifest))
    return Predictor.load(folder)


# -- windows


def whole_ids(predictor, text):
    """Return the ids of the whole text, without truncation."""
    tokenizer = Tokenizer.from_file(str(predictor.artifact.tokenizer_path()))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer.encode(text).ids


@settings(max_examples=50, deadline=None)
@given(words=st.lists(st.sampled_from(LONG.split()), min_size=1, max_size=600))
def test_windows_overlap_by_a_quarter_and_cover_every_token(predictor, words):
    limit = predictor.artifact.manifest.max_length
    (text,) = predictor.tokenise([" ".join(words)], windows=True)
    first, *others = [ids[1:-1] for ids in text.windows]
    joined = list(first)
    for content in others:
        assert content[: limit // 4] == joined[-(limit // 4) :]
        assert len(content) > limit // 4
        joined += content[limit // 4 :]
    assert joined == whole_ids(predictor, " ".join(words))[1:-1]
    assert text.truncated is False


def test_every_window_is_a_text_of_its_own_with_its_special_tokens(predictor):
    limit = predictor.artifact.manifest.max_length
    (text,) = predictor.tokenise([LONG], windows=True)
    start, *_, end = text.ids
    assert all((ids[0], ids[-1]) == (start, end) for ids in text.windows)
    assert {len(ids) for ids in text.windows[:-1]} == {limit}
    assert 2 < len(text.windows[-1]) <= limit


@pytest.mark.parametrize("variant", ["fp32", "int8", "int8_onnx"])
def test_the_logits_of_windows_are_their_mean_weighted_by_tokens(tiny_artifact, variant):
    predictor = Predictor.load(tiny_artifact.folder, variant)
    text = f"{LONG} help!"
    (tokenised,) = predictor.tokenise([text], windows=True)
    lengths = [len(ids) for ids in tokenised.windows]
    window_logits = np.concatenate([predictor._engine.logits([ids]) for ids in tokenised.windows])
    (prediction,) = predictor.predict([text], truncation="windows")
    np.testing.assert_allclose(prediction.logits, np.average(window_logits, axis=0, weights=lengths), atol=1e-5)
    assert (prediction.windows, prediction.tokens, prediction.truncated) == (len(lengths), sum(lengths), False)
    assert len(set(lengths)) > 1


def test_a_text_of_one_window_is_answered_as_if_it_were_truncated(predictor):
    short = [text for text in TEXTS if len(predictor.tokenise([text], windows=True)[0].windows) == 1]
    assert predictor.predict(short, truncation="windows") == predictor.predict(short)
    assert {prediction.windows for prediction in predictor.predict(short, truncation="windows")} == {1}


def test_windows_read_what_truncation_leaves_out(predictor):
    end = ["", "my card was stolen", "thank you"]
    texts = [LONG + suffix for suffix in end]
    assert len({prediction.logits for prediction in predictor.predict(texts)}) == 1
    assert len({prediction.logits for prediction in predictor.predict(texts, truncation="windows")}) == 3


def test_long_and_short_texts_with_windows_keep_their_order(predictor):
    texts = ["hello", LONG, "?", LONG + "help", "when?"]
    alone = [predictor.predict([text], truncation="windows")[0] for text in texts]
    assert predictor.predict(texts, truncation="windows") == alone


def test_a_text_of_more_windows_than_are_read_is_refused(predictor):
    limit = predictor.artifact.manifest.max_length
    most = (limit - 2) + (MAX_WINDOWS - 1) * (limit - 2 - limit // 4)
    assert len(predictor.tokenise(["? " * most], windows=True)[0].windows) == MAX_WINDOWS
    with pytest.raises(RequestError, match=f"{MAX_WINDOWS + 1} windows, and the limit is {MAX_WINDOWS}") as problem:
        predictor.predict(["hello", "? " * (most + 1)], truncation="windows")
    assert (problem.value.code, problem.value.field, problem.value.status) == ("text_too_long", "instances[1]", 400)


# -- the review band


@pytest.mark.parametrize(
    ("low", "high", "is_for_review"), [(0, 1, True), (0, 2, True), (-1, 0, False), (1, 2, False), (-1, 1, True)]
)
def test_scores_from_the_low_end_up_to_the_high_end_are_for_review(copied_artifact, low, high, is_for_review):
    score = _positive_score(Predictor.load(copied_artifact))
    near = {-1: score / 2, 0: score, 1: np.nextafter(score, 1), 2: (1 + score) / 2}
    (prediction,) = _with_decision(copied_artifact, review_band=[near[low], near[high]]).predict(["hello"])
    assert prediction.decision == ("review" if is_for_review else prediction.label)


def test_a_review_band_leaves_label_and_scores_as_they_are(copied_artifact):
    plain = Predictor.load(copied_artifact).predict(TEXTS)
    banded = _with_decision(copied_artifact, review_band=[0.0, 1.0]).predict(TEXTS)
    assert [prediction.decision for prediction in banded] == ["review"] * len(TEXTS)
    assert [dataclasses.replace(prediction, decision=prediction.label) for prediction in banded] == plain


def test_a_threshold_that_is_asked_for_does_not_move_the_review_band(copied_artifact):
    score = _positive_score(Predictor.load(copied_artifact))
    predictor = _with_decision(copied_artifact, review_band=[score, 1.0])
    labels = predictor.artifact.manifest.labels
    predictions = [predictor.predict(["hello"], threshold=threshold)[0] for threshold in (1 - 1e-6, 1e-6)]
    assert [(prediction.label, prediction.decision) for prediction in predictions] == [
        (label, "review") for label in labels
    ]


def test_without_a_review_band_the_decision_is_the_label(predictor):
    for threshold in (None, 1e-6, 1 - 1e-6):
        assert all(
            prediction.decision == prediction.label for prediction in predictor.predict(TEXTS, threshold=threshold)
        )


def _positive_score(predictor):
    return predictor.predict(["hello"])[0].scores[predictor.artifact.manifest.labels[1]]


# -- chunks and turns


@settings(max_examples=50, deadline=None)
@given(
    texts=st.lists(st.sampled_from([*TEXTS, LONG, "é" * 60]), min_size=1, max_size=12),
    bound=st.integers(1, 300),
    windows=st.booleans(),
)
def test_texts_tokenised_in_chunks_get_the_ids_of_one_call(predictor, texts, bound, windows):
    at_once = predictor.tokenise(texts, windows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor_module, "CHARS_PER_CHUNK", bound)
        assert predictor.tokenise(texts, windows) == at_once


@given(lengths=st.lists(st.integers(1, 60), max_size=30))
def test_a_chunk_holds_as_many_texts_as_the_bound_on_characters_lets_it_or_one(lengths):
    texts = [str(number) * length for number, length in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor_module, "CHARS_PER_CHUNK", 40)
        chunks = list(predictor_module._chunks(texts))
    assert [text for chunk in chunks for text in chunk] == texts
    assert all(chunks)
    sizes = [sum(map(len, chunk)) for chunk in chunks]
    assert all(len(chunk) == 1 or size <= 40 for chunk, size in zip(chunks, sizes, strict=True))
    assert all(size + len(after[0]) > 40 for size, after in zip(sizes[:-1], chunks[1:], strict=True))


@pytest.mark.parametrize(("variant", "batches"), [("int8", 2), ("int8_onnx", 20), ("fp32", 3)])
def test_there_is_one_turn_for_each_batch(tiny_artifact, variant, batches):
    predictor, turns = Predictor.load(tiny_artifact.folder, variant), []
    texts = [f"text number {number}" for number in range(20)]

    def scheduler(work):
        turns.append(work)
        return work()

    assert predictor.predict(texts, scheduler=scheduler) == predictor.predict(texts)
    assert len(turns) == batches


# -- the cache


@pytest.fixture
def caching(tiny_artifact):
    return Predictor.load(tiny_artifact.folder, cache_size=100)


@pytest.fixture
def computed(caching, monkeypatch):
    """The ids passed to the engine of `caching`, one list per window."""
    seen, run = [], caching._engine.run

    def spy(token_ids, scheduler):
        seen.extend(token_ids)
        return run(token_ids, scheduler)

    monkeypatch.setattr(caching._engine, "run", spy)
    return seen


@pytest.fixture(scope="module")
def emptied(tiny_artifact):
    """A predictor whose tests replace its cache for each example, which is faster than loading a new predictor."""
    return Predictor.load(tiny_artifact.folder)


REQUESTS = st.tuples(
    st.lists(st.sampled_from([*TEXTS, LONG]), min_size=1, max_size=8),
    st.sampled_from(["truncate", "windows"]),
    st.sampled_from([None, 0.001, 0.999]),
)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(0, 4), requests=st.lists(REQUESTS, min_size=1, max_size=6))
def test_answers_with_a_cache_are_those_without(predictor, emptied, size, requests):
    emptied._cache = OutputCache(size)
    for texts, truncation, threshold in requests:
        parameters = {"truncation": truncation, "threshold": threshold}
        assert emptied.predict(texts, **parameters) == predictor.predict(texts, **parameters)
        assert len(emptied._cache) <= size


def test_a_remembered_answer_says_so_and_is_not_computed_again(caching, computed):
    assert [prediction.cached for prediction in caching.predict(TEXTS[:2])] == [False, False]
    assert [prediction.cached for prediction in caching.predict(TEXTS[:3])] == [True, True, False]
    assert len(computed) == 3


def test_equal_texts_in_one_request_are_computed_once(caching, computed):
    predictions = caching.predict(["hello", "?", "hello", "hello"])
    assert len(computed) == 2
    assert predictions[0] == predictions[2] == predictions[3] != predictions[1]
    assert [prediction.cached for prediction in predictions] == [False] * 4


def test_equal_texts_are_computed_once_without_a_cache_too(tiny_artifact):
    turns = []
    Predictor.load(tiny_artifact.folder).predict(["hello"] * 5, scheduler=lambda work: turns.append(work) or work())
    assert len(turns) == 1


def test_without_a_cache_nothing_is_remembered(predictor):
    assert [prediction.cached for _ in range(2) for prediction in predictor.predict(["hello"])] == [False, False]


def test_a_remembered_answer_takes_no_turn(caching):
    caching.predict(["hello"])
    assert caching.predict(["hello"], scheduler=lambda _: pytest.fail("nothing is to compute"))[0].cached


def test_a_threshold_decides_anew_on_a_remembered_answer(caching):
    labels = caching.artifact.manifest.labels
    predictions = [caching.predict(["hello"], threshold=threshold)[0] for threshold in (1 - 1e-6, 1e-6)]
    assert [(prediction.label, prediction.cached) for prediction in predictions] == [
        (labels[0], False),
        (labels[1], True),
    ]


def test_a_remembered_truncated_text_is_still_refused_when_truncation_is_an_error(caching):
    caching.predict([LONG, "hello"])
    with pytest.raises(RequestError, match="longer than the model's 64 tokens") as problem:
        caching.predict(["hello", "?", LONG], truncation="error")
    assert problem.value.field == "instances[2]"
    assert caching.predict(["hello"], truncation="error")[0].cached


def test_a_text_in_windows_and_a_truncated_one_do_not_share_an_answer(caching, computed):
    truncated, windowed = (caching.predict([LONG], truncation=how)[0] for how in ("truncate", "windows"))
    assert (truncated.cached, windowed.cached) == (False, False)
    assert (truncated.truncated, windowed.truncated) == (True, False)
    assert len(computed) == 1 + windowed.windows
    assert [caching.predict([LONG], truncation=how)[0].cached for how in ("truncate", "windows")] == [True, True]


@pytest.mark.parametrize("before", [["hello", "hello"], ["remembered", "hello"]])
def test_a_text_of_too_many_windows_is_named_by_its_place_in_the_request(caching, before):
    caching.predict(["remembered"], truncation="windows")
    with pytest.raises(RequestError, match="windows") as problem:
        caching.predict([*before, "? " * 5000], truncation="windows")
    assert problem.value.field == "instances[2]"


def test_a_request_that_fails_remembers_nothing(caching):
    def fail(_):
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        caching.predict(["hello"], scheduler=fail)
    assert caching.predict(["hello"])[0].cached is False


def test_threads_that_share_a_cache_get_the_same_answers(predictor, tiny_artifact):
    caching, expected, predictions = Predictor(tiny_artifact, cache_size=3), predictor.predict(TEXTS), []
    threads = [
        threading.Thread(target=lambda: predictions.extend(caching.predict(TEXTS) for _ in range(20))) for _ in "1234"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert predictions == [expected] * 80
