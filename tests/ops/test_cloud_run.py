"""Cloud Run: the request is one of Google's library, and the command, against a gRPC server of the test."""

import pytest
import yaml

from ops import cloud_run
from ops.cloud_run import CloudRunSettings, request
from ops.config_file import read
from ops.errors import CloudError
from ops.google_cloud import explained, wait
from tests.conftest import ROOT
from tests.ops import fake_docker

run_v2 = pytest.importorskip("google.cloud.run_v2")
grpc = pytest.importorskip("grpc")
exceptions = pytest.importorskip("google.api_core.exceptions")
fake_google = pytest.importorskip("tests.ops.fake_google")


class Services:
    """The services of one project; a revision with as many cores as `fails_with` does not become ready."""

    def __init__(self):
        self.there, self.refuses, self.fails_with = {}, None, None

    def get(self, asked, context):
        return self.there.get(asked.name) or context.abort(grpc.StatusCode.NOT_FOUND, "no such service")

    def put(self, asked, context):
        if self.refuses:
            context.abort(*self.refuses)
        service = asked.service
        service.name = service.name or f"{asked.parent}/services/{asked.service_id}"
        service.uri = "https://tickets.run.app"
        self.there[service.name] = service
        if service.template.containers[0].resources.limits["cpu"] == self.fails_with:
            return fake_google.failed_operation("the startup probe failed")
        return fake_google.operation(service)

    def delete(self, asked, context):
        return fake_google.operation(self.there.pop(asked.name))


@pytest.fixture
def services():
    return Services()


@pytest.fixture
def google(services):
    methods = {
        "GetService": (run_v2.GetServiceRequest, services.get),
        "CreateService": (run_v2.CreateServiceRequest, services.put),
        "UpdateService": (run_v2.UpdateServiceRequest, services.put),
        "DeleteService": (run_v2.DeleteServiceRequest, services.delete),
    }
    google = fake_google.FakeGoogle({"google.cloud.run.v2.Services": methods})
    yield google
    google.stop()


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "acme-tickets")
    monkeypatch.setenv("SERVICE_ACCOUNT", "tickets@acme-tickets.iam.gserviceaccount.com")
    fake_docker.install(tmp_path, monkeypatch)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/manifest.json").write_text("{}")

    def write(endpoint=None, **changes):
        values = yaml.safe_load((ROOT / "ops/config/cloud_run.yaml").read_text())
        values["image"]["model"] = str(tmp_path / "model")
        values["google"]["endpoint"] = endpoint
        path = tmp_path / "cloud_run.yaml"
        path.write_text(yaml.safe_dump(values | changes))
        return str(path)

    return write


def test_the_request_is_a_service_of_googles_library(write):
    service = run_v2.Service(request(read(write(), CloudRunSettings), "image@sha256:1"))
    (container,) = service.template.containers
    assert container.startup_probe.http_get.path == "/readyz"
    assert container.startup_probe.period_seconds * container.startup_probe.failure_threshold <= 240  # Google's limit
    assert service.ingress == run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL
    assert not service.invoker_iam_disabled


def test_the_plan_asks_nobody(write, google, capsys):
    assert cloud_run.main(["--config", write(google.address)]) == 0
    assert google.requests == []
    assert "create or change the service bert-textclassification in europe-west4" in capsys.readouterr().out


def test_the_service_is_created_with_the_digest_and_then_changed(write, google, services):
    assert cloud_run.main(["--config", write(google.address), "--yes"]) == 0
    (service,) = services.there.values()
    assert service.template.containers[0].image.endswith(f"/models/bert-textclassification@{fake_docker.DIGEST}")
    assert cloud_run.main(["--config", write(google.address, cores=4), "--yes"]) == 0
    assert [type(one).__name__ for one in google.requests] == [
        "GetServiceRequest",
        "CreateServiceRequest",
        "GetServiceRequest",
        "UpdateServiceRequest",
    ]
    (service,) = services.there.values()
    assert service.template.containers[0].resources.limits["cpu"] == "4"


def test_a_change_that_fails_puts_the_earlier_service_back(write, google, services, capsys):
    cloud_run.main(["--config", write(google.address), "--yes"])
    services.fails_with = "4"
    assert cloud_run.main(["--config", write(google.address, cores=4), "--yes"]) == 1
    (service,) = services.there.values()
    assert service.template.containers[0].resources.limits["cpu"] == "2"
    assert "the startup probe failed" in capsys.readouterr().err.splitlines()[-1]


def test_a_first_service_that_fails_is_deleted(write, google, services):
    services.fails_with = "2"
    assert cloud_run.main(["--config", write(google.address), "--yes"]) == 1
    assert services.there == {}


class Unfinished:
    """A long operation that goes on."""

    def done(self):
        return False


def test_a_wait_tells_that_it_goes_on_and_ends(capsys):
    with pytest.raises(CloudError, match=r"Cannot create the service within 0 s; raise `timeout_s`"):
        wait(Unfinished(), "create the service", seconds=0.02, pause_s=0.01)
    assert capsys.readouterr().out == "  create the service: 0 s\n"


def test_it_is_deleted_and_that_twice(write, google, services):
    cloud_run.main(["--config", write(google.address), "--yes"])
    for _ in range(2):
        assert cloud_run.main(["--config", write(google.address), "--delete", "--yes"]) == 0
        assert services.there == {}


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        ("RESOURCE_EXHAUSTED", "Quota exceeded for CPU", "ask for a higher quota, or use less of it."),
        ("PERMISSION_DENIED", "run.services.create denied", "give the caller the role that it names."),
        ("INVALID_ARGUMENT", "memory is too small", "change the setting that it names."),
    ],
)
def test_a_refusal_is_one_sentence_with_the_remedy(write, google, services, capsys, status, message, remedy):
    services.refuses = (grpc.StatusCode[status], message)
    assert cloud_run.main(["--config", write(google.address), "--yes"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: Cannot create the service bert-textclassification: {message}")
    assert last.endswith(remedy)


def test_nobody_signed_in_is_one_sentence(write, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    assert cloud_run.main(["--config", write(), "--yes"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("run `gcloud auth application-default login`.")


def test_credentials_that_cannot_be_renewed_are_one_sentence():
    cause = exceptions.ServiceUnavailable("Getting metadata from plugin failed with error: Reauthentication is needed")
    problem = exceptions.RetryError("Timeout of 10.0s exceeded", cause=cause)
    sentence = r"Reauthentication is needed\); check the network, or run `gcloud auth"
    with pytest.raises(CloudError, match=sentence), explained("look for the service"):
        raise problem
