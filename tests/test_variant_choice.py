"""Which variant a machine runs: the default where it was chosen for, else the fastest that keeps the accuracy."""

import logging

import pytest

from bert_textclassification.artifact import PASSED, Artifact
from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving import native_engine, variant_choice
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.serving.variant_choice import variant_for_this_machine


@pytest.fixture
def elsewhere(tiny_artifact):
    """The artifact as if it had been made on a processor with instructions that no other has."""
    return _with(tiny_artifact, made_on={"instructions": "of tomorrow"})


def test_the_default_runs_where_it_was_chosen(tiny_artifact, caplog):
    assert variant_for_this_machine(tiny_artifact) == tiny_artifact.manifest.default_variant == "int8"
    assert caplog.records == []


def test_elsewhere_the_fastest_is_measured_and_said(elsewhere, monkeypatch, caplog):
    times = {"fp32": 3.0, "int8": 2.0, "int8_onnx": 1.0}
    monkeypatch.setattr(variant_choice, "milliseconds", lambda _, name: times[name])
    with caplog.at_level(logging.WARNING):
        assert variant_for_this_machine(elsewhere) == "int8_onnx"
    message = caplog.messages[0]
    assert "chosen for processors with of tomorrow, which this one or this installation lacks" in message
    assert "fp32 3.00 ms, int8 2.00 ms, int8_onnx 1.00 ms a text. Serving int8_onnx." in message


def test_a_variant_that_lost_accuracy_is_not_taken_however_fast(elsewhere, monkeypatch):
    variants = dict(elsewhere.manifest.variants)
    variants["int8_onnx"] = variants["int8_onnx"].model_copy(update={"verdict": "loses 3 points"})
    monkeypatch.setattr(variant_choice, "milliseconds", lambda _, name: {"fp32": 3.0, "int8": 2.0}[name])
    assert variant_for_this_machine(_with(elsewhere, variants=variants)) == "int8"


def test_without_the_native_engine_another_variant_answers(tiny_artifact, monkeypatch):
    monkeypatch.setattr(native_engine, "_native", None)
    predictor = Predictor(tiny_artifact)
    assert predictor.variant_name in {"fp32", "int8_onnx"}
    assert predictor.predict(["the boiler is leaking gas"])


def test_a_variant_that_is_named_is_not_questioned(elsewhere):
    assert variant_for_this_machine(elsewhere, "fp32") == "fp32"
    with pytest.raises(ArtifactError, match="no variant 'int4'"):
        variant_for_this_machine(elsewhere, "int4")


def test_an_artifact_that_does_not_say_where_it_was_made_keeps_its_default(tiny_artifact):
    onnx = tiny_artifact.manifest.variants["int8_onnx"]
    older = _with(tiny_artifact, made_on={}, variants=tiny_artifact.manifest.variants | {"int8": onnx})
    assert variant_for_this_machine(older) == "int8"


def test_the_measurement_is_short_and_every_variant_has_one(tiny_artifact):
    for name, variant in tiny_artifact.manifest.variants.items():
        assert variant.verdict == PASSED
        assert 0 < variant_choice.milliseconds(tiny_artifact, name) < 100


def _with(artifact, **changes):
    return Artifact(artifact.folder, artifact.manifest.model_copy(update=changes), artifact.version)
