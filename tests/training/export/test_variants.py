"""The table of variants: what is registered there is built, and is in the documentation."""

import dataclasses

import pytest

from bert_textclassification.artifact.manifest import Variant
from bert_textclassification.training.export.variants import VARIANTS, Models, unavailable_reason
from tests.conftest import ROOT


@pytest.mark.parametrize("name", VARIANTS)
def test_a_registered_variant_is_documented(name):
    assert f"`{name}`" in (ROOT / "docs/glossary.md").read_text()


@pytest.mark.parametrize("spec", VARIANTS.values(), ids=VARIANTS)
def test_the_manifest_can_describe_a_registered_variant(spec):
    fields = {name: Variant.model_fields[name].annotation for name in ("precision", "engine")}
    assert all(getattr(spec, name) in literal.__args__ for name, literal in fields.items())


def test_every_registered_variant_is_built_or_has_a_reason(tiny_artifact):
    manifest = tiny_artifact.manifest
    assert {*manifest.variants, *manifest.not_built} == set(VARIANTS)


def test_a_reason_names_the_setting_that_makes_the_variant_available(tiny_fine_tuned):
    models = Models.of(tiny_fine_tuned)  # trained with exit_layers=none and without a student
    reasons = {name: unavailable_reason(spec, models) for name, spec in VARIANTS.items()}
    assert "exit_layers" in reasons["int8_early"]
    assert "student_layers" in reasons["int8_student"]
    assert unavailable_reason(dataclasses.replace(VARIANTS["fp32"], file="other.onnx"), models) is None
