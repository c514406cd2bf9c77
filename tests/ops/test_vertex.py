"""Vertex AI: the requests are those of Google's library, and the command, against a gRPC server of the test."""

import sys

import pytest
import yaml

from ops import vertex
from ops.config_file import read
from ops.vertex_client import VertexSettings, deployed_request, endpoint_request, model_request
from tests.conftest import ROOT
from tests.ops import fake_docker

v1 = pytest.importorskip("google.cloud.aiplatform_v1", reason="`make test-clouds` runs these")
grpc = pytest.importorskip("grpc")
fake_google = pytest.importorskip("tests.ops.fake_google")
operation = fake_google.operation


class Project:
    """Models and endpoints of one project; deployed models get running numbers."""

    def __init__(self):
        self.models, self.endpoints, self.deployed, self.refuses = {}, {}, 0, False

    def get_model(self, asked, context):
        return self.models.get(asked.name) or context.abort(grpc.StatusCode.NOT_FOUND, "no such model")

    def list_models(self, asked, context):
        return v1.ListModelsResponse(models=list(self.models.values()))

    def upload(self, asked, context):
        asked.model.name = f"{asked.parent}/models/{asked.model_id}"
        self.models[asked.model.name] = asked.model
        return operation(v1.UploadModelResponse(model=asked.model.name))

    def delete_model(self, asked, context):
        del self.models[asked.name]
        return operation()

    def get_endpoint(self, asked, context):
        return self.endpoints.get(asked.name) or context.abort(grpc.StatusCode.NOT_FOUND, "no such endpoint")

    def create_endpoint(self, asked, context):
        asked.endpoint.name = f"{asked.parent}/endpoints/{asked.endpoint_id}"
        self.endpoints[asked.endpoint.name] = asked.endpoint
        return operation(asked.endpoint)

    def delete_endpoint(self, asked, context):
        del self.endpoints[asked.name]
        return operation()

    def deploy(self, asked, context):
        if self.refuses:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no quota for n2 machines")
        self.deployed += 1
        endpoint, asked.deployed_model.id = self.endpoints[asked.endpoint], str(self.deployed)
        endpoint.deployed_models.append(asked.deployed_model)
        endpoint.traffic_split = {str(self.deployed): asked.traffic_split["0"]}
        return operation(v1.DeployModelResponse(deployed_model=asked.deployed_model))

    def undeploy(self, asked, context):
        endpoint = self.endpoints[asked.endpoint]
        endpoint.deployed_models = [one for one in endpoint.deployed_models if one.id != asked.deployed_model_id]
        return operation(v1.UndeployModelResponse())


@pytest.fixture
def project():
    return Project()


@pytest.fixture
def google(project):
    models = {
        "GetModel": (v1.GetModelRequest, project.get_model),
        "ListModels": (v1.ListModelsRequest, project.list_models),
        "UploadModel": (v1.UploadModelRequest, project.upload),
        "DeleteModel": (v1.DeleteModelRequest, project.delete_model),
    }
    endpoints = {
        "GetEndpoint": (v1.GetEndpointRequest, project.get_endpoint),
        "CreateEndpoint": (v1.CreateEndpointRequest, project.create_endpoint),
        "DeleteEndpoint": (v1.DeleteEndpointRequest, project.delete_endpoint),
        "DeployModel": (v1.DeployModelRequest, project.deploy),
        "UndeployModel": (v1.UndeployModelRequest, project.undeploy),
    }
    name = "google.cloud.aiplatform.v1"
    google = fake_google.FakeGoogle({f"{name}.ModelService": models, f"{name}.EndpointService": endpoints})
    yield google
    google.stop()


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "acme-tickets")
    fake_docker.install(tmp_path, monkeypatch)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/manifest.json").write_text("{}")

    def write(endpoint=None, **changes):
        values = yaml.safe_load((ROOT / "ops/config/vertex.yaml").read_text())
        values["image"]["model"] = str(tmp_path / "model")
        values["google"]["endpoint"] = endpoint
        path = tmp_path / "vertex.yaml"
        path.write_text(yaml.safe_dump(values | changes))
        return str(path)

    return write


def test_the_requests_are_messages_of_googles_library(write):
    settings = read(write(), VertexSettings)
    assert v1.Model(model_request(settings, "image")).container_spec.health_route == "/readyz"
    assert v1.Endpoint(endpoint_request(settings)).dedicated_endpoint_enabled
    assert v1.DeployedModel(deployed_request(settings, "model")).dedicated_resources.max_replica_count == 4


def test_the_plan_asks_nobody(write, google, capsys):
    assert vertex.main(["--config", write(google.address)]) == 0
    assert google.requests == []
    assert "create the endpoint bert-textclassification in europe-west4" in capsys.readouterr().out


def test_the_same_command_twice_deploys_once(write, google, project):
    for _ in range(2):
        assert vertex.main(["--config", write(google.address), "--yes"]) == 0
    (endpoint,), (model,) = project.endpoints.values(), project.models.values()
    assert [one.model for one in endpoint.deployed_models] == [model.name]
    assert model.container_spec.image_uri.endswith(fake_docker.DIGEST)


def test_another_machine_takes_the_place_of_the_first(write, google, project):
    vertex.main(["--config", write(google.address), "--yes"])
    assert vertex.main(["--config", write(google.address, machine="c3-standard-4"), "--yes"]) == 0
    (endpoint,) = project.endpoints.values()
    (deployed,) = endpoint.deployed_models
    assert deployed.dedicated_resources.machine_spec.machine_type == "c3-standard-4"
    assert dict(endpoint.traffic_split) == {deployed.id: 100}


def test_a_deployment_without_quota_leaves_nothing_behind(write, google, project, capsys):
    project.refuses = True
    assert vertex.main(["--config", write(google.address), "--yes"]) == 1
    assert (project.models, project.endpoints) == ({}, {})
    assert "no quota for n2 machines; ask for a higher quota" in capsys.readouterr().err.splitlines()[-1]


def test_everything_is_deleted_and_that_twice(write, google, project):
    vertex.main(["--config", write(google.address), "--yes"])
    for _ in range(2):
        assert vertex.main(["--config", write(google.address), "--delete", "--yes"]) == 0
        assert (project.models, project.endpoints) == ({}, {})


def test_a_missing_library_is_one_sentence(write, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "google.cloud.aiplatform_v1", None)
    assert vertex.main(["--config", write(), "--delete", "--yes"]) == 1
    assert "pip install 'bert-textclassification[gcp]'" in capsys.readouterr().err
