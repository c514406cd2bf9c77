"""The early exit: how sure it must be, what it changes and what it does not, from training to the reply."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.serving import native_engine
from bert_textclassification.serving.native_engine import NativeEngine
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.training.early_exit import smallest_margin
from bert_textclassification.training.fine_tuning import fine_tune, torch_logits
from bert_textclassification.training.model import find_base_model
from bert_textclassification.training.quantization import build_artifact

needs_kernels = pytest.mark.skipif(not native_engine.instructions(), reason="the native engine is not compiled here")


def logits(margins):
    return np.array([[0.0, margin] for margin in margins], dtype=np.float32)


ROWS = st.lists(st.tuples(st.booleans(), st.integers(-8, 8), st.integers(-8, 8)), min_size=1, max_size=40)


def test_an_exit_that_is_never_wrong_answers_everything():
    early = logits([3, -2, 0.5])
    assert smallest_margin([1, 0, 1], early, early, max_loss=0) < 0.5


def test_an_exit_answers_only_what_is_clearer_than_its_mistakes():
    early, last = logits([3, 2, -1, 0.5]), logits([1, 1, 1, 1])
    assert smallest_margin([1, 1, 1, 1], early, last, max_loss=0) == 1.5
    assert smallest_margin([1, 1, 1, 1], early, last, max_loss=25) < 0.5


def test_an_exit_that_is_surest_where_it_is_wrong_answers_nothing():
    assert smallest_margin([1, 1], logits([-3, 1]), logits([1, 1]), max_loss=0) == math.inf


@given(rows=ROWS, max_loss=st.sampled_from([0, 5, 20, 100]))
def test_the_margin_keeps_the_budget_and_a_smaller_one_would_not(rows, max_loss):
    targets = [int(row[0]) for row in rows]
    early, last = logits([row[1] for row in rows]), logits([row[2] for row in rows])
    margin = smallest_margin(targets, early, last, max_loss)
    sizes = np.abs(early[:, 1])

    def lost(least):
        wrong = ((early[:, 1] >= 0) != targets) & ((last[:, 1] >= 0) == targets) & (sizes >= least)
        return 100 * wrong.sum() / len(rows)

    assert lost(margin) <= max_loss
    smaller = sizes[sizes < margin]
    assert not len(smaller) or lost(smaller.max()) > max_loss


@pytest.fixture(scope="module")
def early_fine_tuned(tiny_config, tiny_splits, tmp_path_factory):
    config = tiny_config.model_copy(update={"exit_layer": 1, "max_exit_loss": 5.0})
    return fine_tune(config, tiny_splits, tmp_path_factory.mktemp("early-fine-tuned"))


@pytest.fixture(scope="module")
def early_artifact(early_fine_tuned, tiny_splits, tmp_path_factory):
    return build_artifact(early_fine_tuned, tiny_splits, tmp_path_factory.mktemp("early-model"))


def test_the_exit_is_trained_together_with_the_last_layer(early_fine_tuned, tiny_splits):
    model = early_fine_tuned.model()
    assert model.exit_layer == 1
    assert early_fine_tuned.facts["best_metric"] > 0.7
    assert model.early_head.weight.abs().max() > 0.05  # it started from a normal distribution of 0.02


def test_an_exit_behind_the_last_layer_is_refused(tiny_base):
    with pytest.raises(ConfigurationError, match="exit_layer 2 must lie before the last of the 2 layers"):
        find_base_model(str(tiny_base)).classifier(0.1, exit_layer=2)


@needs_kernels
def test_a_text_is_answered_by_the_exit_or_by_the_last_layer(early_artifact, early_fine_tuned):
    path, model = early_artifact.model_path("int8_early"), early_fine_tuned.model()
    texts = [[2, *range(10, 10 + length), 3] for length in range(1, 50)]
    early, last = NativeEngine(path, margins=(0.0,)).run(texts), NativeEngine(path).run(texts)
    assert set(early.layers) == {1}
    assert last.layers is None
    np.testing.assert_allclose(last.logits, torch_logits(model, texts), atol=0.2)
    margin = float(np.median(np.abs(early.logits[:, 1] - early.logits[:, 0])))
    some = NativeEngine(path, margins=(margin,)).run(texts)
    expected = np.abs(early.logits[:, 1] - early.logits[:, 0]) >= np.float32(margin)
    np.testing.assert_array_equal(some.layers == 1, expected)
    np.testing.assert_array_equal(some.logits, np.where(expected[:, None], early.logits, last.logits))


@needs_kernels
def test_a_text_leaves_at_the_same_layer_alone_and_in_any_company(early_artifact):
    engine = NativeEngine(early_artifact.model_path("int8_early"), margins=(0.5,))
    texts = [[2, *range(10, 10 + length), 3] for length in range(1, 50)]
    together = engine.run(texts)
    for index, text in enumerate(texts):
        alone = engine.run([text])
        np.testing.assert_array_equal(alone.logits[0], together.logits[index])
        assert alone.layers[0] == together.layers[index]


@needs_kernels
def test_the_manifest_says_how_many_left_early_and_keeps_the_budget(early_artifact):
    whole, early = (early_artifact.manifest.variants[name] for name in ("int8", "int8_early"))
    assert 0 < early.early_share["validation"] <= 1
    assert early.accuracy["validation"] >= whole.accuracy["validation"] - 0.05
    assert early.file == whole.file


@needs_kernels
def test_a_reply_says_how_many_layers_a_text_took(early_artifact):
    texts = ["my boiler is leaking gas", "where is your shop?", "they came", "my mother is stuck in the lift"]
    found = Predictor(early_artifact, "int8_early").predict(texts)
    assert {one.layers for one in found} <= {1, 2}
    assert [one.layers for one in Predictor(early_artifact, "int8").predict(texts)] == [None] * 4


def test_without_an_exit_there_is_no_such_variant_and_the_manifest_says_why(tiny_artifact):
    assert "int8_early" not in tiny_artifact.manifest.variants
    assert "trained without an early exit" in tiny_artifact.manifest.not_built["int8_early"]
