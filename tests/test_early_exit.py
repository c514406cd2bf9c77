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
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.early_exit import smallest_margins
from bert_textclassification.training.fine_tuning import fine_tune, torch_logits
from bert_textclassification.training.model import find_base_model, layers_of_exits
from bert_textclassification.training.quantization import build_artifact

needs_kernels = pytest.mark.skipif(not native_engine.instructions(), reason="the native engine is not compiled here")


def logits(margins):
    return np.array([[0.0, margin] for margin in margins], dtype=np.float32)


def smallest_margin(targets, early, last, max_loss):
    """Return the margin of a single exit."""
    return smallest_margins(targets, [early], last, max_loss)[0]


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


def test_each_exit_answers_what_those_before_it_leave():
    first, second, last = logits([5, 1, 1, 1]), logits([-9, 5, -0.5, 1]), logits([1, 1, 1, 1])
    margins = smallest_margins([1, 1, 1, 1], [first, second], last, max_loss=0)
    assert margins[0] < 1  # never wrong: it answers everything, and nothing is left to the second
    wrong = logits([5, -1, 1, 0.5])
    margins = smallest_margins([1, 1, 1, 1], [wrong, second], last, max_loss=0)
    assert margins[0] == 3
    assert 0.5 < margins[1] <= 5  # its mistake at 9 was answered before


@given(
    rows=ROWS, max_loss=st.sampled_from([0, 5, 20, 100]), others=st.lists(st.integers(-8, 8), min_size=40, max_size=40)
)
def test_all_exits_together_keep_the_budget(rows, max_loss, others):
    targets = np.array([int(row[0]) for row in rows])
    early = [logits([row[1] for row in rows]), logits(others[: len(rows)])]
    last = logits([row[2] for row in rows])
    found = last.copy()
    for exit_logits, margin in reversed(
        list(zip(early, smallest_margins(targets, early, last, max_loss), strict=True))
    ):
        answers = np.abs(exit_logits[:, 1]) >= margin
        found = np.where(answers[:, None], exit_logits, found)
    lost = ((found[:, 1] >= 0) != targets) & ((last[:, 1] >= 0) == targets)
    assert 100 * lost.sum() / len(rows) <= max_loss + 1e-9


@pytest.mark.parametrize(
    ("setting", "layers", "expected"),
    [
        ("none", 6, ()),
        ("auto", 6, (3,)),
        ("auto", 12, (6,)),
        ("auto", 2, (1,)),
        ("auto", 1, ()),
        ("2,5", 6, (2, 5)),
    ],
)
def test_exits_are_layers_or_chosen_by_depth(setting, layers, expected):
    assert layers_of_exits(setting, layers) == expected


@pytest.mark.parametrize("setting", ["6", "3,2", "2,2", "0"])
def test_exits_that_are_not_in_order_before_the_last_layer_are_refused(setting):
    with pytest.raises(
        ConfigurationError, match=f"exit_layers '{setting}' must be layers in order, before the last of the 6"
    ):
        layers_of_exits(setting, 6)


@pytest.mark.parametrize("setting", ["some", "1,2,3,4", "-1", ""])
def test_what_names_no_layers_is_refused(tiny_config, setting):
    with pytest.raises(ConfigurationError, match="exit_layers="):
        TrainingConfig.of(tiny_config.model_dump() | {"exit_layers": setting})


def test_one_exit_may_be_a_number(tiny_config):
    assert TrainingConfig.of(tiny_config.model_dump() | {"exit_layers": 3}).exit_layers == "3"


@pytest.fixture(scope="module")
def early_fine_tuned(tiny_config, tiny_splits, tmp_path_factory):
    config = tiny_config.model_copy(update={"exit_layers": "1", "max_exit_loss": 5.0})
    return fine_tune(config, tiny_splits, tmp_path_factory.mktemp("early-fine-tuned"))


@pytest.fixture(scope="module")
def early_artifact(early_fine_tuned, tiny_splits, tmp_path_factory):
    return build_artifact(early_fine_tuned, tiny_splits, tmp_path_factory.mktemp("early-model"))


def test_the_exit_is_trained_together_with_the_last_layer(early_fine_tuned, tiny_splits):
    model = early_fine_tuned.model()
    assert model.exit_layers == (1,)
    assert early_fine_tuned.facts["best_metric"] > 0.7
    assert model.early_heads[0].weight.abs().max() > 0.05  # it started from a normal distribution of 0.02


def test_an_exit_behind_the_last_layer_is_refused(tiny_base):
    with pytest.raises(ConfigurationError, match="exit_layers '2' must be layers in order, before the last of the 2"):
        find_base_model(str(tiny_base)).classifier(0.1, exit_layers="2")


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
def test_the_manifest_says_how_deep_texts_went_and_keeps_the_budget(early_artifact):
    whole, early = (early_artifact.manifest.variants[name] for name in ("int8", "int8_early"))
    assert 1 <= early.mean_layers["validation"] < 2
    assert whole.mean_layers == {}
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
    assert "trained without early exits" in tiny_artifact.manifest.not_built["int8_early"]
