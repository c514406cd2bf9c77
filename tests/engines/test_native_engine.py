"""The native engine: close to torch, independent of the other texts of a call bit by bit, and safe against misuse."""

import itertools
import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from bert_textclassification.engines.native import engine as native_engine
from bert_textclassification.engines.native.engine import METADATA, Architecture, NativeEngine, batches_by_tokens
from bert_textclassification.errors import ArtifactError, EngineUnavailableError
from bert_textclassification.training.evaluation.inference import torch_logits

pytestmark = pytest.mark.skipif(not native_engine.instructions(), reason="the native engine is not compiled here")

TEXTS = [[2, *((7 * number + place) % 790 for place in range(number % 60)), 3] for number in range(80)]


@pytest.fixture(scope="module")
def path(tiny_artifact):
    return tiny_artifact.model_path("int8")


@pytest.fixture(scope="module", params=native_engine.instructions())
def engine(request, path):
    return NativeEngine(path, instruction_set=request.param)


def test_every_instruction_set_is_close_to_torch(engine, tiny_fine_tuned):
    expected = torch_logits(tiny_fine_tuned.model(), TEXTS)
    logits = engine.logits(TEXTS)
    assert np.abs(logits - expected).mean() < 0.05
    assert np.mean(logits.argmax(1) == expected.argmax(1)) > 0.97


def test_a_text_has_the_same_logits_alone_and_in_any_batch(engine):
    together = engine.logits(TEXTS)
    np.testing.assert_array_equal(np.concatenate([engine.logits([ids]) for ids in TEXTS]), together)
    np.testing.assert_array_equal(engine.logits(TEXTS[::-1])[::-1], together)


def test_threads_that_share_an_engine_get_the_same_logits(engine):
    expected, results = engine.logits(TEXTS), []
    threads = [threading.Thread(target=lambda: results.append(engine.logits(TEXTS))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(np.array_equal(expected, logits) for logits in results)


def test_several_cores_give_the_logits_of_one(path):
    np.testing.assert_array_equal(NativeEngine(path, threads=3).logits(TEXTS), NativeEngine(path).logits(TEXTS))


def test_no_texts_have_no_logits(engine):
    assert engine.logits([]).shape == (0, 2)


def test_an_overflow_of_an_activation_is_no_crash(path, tmp_path):
    tensors = load_file(path)
    tensors["position"] = np.full_like(tensors["position"], np.inf)
    assert NativeEngine(_saved(path, tmp_path, tensors)).logits([[2, 3]]).shape == (1, 2)


@given(lengths=st.lists(st.integers(1, 300), max_size=60))
@settings(max_examples=200, deadline=None)
def test_batches_hold_every_text_once_in_order_and_few_tokens(lengths):
    texts = [[number] * length for number, length in enumerate(lengths)]
    batches = list(batches_by_tokens(texts))
    runs = [texts[batch] for batch in batches]
    assert list(itertools.chain(*runs)) == texts
    assert all(len(run) == 1 or sum(map(len, run)) <= native_engine.TOKENS_PER_BATCH for run in runs)


@pytest.mark.parametrize(
    ("texts", "message"),
    [([[800]], "not in the model's vocabulary"), ([[-1]], "not in the model's vocabulary"), ([[]], "no token"),
     ([[1] * 513], "more than max_position_embeddings")],
)  # fmt: skip
def test_what_the_model_cannot_read_is_refused(engine, texts, message):
    with pytest.raises(ValueError, match=message):
        engine.logits(texts)


def test_buffers_of_a_wrong_size_are_refused(engine):
    ids, lengths = np.array([2, 3], dtype=np.int32), np.array([2], dtype=np.int32)
    logits, exits, none = np.empty((1, 2), np.float32), np.empty(1, np.int32), np.empty(0, np.float32)
    run = engine._encoder.run
    run(ids, lengths, none, logits, exits)
    for arguments in (
        (ids, lengths[:0], none, logits, exits),
        (ids, lengths, none, logits[:, :1].copy(), exits),
        (ids, lengths, none, logits, exits[:0]),
        (ids, lengths, logits, logits, exits),
        (ids[:1], lengths, none, logits, exits),
    ):
        with pytest.raises(ValueError, match=r"must|do not add up"):
            run(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 96}, "multiple of 64"),
        ({"num_attention_heads": 0}, "multiple of 32"),
        ({"num_attention_heads": 4}, "multiple of 32"),
        ({"num_hidden_layers": 1}, "must follow the last layer"),
        ({"num_hidden_layers": 0}, "out of range"),
        ({"vocab_size": 801}, "but the configuration needs"),
        ({"max_position_embeddings": 1 << 20}, "out of range"),
        ({"intermediate_size": 192}, "but the configuration needs"),
        ({"exit_layers": [2, 2]}, "in order"),
        ({"exit_layers": []}, "1 to 4"),
        ({"exit_layers": [1, 2, 3, 4, 5]}, "head_1"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_file_that_is_no_such_model_is_refused(path, tmp_path, change, message):
    with pytest.raises(ArtifactError, match=rf"(?s)cannot load .*model\.safetensors: .*{message}"):
        NativeEngine(_saved(path, tmp_path, load_file(path), **change))


def test_a_file_with_the_field_names_of_before_the_first_release_is_read(path, tmp_path):
    with safe_open(path, framework="numpy") as file:
        shape = json.loads(file.metadata()[METADATA])
    old_names = ("layers", "hidden", "heads", "expanded", "words", "positions", "epsilon", "after")
    old_shape = dict(zip(old_names, shape.values(), strict=True))
    save_file(load_file(path), tmp_path / "model.safetensors", metadata={METADATA: json.dumps(old_shape)})
    old, new = NativeEngine(tmp_path / "model.safetensors"), NativeEngine(path)
    np.testing.assert_array_equal(old.logits([[2, 5, 3]]), new.logits([[2, 5, 3]]))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 100])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot load"):
        NativeEngine(tmp_path / "model.safetensors")


def test_without_compiled_kernels_it_says_what_to_do(path, monkeypatch):
    monkeypatch.setattr(native_engine, "_native", None)
    assert native_engine.instructions() == []
    with pytest.raises(EngineUnavailableError, match="C compiler, or serve another variant with MODEL_VARIANT"):
        NativeEngine(path)


@pytest.mark.parametrize("name", ["avx1024", "", "AVX2"])
def test_kernels_that_this_processor_cannot_run_are_refused_in_one_sentence(path, name):
    with pytest.raises(EngineUnavailableError, match=rf"no kernels for '{name}'; choose one of: .*portable\.$"):
        NativeEngine(path, instruction_set=name)


def _saved(path, folder, tensors, **change):
    with safe_open(path, framework="numpy") as file:
        shape = Architecture.model_validate_json(file.metadata()[METADATA])
    changed = shape.model_dump() | change
    save_file(tensors, folder / "model.safetensors", metadata={METADATA: json.dumps(changed)})
    return folder / "model.safetensors"
