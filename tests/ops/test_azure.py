"""Azure ML: every request passes the schemas of Microsoft's library; the workspace behind it is one of the test."""

import sys

import pytest
import yaml

from ops import azure
from ops.azure import AzureEndpointSettings, deployment_request, endpoint_request, model_request
from ops.azure_client import Workspace, load
from ops.config_file import read
from ops.errors import CloudError
from tests.conftest import ROOT
from tests.ops import fake_docker

pytest.importorskip("azure.ai.ml", reason="`make test-clouds` runs these")
errors = pytest.importorskip("azure.core.exceptions")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in Microsoft's library


class Done:
    """A long operation that has ended."""

    def __init__(self, problem=None):
        self.problem = problem

    def done(self):
        return True

    def result(self):
        if self.problem:
            raise self.problem


class Models:
    def __init__(self):
        self.there = {}

    def get(self, name, version):
        if (name, version) not in self.there:
            raise errors.ResourceNotFoundError("no such model")
        return self.there[name, version]

    def create_or_update(self, model):
        self.there[model.name, model.version] = model


class Endpoints:
    def __init__(self):
        self.there, self.deployments = {}, {}

    def get(self, name):
        if name not in self.there:
            raise errors.ResourceNotFoundError("no such endpoint")
        return self.there[name]

    def begin_create_or_update(self, endpoint):
        self.there[endpoint.name] = endpoint
        return Done()

    def begin_delete(self, name):
        del self.there[name]
        self.deployments.clear()
        return Done()


class Deployments:
    def __init__(self, there):
        self.there, self.problem, self.log = there, None, "the model cannot be read"

    def list(self, endpoint):
        return list(self.there.values())

    def begin_create_or_update(self, deployment):
        self.there[deployment.name] = deployment
        return Done(self.problem)

    def begin_delete(self, name, endpoint):
        del self.there[name]
        return Done()

    def get_logs(self, name, endpoint, lines):
        return self.log


class Client:
    """As much of MLClient as the command uses."""

    def __init__(self):
        self.models, self.online_endpoints = Models(), Endpoints()
        self.online_deployments = Deployments(self.online_endpoints.deployments)


@pytest.fixture
def client(monkeypatch):
    client = Client()
    monkeypatch.setattr(Workspace, "client", client)
    return client


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "00000000-0000-0000-0000-000000000000")
    for name in ("AZURE_RESOURCE_GROUP", "AZURE_ML_WORKSPACE", "AZURE_REGISTRY"):
        monkeypatch.setenv(name, "acme")
    fake_docker.install(tmp_path, monkeypatch)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/manifest.json").write_text("{}")

    def write(**changes):
        values = yaml.safe_load((ROOT / "ops/config/azure.yaml").read_text())
        values["image"]["model"] = str(tmp_path / "model")
        path = tmp_path / "azure.yaml"
        path.write_text(yaml.safe_dump(values | changes))
        return str(path)

    return write


@pytest.fixture
def settings(write):
    return read(write(), AzureEndpointSettings)


def test_the_requests_pass_the_schemas_of_microsofts_library(settings):
    assert load("model", model_request(settings)).type == "custom_model"
    assert load("online_endpoint", endpoint_request(settings)).auth_mode == "aad_token"
    deployment = load("online_deployment", deployment_request(settings, "acme.azurecr.io/bert@sha256:1"))
    assert deployment.environment.inference_config["scoringRoute"] == {"port": 8080, "path": "/score"}
    assert deployment.model == f"{settings.name}:{model_request(settings)['version']}"


def test_the_schemas_refuse_what_there_is_not(settings):
    with pytest.raises(CloudError, match="Unknown field"):
        load("online_deployment", deployment_request(settings, "image") | {"instance_kind": "F4"})


def test_the_plan_needs_no_library(write, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)
    assert azure.main(["--config", write()]) == 0
    assert "create the endpoint bert-textclassification" in capsys.readouterr().out


def test_a_missing_library_is_one_sentence(write, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "azure.core.exceptions", None)
    assert azure.main(["--config", write(), "--delete", "--yes"]) == 1
    assert "pip install 'bert-textclassification[azure]'" in capsys.readouterr().err


def test_the_same_command_twice_deploys_once(write, client):
    for _ in range(2):
        assert azure.main(["--config", write(), "--yes"]) == 0
    (endpoint,), (deployment,) = client.online_endpoints.there.values(), client.online_deployments.there.values()
    assert endpoint.traffic == {deployment.name: 100}
    assert deployment.environment.image == f"acme.azurecr.io/bert-textclassification@{fake_docker.DIGEST}"
    assert list(client.models.there) == [("bert-textclassification", deployment.model.partition(":")[2])]


def test_another_model_takes_the_place_of_the_first(write, client, tmp_path):
    azure.main(["--config", write(), "--yes"])
    (tmp_path / "model/manifest.json").write_text('{"newer": 1}')
    assert azure.main(["--config", write(), "--yes"]) == 0
    (endpoint,), (deployment,) = client.online_endpoints.there.values(), client.online_deployments.there.values()
    assert endpoint.traffic == {deployment.name: 100}
    assert len(client.models.there) == 2


def test_a_first_deployment_that_fails_leaves_no_endpoint(write, client, capsys):
    client.online_deployments.problem = errors.HttpResponseError("Not enough quota for Standard_F4s_v2")
    assert azure.main(["--config", write(), "--yes"]) == 1
    assert (client.online_endpoints.there, client.online_deployments.there) == ({}, {})
    last = capsys.readouterr().err.splitlines()[-1]
    assert "ask for a higher quota" in last
    assert last.endswith("The end of its log: the model cannot be read")


def test_a_later_deployment_that_fails_leaves_the_earlier_one(write, client, tmp_path):
    azure.main(["--config", write(), "--yes"])
    (earlier,) = client.online_deployments.there
    (tmp_path / "model/manifest.json").write_text('{"newer": 1}')
    client.online_deployments.problem = errors.HttpResponseError("the probe failed")
    assert azure.main(["--config", write(), "--yes"]) == 1
    assert list(client.online_deployments.there) == [earlier]
    assert client.online_endpoints.there["bert-textclassification"].traffic == {earlier: 100}


def test_an_interruption_while_the_earlier_one_is_deleted_leaves_the_new_one(write, client, tmp_path, monkeypatch):
    azure.main(["--config", write(), "--yes"])
    (earlier,) = client.online_deployments.there
    (tmp_path / "model/manifest.json").write_text('{"newer": 1}')
    monkeypatch.setattr(client.online_deployments, "begin_delete", interrupt)
    assert azure.main(["--config", write(), "--yes"]) == 130
    (new,) = client.online_deployments.there.keys() - {earlier}
    assert client.online_endpoints.there["bert-textclassification"].traffic == {new: 100}


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_endpoint_is_deleted_and_that_twice(write, client):
    azure.main(["--config", write(), "--yes"])
    for _ in range(2):
        assert azure.main(["--config", write(), "--delete", "--yes"]) == 0
        assert client.online_endpoints.there == {}
