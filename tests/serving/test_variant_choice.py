"""The variant for a machine: the default on the kind it was measured on, else the fastest that keeps the accuracy."""

import json
import logging
import platform
import shutil

import pytest

from bert_textclassification.artifact.manifest import PASSED, Processor
from bert_textclassification.artifact.store import Artifact
from bert_textclassification.engines import processor
from bert_textclassification.engines.native import engine as native_engine
from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving import variant_choice
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.serving.variant_choice import variant_for_this_machine


@pytest.fixture
def elsewhere(tiny_artifact):
    """The artifact as if it had been made on an unknown kind of processor."""
    return _with(tiny_artifact, measured_on=Processor(name="A Processor", kind="of_tomorrow"))


def test_the_default_runs_where_it_was_chosen(tiny_artifact, caplog):
    assert variant_for_this_machine(tiny_artifact) == tiny_artifact.manifest.default_variant == "int8"
    assert caplog.records == []


def test_on_another_kind_the_fastest_is_measured_and_logged(elsewhere, monkeypatch, caplog):
    times = {"fp32": 3.0, "int8": 2.0, "int8_onnx": 1.0}
    monkeypatch.setattr(variant_choice, "milliseconds", lambda _, name: times[name])
    with caplog.at_level(logging.WARNING):
        assert variant_for_this_machine(elsewhere) == "int8_onnx"
    message = caplog.messages[0]
    assert f"measured on a processor of the kind of_tomorrow and this one is {processor.kind()}" in message
    assert "check the accuracy on labelled texts" in message
    assert "per text: fp32 3.00 ms, int8 2.00 ms, int8_onnx 1.00 ms. Serving int8_onnx." in message


@pytest.mark.parametrize("default", ["int8", "int8_onnx"])
@pytest.mark.parametrize(("made_on", "here"), [("avx2", "avx512_vnni"), ("avx512_vnni", "avx2"), ("avx2", "dotprod")])
def test_every_default_is_measured_again_on_another_kind(tiny_artifact, monkeypatch, caplog, default, made_on, here):
    artifact = _with(tiny_artifact, default_variant=default, measured_on=Processor(name="", kind=made_on))
    monkeypatch.setattr(processor, "kind", lambda: here)
    monkeypatch.setattr(variant_choice, "milliseconds", lambda _, name: {"int8": 3.0, "int8_onnx": 3.0}.get(name, 1.0))
    assert variant_for_this_machine(artifact) == "fp32"
    assert f"of the kind {made_on} and this one is {here}" in caplog.messages[0]


@pytest.mark.parametrize(("fp32", "served"), [(1.9, "int8"), (1.7, "fp32")])
def test_the_default_stays_unless_another_is_clearly_faster(elsewhere, monkeypatch, fp32, served):
    monkeypatch.setattr(variant_choice, "milliseconds", lambda _, name: {"fp32": fp32}.get(name, 2.0))
    assert variant_for_this_machine(elsewhere) == served


def test_a_variant_that_lost_accuracy_is_not_taken_however_fast(elsewhere, monkeypatch):
    variants = dict(elsewhere.manifest.variants)
    variants["int8_onnx"] = variants["int8_onnx"].model_copy(update={"verdict": "loses 3 points"})
    monkeypatch.setattr(variant_choice, "milliseconds", lambda _, name: {"fp32": 3.0, "int8": 2.0}[name])
    assert variant_for_this_machine(_with(elsewhere, variants=variants)) == "int8"


def test_without_the_native_engine_another_variant_answers(tiny_artifact, monkeypatch, caplog):
    monkeypatch.setattr(native_engine, "_native", None)
    predictor = Predictor(tiny_artifact)
    assert predictor.variant_name in {"fp32", "int8_onnx"}
    assert predictor.predict(["the boiler is leaking gas"])
    assert "The native engine of the default variant is not compiled in this installation." in caplog.messages[0]


def test_a_variant_that_is_named_is_not_questioned(elsewhere):
    assert variant_for_this_machine(elsewhere, "fp32") == "fp32"
    with pytest.raises(ArtifactError, match="no variant 'int4'"):
        variant_for_this_machine(elsewhere, "int4")


def test_an_artifact_that_does_not_say_where_it_was_made_keeps_its_default(tiny_artifact):
    onnx = tiny_artifact.manifest.variants["int8_onnx"]
    older = _with(tiny_artifact, measured_on=None, variants=tiny_artifact.manifest.variants | {"int8": onnx})
    assert variant_for_this_machine(older) == "int8"


def test_the_measurement_is_short_and_every_variant_has_one(tiny_artifact):
    for name, variant in tiny_artifact.manifest.variants.items():
        assert variant.verdict == PASSED
        assert 0 < variant_choice.milliseconds(tiny_artifact, name) < 100


@pytest.mark.parametrize(
    ("features", "kind"),
    [
        ("sse4_2 avx avx2 fma", "avx2"),
        ("avx avx2 fma avx_vnni", "avx_vnni"),
        ("avx2 fma avx512f avx512bw avx512dq avx512vl", "avx2"),
        ("avx2 fma avx512f avx512bw avx512dq avx512vl avx512_vnni", "avx512_vnni"),
        ("avx2 fma avx512f avx512bw avx512dq avx512vl avx512_vnni amx_tile amx_int8", "amx_int8"),
        ("fp asimd", "neon"),
        ("fp asimd asimddp", "dotprod"),
        ("fp asimd asimddp i8mm", "i8mm"),
        ("sse2", platform.machine()),
        ("", platform.machine()),
    ],
)
@pytest.mark.parametrize("line", ["flags\t\t: {}", "Features\t: {}"])
def test_the_kind_of_a_processor_is_its_best_instructions(tmp_path, line, features, kind):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line.format(features)}\n\nprocessor\t: 1\nflags\t: other\n")
    assert processor.kind(tmp_path / "cpuinfo") == kind


def test_without_a_list_of_features_the_kind_is_the_architecture(tmp_path):
    assert processor.kind(tmp_path / "nothing") == platform.machine()


def _with(artifact, **changes):
    return Artifact(artifact.folder, artifact.manifest.model_copy(update=changes), artifact.version)


def test_a_named_variant_is_served_on_another_kind_with_a_warning(elsewhere, caplog):
    assert variant_for_this_machine(elsewhere, "fp32") == "fp32"
    (message,) = caplog.messages
    assert "check the accuracy on labelled texts" in message
    assert message.endswith("Serving fp32, as MODEL_VARIANT says.")


def test_main_prints_the_choice(elsewhere, tmp_path, capsys):
    folder = shutil.copytree(elsewhere.folder, tmp_path / "model")
    (folder / "manifest.json").write_text(elsewhere.manifest.model_dump_json())
    assert variant_choice.main(str(folder)) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() in elsewhere.manifest.variants
    assert "Measured on this machine" in json.loads(printed.err)["message"]
    assert variant_choice.main(str(tmp_path)) == 2
