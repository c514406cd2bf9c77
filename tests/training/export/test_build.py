"""Export and int8: the same scores as torch, and a gate that rejects an int8 model that lost its accuracy."""

import dataclasses
import re
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from safetensors.torch import load, save
from transformers import DistilBertConfig, DistilBertModel

from bert_textclassification.artifact.manifest import Reference
from bert_textclassification.artifact.store import Artifact
from bert_textclassification.engines.select import load_engine
from bert_textclassification.errors import DataError, NonFiniteLogitsError
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.training.evaluation.calibration import probabilities
from bert_textclassification.training.evaluation.inference import evaluate_splits, torch_logits
from bert_textclassification.training.export import build as quantization
from bert_textclassification.training.export import variants
from bert_textclassification.training.export.accuracy_gate import ReferenceDecision, selection_set_of
from bert_textclassification.training.export.build import build_artifact, measure_variant
from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.modeling.fine_tuned import FineTuned
from bert_textclassification.training.modeling.onnx import export_onnx

TEXTS = [[2, 11, 12, 3], [2, 3], [2, *range(20, 60), 3], [2, 7, 3]]


def test_fp32_onnx_gives_the_logits_of_torch(tiny_fine_tuned, tiny_artifact):
    expected = torch_logits(tiny_fine_tuned.model(), TEXTS)
    engine = load_engine(tiny_artifact.model_path("fp32"), tiny_artifact.manifest.variants["fp32"])
    np.testing.assert_allclose(engine.logits(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["fp32", "int8", "int8_onnx"])
def test_a_text_scores_the_same_alone_and_among_others(tiny_artifact, name):
    engine = load_engine(tiny_artifact.model_path(name), tiny_artifact.manifest.variants[name])
    alone = np.concatenate([engine.logits([ids]) for ids in TEXTS])
    np.testing.assert_allclose(engine.logits(TEXTS), alone, atol=1e-6)


def test_int8_is_smaller_and_close_to_fp32(tiny_artifact):
    fp32, int8 = tiny_artifact.manifest.variants["fp32"], tiny_artifact.manifest.variants["int8"]
    assert int8.size_bytes < 0.7 * fp32.size_bytes
    assert int8.agreement["test"] > 0.9
    assert 0 < int8.largest_score_change["test"] < 0.2


def test_measurements_are_those_of_the_engine_that_serves(tiny_artifact, tiny_fine_tuned, tiny_splits):
    evaluated = evaluate_splits(tiny_fine_tuned, tiny_fine_tuned.model(), tiny_splits)
    test, name, variant = evaluated["test"], *tiny_artifact.variant()
    logits = load_engine(tiny_artifact.model_path(name), variant).logits(test.token_ids)
    (scale,) = tiny_artifact.manifest.exit_scales(name)
    scores = probabilities(np.array([scale.log_odds(margin) for margin in logits[:, 1] - logits[:, 0]]))
    thresholds = (
        ReferenceDecision.of(tiny_fine_tuned.config, evaluated).threshold,
        tiny_artifact.manifest.decision.threshold,
    )
    expected = [np.mean((scores >= threshold) == np.array(test.targets)) for threshold in thresholds]
    assert variant.accuracy["test"] == pytest.approx(expected[0])
    assert tiny_artifact.manifest.metrics["test"]["accuracy"]["value"] == pytest.approx(expected[1])


def test_the_reference_is_what_the_server_says_of_the_validation_split(tiny_artifact, tiny_splits):
    predictor = Predictor(tiny_artifact)
    found = predictor.predict(tiny_splits.validation["text"].tolist())
    scores = [one.scores[tiny_splits.labels[1]] for one in found]
    assert tiny_artifact.manifest.reference == Reference.of(scores, [one.tokens for one in found])


def test_the_reference_counts_every_row_of_the_validation_split(tiny_artifact):
    reference, rows = tiny_artifact.manifest.reference, tiny_artifact.manifest.data["validation"].rows
    assert sum(reference.scores.counts) == sum(reference.tokens.counts) == rows == 60


def test_rows_of_the_training_data_are_not_used_for_selection(tiny_fine_tuned, tiny_splits, tmp_path):
    moved = dataclasses.replace(tiny_splits, test=tiny_splits.train.head(60))
    with pytest.raises(DataError, match=r"The data have changed since the model was fine-tuned \(test\).*notebook 02"):
        build_artifact(tiny_fine_tuned, moved, tmp_path)


@pytest.mark.slow
def test_gate_rejects_a_broken_int8_model(tiny_config, tiny_splits, tmp_path, monkeypatch):
    config = tiny_config.model_copy(update={"max_accuracy_loss": 1.0})
    fine_tuned = fine_tune(config, tiny_splits, tmp_path / "fine_tuned")
    whole = variants.write

    def broken(form, models, folder):
        sign = 1 if form.precision == "fp32" else -1
        models.model.head.weight.data *= sign
        path = whole(form, models, folder)
        models.model.head.weight.data *= sign
        return path

    monkeypatch.setattr(quantization, "write", broken)
    artifact = build_artifact(fine_tuned, tiny_splits, tmp_path / "model")
    assert artifact.manifest.default_variant != "int8"
    assert re.search(r"int8 loses [\d.]+ points of accuracy, where 1 are", artifact.manifest.default_reason)
    assert artifact.manifest.default_reason in (tmp_path / "model/model_card.md").read_text()


def test_rows_held_back_from_train_belong_to_the_selection_set(tiny_fine_tuned, tiny_splits):
    held_back = dataclasses.replace(tiny_splits, held_back=tiny_splits.train.head(40))
    evaluated = evaluate_splits(tiny_fine_tuned, tiny_fine_tuned.model(), held_back)
    selection_set = selection_set_of(evaluated)
    assert len(selection_set.targets) == len(selection_set.token_ids) == len(selection_set.reference) == 60 + 40
    assert selection_set.targets[60:] == tiny_splits.targets(held_back.held_back)


def test_gate_accepts_int8_within_the_allowance(tiny_artifact):
    assert tiny_artifact.manifest.default_variant == "int8"
    assert tiny_artifact.manifest.default_reason.startswith("int8 is ")


class Interrupted:
    """Wraps `measure_variant`: counts the calls, and raises KeyboardInterrupt at one of them."""

    def __init__(self, at=None):
        self.calls, self.at = 0, at

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return measure_variant(*arguments)


def interrupt(fine_tuned, splits, folder, monkeypatch):
    monkeypatch.setattr(quantization, "measure_variant", Interrupted(at=2))
    with pytest.raises(KeyboardInterrupt):
        build_artifact(fine_tuned, splits, folder)


def test_interrupted_build_leaves_no_artifact(tiny_fine_tuned, tiny_splits, tmp_path, monkeypatch):
    build_artifact(tiny_fine_tuned, tiny_splits, tmp_path)
    interrupt(tiny_fine_tuned, tiny_splits, tmp_path, monkeypatch)
    with pytest.raises(Exception, match="not a finished model artifact"):
        Artifact.load(tmp_path)


def test_interrupted_build_goes_on_where_it_stopped(tiny_fine_tuned, tiny_splits, tiny_artifact, tmp_path, monkeypatch):
    interrupt(tiny_fine_tuned, tiny_splits, tmp_path, monkeypatch)
    counted = Interrupted()
    monkeypatch.setattr(quantization, "measure_variant", counted)
    artifact = build_artifact(tiny_fine_tuned, tiny_splits, tmp_path)
    assert counted.calls == len(artifact.manifest.variants) - 1
    for name, found in artifact.manifest.variants.items():
        assert found.accuracy == tiny_artifact.manifest.variants[name].accuracy
    assert not list(tmp_path.glob("*unfinished*")) + list(tmp_path.glob("*.partial"))


@pytest.mark.slow
def test_what_was_measured_of_another_model_is_not_taken_over(
    tiny_fine_tuned, tiny_config, tiny_splits, tmp_path, monkeypatch
):
    interrupt(tiny_fine_tuned, tiny_splits, tmp_path / "model", monkeypatch)
    other = fine_tune(tiny_config.model_copy(update={"seed": 1, "epochs": 1}), tiny_splits, tmp_path / "other")
    counted = Interrupted()
    monkeypatch.setattr(quantization, "measure_variant", counted)
    artifact = build_artifact(other, tiny_splits, tmp_path / "model")
    assert counted.calls == len(artifact.manifest.variants)
    engine = load_engine(artifact.model_path("fp32"), artifact.manifest.variants["fp32"])
    np.testing.assert_allclose(engine.logits(TEXTS), torch_logits(other.model(), TEXTS), atol=1e-5)


@pytest.mark.slow
def test_another_architecture_goes_the_whole_way(tiny_base, tiny_config, tiny_splits, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_base / name, tmp_path)
    sizes = {"dim": 64, "n_layers": 1, "n_heads": 2, "hidden_dim": 128}
    DistilBertModel(DistilBertConfig(vocab_size=800, **sizes)).save_pretrained(tmp_path)
    config = tiny_config.model_copy(update={"base_model": str(tmp_path), "epochs": 1})
    fine_tuned = fine_tune(config, tiny_splits, tmp_path / "fine_tuned")
    artifact = build_artifact(fine_tuned, tiny_splits, tmp_path / "model")
    assert artifact.manifest.variants["fp32"].agreement["test"] == 1.0
    assert artifact.manifest.variants["fp32"].largest_score_change["test"] < 1e-5
    assert artifact.manifest.variants["int8"].largest_score_change["test"] < 0.05


# -- the given model is not changed


@pytest.mark.parametrize("training", [True, False])
def test_export_leaves_every_module_in_its_mode(tiny_fine_tuned, tmp_path, training):
    model = tiny_fine_tuned.model().train(training)
    model.dropout.train(not training)
    before = {name: module.training for name, module in model.named_modules()}
    export_onnx(model, tmp_path / "model.onnx")
    assert {name: module.training for name, module in model.named_modules()} == before


# -- logits that are not finite numbers


def test_a_variant_that_overflows_is_not_built_and_says_why(tiny_fine_tuned, tiny_splits, tmp_path, monkeypatch):
    whole = variants.write

    def overflowing(form, models, folder):
        path = whole(form, models, folder)
        if form.file == "int8.onnx":
            _scale_the_last_layer(path)
        return path

    monkeypatch.setattr(quantization, "write", overflowing)
    artifact = build_artifact(tiny_fine_tuned, tiny_splits, tmp_path)
    assert set(artifact.manifest.variants) == {"fp32", "int8"}
    assert (
        artifact.manifest.not_built["int8_onnx"] == "The arithmetic of int8_onnx overflows: some texts have no score."
    )
    assert not (tmp_path / "int8.onnx").exists()


@pytest.mark.parametrize("number", [np.nan, np.inf, 3e38])
def test_a_model_with_logits_that_are_not_finite_is_rejected(tiny_fine_tuned, tiny_splits, tmp_path, number):
    folder = shutil.copytree(tiny_fine_tuned.folder, tmp_path / "fine_tuned")
    path = folder / "model.safetensors"
    weights = load(path.read_bytes())
    weights["head.weight"][:] = number
    path.write_bytes(save(weights))
    with pytest.raises(NonFiniteLogitsError, match=r"Training has diverged: .*; lower learning_rate") as problem:
        build_artifact(FineTuned.load(folder), tiny_splits, tmp_path / "model")
    assert re.fullmatch(r"[^.\n]+\.", str(problem.value))
    assert not (tmp_path / "model/manifest.json").exists()


def _scale_the_last_layer(path):
    """Make the logits of an ONNX file overflow: set the scale of its last weight to the largest number."""
    model = onnx.load(path)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    node = next(one for one in reversed(model.graph.node) if one.op_type == "Add" and set(one.input) & set(weights))
    name = next(iter(set(node.input) & set(weights)))
    weights[name].CopyFrom(numpy_helper.from_array(np.full(2, np.inf, dtype=np.float32), name))
    onnx.save(model, path)


# -- int8 of ONNX Runtime is exact on every processor


def test_products_of_int8_onnx_are_exact_here(tiny_artifact):
    """Sums of two products that leave 16 bits saturate in the kernels of AVX2 for u8 times s8."""
    engine = tiny_artifact.model_path("int8_onnx")
    for node, weight, zero in integer_products(engine):
        texts = np.random.default_rng(0).integers(0, 256, (9, weight.shape[0]), dtype=np.uint8)
        texts[0] = 255
        for point in (0, 128, 255):
            expected = (texts.astype(np.int32) - point) @ (weight.astype(np.int32) - zero.astype(np.int32))
            np.testing.assert_array_equal(product(node, texts, point, weight, zero), expected)


def test_products_of_int8_onnx_fit_16_bits_on_every_processor(tiny_artifact):
    """A kernel may add two products of a byte and a weight in 16 bits, unless both are unsigned."""
    found = list(integer_products(tiny_artifact.model_path("int8_onnx")))
    assert len(found) == 2 * 6 + 1
    for _, weight, _ in found:
        assert weight.dtype == np.uint8 or 2 * 255 * np.abs(weight.astype(int)).max() < 2**15


def integer_products(path):
    """Yield each MatMulInteger of an ONNX file, its weights [inputs, outputs], and their zero points."""
    graph = onnx.load(path).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMulInteger" and node.input[1] in tensors:
            yield node, tensors[node.input[1]], tensors[node.input[3]]


def product(node, texts, point, weight, zero):
    """Return the result of ONNX Runtime for one such product with constant weights."""
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMulInteger", ["texts", "weight", "point", "zero"], ["sums"])],
        "product",
        [onnx.helper.make_tensor_value_info("texts", onnx.TensorProto.UINT8, texts.shape)],
        [onnx.helper.make_tensor_value_info("sums", onnx.TensorProto.INT32, None)],
        [
            numpy_helper.from_array(np.array(point, dtype=np.uint8), "point"),
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(zero, "zero"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"texts": texts})[0]
