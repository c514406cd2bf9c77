"""Export and int8: the same answers as torch, and a gate that refuses an int8 model that lost its accuracy."""

import re
import shutil

import numpy as np
import pytest
from transformers import DistilBertConfig, DistilBertModel

from bert_textclassification.artifact import Artifact, Reference
from bert_textclassification.serving.engine import load_engine
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.training import quantization
from bert_textclassification.training.fine_tuning import evaluate_splits, fine_tune, torch_logits
from bert_textclassification.training.quantization import build_artifact

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
    test = evaluate_splits(tiny_fine_tuned, tiny_fine_tuned.model(), tiny_splits)["test"]
    name, variant = tiny_artifact.variant()
    logits = load_engine(tiny_artifact.model_path(name), variant).logits(test.token_ids)
    expected = np.mean((logits[:, 1] >= logits[:, 0]) == np.array(test.targets))
    assert variant.accuracy["test"] == pytest.approx(expected)
    assert tiny_artifact.manifest.metrics["test"]["accuracy"]["value"] == pytest.approx(expected)


def test_the_reference_is_what_the_server_says_of_the_validation_split(tiny_artifact, tiny_splits):
    predictor = Predictor(tiny_artifact)
    found = predictor.predict(tiny_splits.validation["text"].tolist())
    scores = [one.scores[tiny_splits.labels[1]] for one in found]
    assert tiny_artifact.manifest.reference == Reference.of(scores, [one.tokens for one in found])


def test_the_reference_counts_every_row_of_the_validation_split(tiny_artifact):
    reference, rows = tiny_artifact.manifest.reference, tiny_artifact.manifest.data["validation"].rows
    assert sum(reference.scores.counts) == sum(reference.tokens.counts) == rows == 60


def test_gate_refuses_a_broken_int8_model(tiny_fine_tuned, tiny_splits, tmp_path, monkeypatch):
    strict = tiny_fine_tuned.config.model_copy(update={"max_accuracy_loss": 1.0})
    fine_tuned = type(tiny_fine_tuned)(tiny_fine_tuned.folder, strict, [], tiny_fine_tuned.facts)
    whole = quantization.build_variants

    def broken(model, folder):
        model.head.weight.data *= -1
        model.head.bias.data *= -1
        not_built = whole(model, folder)
        model.head.weight.data *= -1
        model.head.bias.data *= -1
        quantization.export_onnx(model, folder / "fp32.onnx")
        return not_built

    monkeypatch.setattr(quantization, "build_variants", broken)
    artifact = build_artifact(fine_tuned, tiny_splits, tmp_path)
    assert artifact.manifest.default_variant == "fp32"
    assert re.search(r"int8 loses [\d.]+ points of validation accuracy, where 1 are", artifact.manifest.default_reason)
    assert artifact.manifest.default_reason in (tmp_path / "model_card.md").read_text()


def test_gate_accepts_int8_within_the_allowance(tiny_artifact):
    assert tiny_artifact.manifest.default_variant == "int8"
    assert tiny_artifact.manifest.default_reason.startswith("int8 is the fastest that keeps the accuracy")


def test_interrupted_build_leaves_no_artifact(tiny_fine_tuned, tiny_splits, tmp_path, monkeypatch):
    build_artifact(tiny_fine_tuned, tiny_splits, tmp_path)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(quantization, "quantize_int8", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_artifact(tiny_fine_tuned, tiny_splits, tmp_path)
    with pytest.raises(Exception, match="not a finished model artifact"):
        Artifact.load(tmp_path)


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
