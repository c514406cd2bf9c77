"""The InferenceService: KServe's Python library knows every field, at every depth."""

import re

import pytest

from tests.conftest import ROOT
from tests.ops.kustomize import build

kserve = pytest.importorskip("kserve", reason="`make test-clouds` runs these")
kubernetes = pytest.importorskip("kubernetes")


@pytest.fixture
def service():
    (manifest,) = build(ROOT / "ops/kubernetes/kserve")
    return manifest


def unknown_fields(value, kind, path=""):
    """Return the paths of fields that the class `kind`, such as list[V1Container], does not have."""
    item_kind = re.fullmatch(r"(?:list\[|dict\(str, )(.+)[\])]", kind)
    if item_kind:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [name for key, item in items for name in unknown_fields(item, item_kind[1], f"{path}.{key}")]
    model = getattr(kserve, kind, None) or getattr(kubernetes.client, kind, None)
    if model is None:  # a string or a number
        return []
    kinds = {name: model.openapi_types[field] for field, name in model.attribute_map.items()}
    unknown = [f"{path}.{key}" for key in value.keys() - kinds.keys()]
    for key in value.keys() & kinds.keys():
        unknown += unknown_fields(value[key], kinds[key], f"{path}.{key}")
    return unknown


def test_kserves_library_knows_every_field(service):
    assert unknown_fields(service, "V1beta1InferenceService") == []


def test_an_unknown_field_is_found(service):
    service["spec"]["predictor"]["containers"][0]["readynessProbe"] = {}
    service["spec"]["predictor"]["scaleTargets"] = 60
    assert sorted(unknown_fields(service, "V1beta1InferenceService")) == [
        ".spec.predictor.containers.0.readynessProbe",
        ".spec.predictor.scaleTargets",
    ]
