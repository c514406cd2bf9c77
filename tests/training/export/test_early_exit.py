"""The early exit, from training to the reply: its thresholds, what it changes and what it does not change."""

import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.engines.native import engine as native_engine
from bert_textclassification.engines.native.engine import NativeEngine, read_architecture
from bert_textclassification.engines.select import load_engine
from bert_textclassification.errors import ArtifactError, ConfigurationError
from bert_textclassification.serving import variant_choice
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.evaluation.all_cores import run_on_all_cores
from bert_textclassification.training.evaluation.calibration import (
    LogOdds,
    calibration_error,
    fit_scale,
    log_loss,
    probabilities,
)
from bert_textclassification.training.evaluation.inference import encode, evaluate_splits, torch_logits
from bert_textclassification.training.export.accuracy_gate import (
    average_precision_loss,
    keeps_within,
    log_loss_increase,
)
from bert_textclassification.training.export.build import build_artifact, variants_table
from bert_textclassification.training.export.early_exit import (
    choose_exits,
    exits_taken,
    fit_scales,
    raised_thresholds,
    smallest_thresholds,
)
from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.modeling.base_models import find_base_model
from bert_textclassification.training.modeling.classifier import layers_of_exits

needs_kernels = pytest.mark.skipif(not native_engine.instructions(), reason="the native engine is not compiled here")


def logits(margins):
    return np.array([[0.0, margin] for margin in margins], dtype=np.float32)


def margins_of(targets, early, last, max_loss):
    """Return the thresholds of exits whose logits are already calibrated."""
    labels = [one[:, 1] >= 0 for one in (*early, last)]
    return smallest_thresholds(targets, [np.abs(one[:, 1]) for one in early], labels, max_loss)


def smallest_threshold(targets, early, last, max_loss):
    """Return the threshold of a single exit."""
    return margins_of(targets, [early], last, max_loss)[0]


ROWS = st.lists(st.tuples(st.booleans(), st.integers(-8, 8), st.integers(-8, 8)), min_size=1, max_size=40)


def test_an_exit_that_is_never_wrong_answers_everything():
    early = logits([3, -2, 0.5])
    assert smallest_threshold([1, 0, 1], early, early, max_loss=0) < 0.5


def test_an_exit_answers_only_what_is_clearer_than_its_mistakes():
    early, last = logits([3, 2, -1, 0.5]), logits([1, 1, 1, 1])
    assert smallest_threshold([1, 1, 1, 1], early, last, max_loss=0) == 1.5
    assert smallest_threshold([1, 1, 1, 1], early, last, max_loss=25) < 0.5


def test_an_exit_that_is_most_confident_where_it_is_wrong_answers_nothing():
    assert smallest_threshold([1, 1], logits([-3, 1]), logits([1, 1]), max_loss=0) == math.inf


@given(rows=ROWS, max_loss=st.sampled_from([0, 5, 20, 100]))
def test_the_margin_keeps_the_budget_and_a_smaller_one_would_not(rows, max_loss):
    targets = [int(row[0]) for row in rows]
    early, last = logits([row[1] for row in rows]), logits([row[2] for row in rows])
    margin = smallest_threshold(targets, early, last, max_loss)
    sizes = np.abs(early[:, 1])

    def lost(least):
        wrong = ((early[:, 1] >= 0) != targets) & ((last[:, 1] >= 0) == targets) & (sizes >= least)
        return 100 * wrong.sum() / len(rows)

    assert lost(margin) <= max_loss
    smaller = sizes[sizes < margin]
    assert not len(smaller) or lost(smaller.max()) > max_loss


def test_each_exit_answers_what_those_before_it_leave():
    first, second, last = logits([5, 1, 1, 1]), logits([-9, 5, -0.5, 1]), logits([1, 1, 1, 1])
    margins = margins_of([1, 1, 1, 1], [first, second], last, max_loss=0)
    assert margins[0] < 1  # never wrong: all texts exit here, and none reach the second exit
    wrong = logits([5, -1, 1, 0.5])
    margins = margins_of([1, 1, 1, 1], [wrong, second], last, max_loss=0)
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
    for exit_logits, margin in reversed(list(zip(early, margins_of(targets, early, last, max_loss), strict=True))):
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
def test_exits_that_are_not_in_order_before_the_last_layer_are_rejected(setting):
    with pytest.raises(
        ConfigurationError, match=f"exit_layers '{setting}' must be layers in ascending order, before the last of the 6"
    ):
        layers_of_exits(setting, 6)


@pytest.mark.parametrize("setting", ["some", "1,2,3,4", "-1", ""])
def test_a_value_without_layers_is_rejected(tiny_config, setting):
    with pytest.raises(ConfigurationError, match="exit_layers="):
        TrainingConfig.of(tiny_config.model_dump() | {"exit_layers": setting})


def test_one_exit_may_be_a_number(tiny_config):
    assert TrainingConfig.of(tiny_config.model_dump() | {"exit_layers": 3}).exit_layers == "3"


@pytest.fixture(scope="module")
def early_fine_tuned(tiny_config, tiny_splits, tmp_path_factory):
    config = tiny_config.model_copy(update={"exit_layers": "1", "early_exit_budget": 5.0})
    return fine_tune(config, tiny_splits, tmp_path_factory.mktemp("early-fine-tuned"))


@pytest.fixture(scope="module")
def early_artifact(early_fine_tuned, tiny_splits, tmp_path_factory):
    return build_artifact(early_fine_tuned, tiny_splits, tmp_path_factory.mktemp("early-model"))


def test_the_exit_is_trained_together_with_the_last_layer(early_fine_tuned, tiny_splits):
    model = early_fine_tuned.model()
    assert model.exit_layers == (1,)
    losses = [row["loss"] for row in early_fine_tuned.history if "loss" in row]
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])
    assert model.early_heads[0].weight.abs().max() > 0.05  # it started from a normal distribution of 0.02


def test_an_exit_after_the_last_layer_is_rejected(tiny_base):
    with pytest.raises(
        ConfigurationError, match="exit_layers '2' must be layers in ascending order, before the last of the 2"
    ):
        find_base_model(str(tiny_base)).classifier(0.1, exit_layers="2")


@needs_kernels
def test_a_text_is_answered_by_the_exit_or_by_the_last_layer(early_artifact, early_fine_tuned):
    path, model = early_artifact.model_path("int8_early"), early_fine_tuned.model()
    texts = [[2, *range(10, 10 + length), 3] for length in range(1, 50)]
    early, last = NativeEngine(path, exit_thresholds=(0.0,)).run(texts), NativeEngine(path).run(texts)
    assert set(early.layers) == {1}
    assert last.layers is None
    np.testing.assert_allclose(last.logits, torch_logits(model, texts), atol=0.2)
    margin = float(np.median(np.abs(early.logits[:, 1] - early.logits[:, 0])))
    some = NativeEngine(path, exit_thresholds=(margin,)).run(texts)
    expected = np.abs(early.logits[:, 1] - early.logits[:, 0]) >= np.float32(margin)
    np.testing.assert_array_equal(some.layers == 1, expected)
    np.testing.assert_array_equal(some.logits, np.where(expected[:, None], early.logits, last.logits))


@needs_kernels
def test_a_text_leaves_at_the_same_layer_alone_and_in_any_company(early_artifact):
    engine = NativeEngine(early_artifact.model_path("int8_early"), exit_thresholds=(0.5,))
    texts = [[2, *range(10, 10 + length), 3] for length in range(1, 50)]
    together = engine.run(texts)
    for index, text in enumerate(texts):
        alone = engine.run([text])
        np.testing.assert_array_equal(alone.logits[0], together.logits[index])
        assert alone.layers[0] == together.layers[index]


@needs_kernels
def test_on_all_cores_texts_leave_where_they_do_one_after_another(early_artifact):
    engine = NativeEngine(early_artifact.model_path("int8_early"), exit_thresholds=(0.5,))
    texts = [[2, *range(10, 10 + length), 3] for length in range(1, 50)]
    for one, other in zip(run_on_all_cores(engine, texts), engine.run(texts), strict=True):
        np.testing.assert_array_equal(one, other)


@needs_kernels
def test_the_manifest_says_how_deep_texts_went_and_keeps_the_budget(early_artifact, early_fine_tuned, tiny_splits):
    whole, early = (early_artifact.manifest.variants[name] for name in ("int8", "int8_early"))
    # Whether any of so few texts exit early depends on chance; the reported fields do not.
    texts = tiny_splits.validation["text"].tolist()
    token_ids = encode(early_fine_tuned.tokenizer(), texts, early_fine_tuned.config.max_length)
    layers = (
        NativeEngine(early_artifact.model_path("int8_early"), exit_thresholds=early.exit_margins).run(token_ids).layers
    )
    assert early.mean_layers["validation"] == pytest.approx(np.mean(layers))
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


# -- one scale of scores for all exits


def two_exits(rows=3000, seed=0):
    """Return targets and the logits of an early exit that is overconfident and ranks worse, and of a last layer."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(0, 3, rows)
    targets = (rng.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(int)
    return targets, [logits(3 * np.tanh(log_odds + rng.normal(0, 1.5, rows))), logits(log_odds / 2)]


def chosen(targets, found, keeps=lambda log_odds: True, max_loss=2.0, with_offset=False):
    return choose_exits(targets, found, 0.5, max_loss, keeps, with_offset)


def test_texts_are_calibrated_wherever_they_left():
    (targets, found), (fresh, fresh_found) = two_exits(), two_exits(seed=1)
    exits = chosen(targets, found)
    raw = [one[:, 1].astype(float) for one in fresh_found]
    left = exits_taken([np.abs(raw[0])], exits.exit_thresholds)
    for number, scale in enumerate(exits.scales):
        rows = left == number
        assert rows.mean() > 0.1
        assert calibration_error(fresh[rows], probabilities(scale.log_odds(raw[number][rows]))) < 0.05
    mixed = np.choose(left, raw)
    of_one_temperature = fit_scale(fresh, mixed).log_odds(mixed)
    served = np.choose(left, [scale.log_odds(one) for scale, one in zip(exits.scales, raw, strict=True)])
    assert log_loss(fresh, served) < log_loss(fresh, of_one_temperature) - 0.005


def test_the_last_layer_has_the_scale_that_it_has_without_early_exits():
    targets, found = two_exits()
    assert chosen(targets, found).scales[-1] == fit_scale(targets, found[1][:, 1].astype(float))


def test_more_texts_leave_as_long_as_what_must_be_kept_is_kept():
    targets, found = two_exits()
    confidences, asked = np.abs(found[0][:, 1]), []

    def share(exits):
        return np.mean(confidences >= exits.exit_thresholds[0])

    def fails_once(log_odds):
        asked.append(log_odds)
        return len(asked) != 4

    most, fewer = chosen(targets, found), chosen(targets, found, fails_once)
    none = chosen(targets, found, keeps=lambda log_odds: False)
    assert share(most) > share(fewer) > share(none) == 0
    assert share(fewer) == pytest.approx(0.15 * share(most), abs=0.01)
    assert none.scales[-1] == most.scales[-1]


def test_an_exit_that_ranks_its_clear_texts_wrongly_may_not_answer_as_many():
    targets, found = two_exits()
    reference = fit_scale(targets, found[1][:, 1].astype(float)).log_odds(found[1][:, 1].astype(float))
    config = TrainingConfig.of({"data": "x"})
    kept = chosen(targets, found, lambda log_odds: keeps_within(targets, reference, log_odds, config))
    assert kept.exit_thresholds[0] > chosen(targets, found).exit_thresholds[0]
    left = exits_taken([np.abs(found[0][:, 1])], kept.exit_thresholds)
    served = np.choose(left, [scale.log_odds(one[:, 1]) for scale, one in zip(kept.scales, found, strict=True)])
    assert average_precision_loss(targets, reference, served).value <= config.max_average_precision_loss
    assert log_loss_increase(targets, reference, served).value <= config.max_log_loss_increase


@pytest.mark.parametrize("leaving", [0, 1, 3])
def test_an_exit_that_few_texts_take_is_not_overconfident(leaving):
    confidence = np.append(np.full(leaving, 9.0), np.full(40, 0.1))
    targets = np.append(np.ones(leaving), np.arange(40) % 2).astype(int)
    index = np.append(np.zeros(leaving), np.ones(40)).astype(int)
    early, _ = fit_scales(targets, [confidence, confidence], index, with_offset=True)
    assert probabilities(early.log_odds(np.array([9.0])))[0] < 0.99


def test_several_exits_share_the_rows():
    confidences = [np.array([5.0, 1, 1, 1]), np.array([9.0, 5, 0.5, 1])]
    assert exits_taken(confidences, (2, 1)).tolist() == [0, 1, 2, 1]
    assert exits_taken(confidences, (math.inf, math.inf)).tolist() == [2, 2, 2, 2]
    assert raised_thresholds(confidences, (2, 1), 1.0) == (2, 1)
    assert raised_thresholds(confidences, (2, 1), 0) == (math.inf, math.inf)
    assert raised_thresholds(confidences, (math.inf, 1), 0.5)[0] == math.inf


@pytest.fixture(scope="module")
def scaled_artifact(early_artifact, tmp_path_factory):
    """An artifact where half of the texts exit early and each exit has its own scale."""
    folder = tmp_path_factory.mktemp("scaled") / "model"
    shutil.copytree(early_artifact.folder, folder)
    predictor = Predictor(early_artifact, "int8_early")
    token_ids = [text.ids for text in predictor.tokenise(TEXTS)]
    early = NativeEngine(early_artifact.model_path("int8_early"), exit_thresholds=(0.0,)).logits(token_ids)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["variants"]["int8_early"] |= {
        "exit_margins": [float(np.median(np.abs(early[:, 1] - early[:, 0])))],
        "exit_scales": [{"temperature": 3.0, "offset": 1.0}, {"temperature": 0.5, "offset": -0.25}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Artifact.load(folder)


LIFT, SHOP, BOTH = "my mother is stuck in the lift", "where is your shop?", "the heating is off and the rent is due "
TEXTS = [LIFT, SHOP, "they came", "my boiler is leaking gas", "thank you", "please call me back", "hello", BOTH]


@needs_kernels
def test_the_server_scores_a_text_by_the_scale_of_the_exit_where_it_left(scaled_artifact):
    found = Predictor(scaled_artifact, "int8_early").predict(TEXTS)
    assert {one.layers for one in found} == {1, 2}
    positive = scaled_artifact.manifest.labels[1]
    for one in found:
        temperature, offset = {1: (3.0, 1.0), 2: (0.5, -0.25)}[one.layers]
        log_odds = (one.logits[1] - one.logits[0]) / temperature + offset
        assert one.scores[positive] == pytest.approx(1 / (1 + np.exp(-log_odds)), abs=1e-9)


@needs_kernels
def test_training_scores_as_the_server_does(scaled_artifact, early_fine_tuned, tiny_splits):
    variant = scaled_artifact.manifest.variants["int8_early"]
    test = evaluate_splits(early_fine_tuned, early_fine_tuned.model(), tiny_splits)["test"]
    outputs = load_engine(scaled_artifact.model_path("int8_early"), variant).run(test.token_ids)
    expected = LogOdds.of(outputs, variant.exit_scales).scores
    served = Predictor(scaled_artifact, "int8_early").predict(tiny_splits.test["text"].tolist())
    scores = [one.scores[scaled_artifact.manifest.labels[1]] for one in served]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


@needs_kernels
def test_windows_that_leave_at_different_exits_are_pooled_on_the_calibrated_scale(scaled_artifact):
    predictor = Predictor(scaled_artifact, "int8_early")
    text, positive = " ".join(TEXTS) * 8, scaled_artifact.manifest.labels[1]
    (windows,) = predictor.tokenise([text], windows=True)
    variant = scaled_artifact.manifest.variants["int8_early"]
    outputs = load_engine(scaled_artifact.model_path("int8_early"), variant).run(windows.windows)
    log_odds = LogOdds.of(outputs, variant.exit_scales).calibrated
    lengths = [len(ids) for ids in windows.windows]
    (found,) = predictor.predict([text], truncation="windows")
    expected = 1 / (1 + np.exp(-np.average(log_odds, weights=lengths)))
    assert found.scores[positive] == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(found.logits, np.average(outputs.logits, axis=0, weights=lengths), atol=1e-6)
    (again,) = Predictor(scaled_artifact, "int8_early", cache_size=9).predict([text], truncation="windows")
    assert again == found


@needs_kernels
def test_an_older_artifact_has_one_temperature_for_all_exits(scaled_artifact, tmp_path):
    folder = shutil.copytree(scaled_artifact.folder, tmp_path / "model")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["variants"]["int8_early"]["exit_scales"]
    manifest["variants"]["int8_early"]["temperature"] = 2.5
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = Predictor(Artifact.load(folder), "int8_early").predict(TEXTS)
    assert {one.layers for one in found} == {1, 2}
    for one in found:
        expected = 1 / (1 + np.exp(-(one.logits[1] - one.logits[0]) / 2.5))
        assert one.scores[scaled_artifact.manifest.labels[1]] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scales", [[{"temperature": 1.0}], [{"temperature": 1.0}] * 3])
def test_a_manifest_with_more_or_fewer_scales_than_exits_is_rejected(scaled_artifact, tmp_path, scales):
    folder = shutil.copytree(scaled_artifact.folder, tmp_path / "model")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["variants"]["int8_early"]["exit_scales"] = scales
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="2 exits, including the last layer, need 2 exit_scales"):
        Artifact.load(folder)


@needs_kernels
def test_the_manifest_has_ranking_and_calibration_of_every_variant_beside_those_of_fp32(early_artifact):
    for variant in early_artifact.manifest.variants.values():
        for figures in (variant.average_precision, variant.log_loss, variant.calibration_error):
            assert {"validation", "test"} <= set(figures)
        assert variant.average_precision_loss.low <= variant.average_precision_loss.high
        assert variant.milliseconds_low <= variant.milliseconds <= variant.milliseconds_high
        assert len(variant.exit_scales) == len(variant.exit_margins) + 1
    assert early_artifact.manifest.variants["fp32"].log_loss_increase.value == pytest.approx(0, abs=1e-5)
    assert "average_precision (test)" in variants_table(early_artifact).index


def test_an_early_exit_counts_for_the_layers_that_validation_took(early_artifact, monkeypatch):
    monkeypatch.setattr(variant_choice, "_seconds", lambda engine, longest: 0.004)
    variant = early_artifact.manifest.variants["int8_early"]
    layers = read_architecture(early_artifact.model_path("int8_early")).num_hidden_layers
    share = variant.mean_layers["validation"] / layers
    assert 0 < share <= 1
    assert variant_choice.milliseconds(early_artifact, "int8") == pytest.approx(1.0)
    assert variant_choice.milliseconds(early_artifact, "int8_early") == pytest.approx(share)
