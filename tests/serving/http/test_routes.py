"""The server has the routes that the platforms are told to ask."""

import pytest
import yaml

from ops.azure import AzureEndpointSettings, deployment_request
from ops.config_file import read
from ops.vertex_client import VertexSettings, model_request
from tests.conftest import ROOT

QUESTION = b'{"instances": ["smoke is coming out of the dryer"]}', {"Content-Type": "application/json"}


@pytest.fixture
def settings(tiny_artifact, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "00000000-0000-0000-0000-000000000000")
    for variable in ("GOOGLE_CLOUD_PROJECT", "AZURE_RESOURCE_GROUP", "AZURE_ML_WORKSPACE", "AZURE_REGISTRY"):
        monkeypatch.setenv(variable, "tickets")

    def settings(name, kind):
        values = yaml.safe_load((ROOT / "ops/config" / name).read_text())
        values["image"]["model"] = str(tiny_artifact.folder)
        (tmp_path / name).write_text(yaml.safe_dump(values))
        return read(tmp_path / name, kind)

    return settings


def test_those_of_vertex_ai(settings, tiny_server):
    container = model_request(settings("vertex.yaml", VertexSettings), "image")["container_spec"]
    assert tiny_server.request("GET", container["health_route"])[0] == 200
    assert tiny_server.request("POST", container["predict_route"], *QUESTION)[0] == 200


def test_those_of_azure_ml(settings, tiny_server):
    request = deployment_request(settings("azure.yaml", AzureEndpointSettings), "image")
    routes = request["environment"]["inference_config"]
    assert tiny_server.request("GET", routes["liveness_route"]["path"])[0] == 200
    assert tiny_server.request("GET", routes["readiness_route"]["path"])[0] == 200
    assert tiny_server.request("POST", routes["scoring_route"]["path"], *QUESTION)[0] == 200
