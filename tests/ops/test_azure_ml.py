"""The YAML files for `az ml`: they match Microsoft's schemas, and have the required settings."""

import pytest
import yaml

from tests.conftest import ROOT

FOLDER = ROOT / "ops/azure_ml"


def values(name):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def load():
    """Read a file as `az ml` does: with the schema of its kind."""
    library = pytest.importorskip("azure.ai.ml", reason="`make test-clouds` runs these")
    kinds = {"model": "model", "endpoint": "online_endpoint", "deployment": "online_deployment"}
    return lambda name, source=None: getattr(library, f"load_{kinds[name]}")(source or FOLDER / f"{name}.yaml")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in Microsoft's library
def test_the_files_match_microsofts_schemas(load):
    assert load("model").type == "custom_model"
    assert load("endpoint").auth_mode == "aad_token"
    deployment = load("deployment")
    assert deployment.environment.inference_config["scoringRoute"] == {"port": 8080, "path": "/score"}
    assert deployment.model == "bert-textclassification:1"
    assert (deployment.readiness_probe.failure_threshold, deployment.liveness_probe.period) == (30, 10)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_schemas_reject_an_unknown_field(load, tmp_path):
    errors = pytest.importorskip("marshmallow")
    path = tmp_path / "deployment.yaml"
    path.write_text(yaml.safe_dump(values("deployment") | {"instance_kind": "F4"}), encoding="utf-8")
    with pytest.raises(errors.ValidationError, match="Unknown field"):
        load("deployment", path)


def test_the_files_name_the_same_endpoint_and_model():
    model, endpoint, deployment = map(values, ("model", "endpoint", "deployment"))
    assert deployment["endpoint_name"] == endpoint["name"]
    assert deployment["model"] == f"azureml:{model['name']}:{model['version']}"
    assert (FOLDER / model["path"]).resolve() == ROOT / "runs/demo/model"


def test_one_machine_may_fail_and_the_model_has_time_to_start():
    deployment = values("deployment")
    probe = deployment["readiness_probe"]
    assert deployment["instance_count"] >= 2
    assert probe["initial_delay"] + probe["period"] * probe["failure_threshold"] >= 180
    assert deployment["liveness_probe"] == probe


def test_only_callers_with_an_identity_or_a_key_get_answers():
    assert values("endpoint")["auth_mode"] in ("aad_token", "key")
