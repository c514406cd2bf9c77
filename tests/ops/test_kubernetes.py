"""The manifests, checked against the schemas of Kubernetes, and the command, against an API server of the test."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.serving.config import ServingConfig
from ops.config_file import read
from ops.kubernetes.__main__ import main
from ops.kubernetes.cluster import Cluster
from ops.kubernetes.manifests import manifests, pod_spec
from ops.kubernetes.settings import KubernetesSettings
from tests.conftest import ROOT
from tests.ops import fake_docker

OLDEST = "1.30"  # the oldest version that has every field
KINDS = ["deployment", "inference_service"]
# What a predictor of KServe has beside the fields of a pod.
KSERVE_FIELDS = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout"}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the shipped file with some settings changed, for a model of one manifest."""
    monkeypatch.setenv("REGISTRY", "registry.example/acme")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/manifest.json").write_text("{}")

    def write(**changes):
        values = yaml.safe_load((ROOT / "ops/config/kubernetes.yaml").read_text())
        values["image"]["model"] = str(tmp_path / "model")
        path = tmp_path / "kubernetes.yaml"
        if changes.get("kind") == "inference_service":
            values |= {"token_secret": "tokens"}
        path.write_text(yaml.safe_dump(values | changes))
        return path

    return write


@pytest.fixture
def rendered(write):
    def render(**changes):
        return manifests(read(write(**changes), KubernetesSettings), "registry.example/acme@sha256:1")

    return render


def by_kind(found):
    return {one["kind"]: one for one in found}


def as_pod(predictor):
    inside = {name: value for name, value in predictor.items() if name not in KSERVE_FIELDS}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": inside}


@pytest.mark.parametrize("version", [OLDEST, "1.34"])
def test_the_manifests_of_a_deployment_keep_the_schemas_of_kubernetes(rendered, version):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for manifest in rendered():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_pods_of_an_inference_service_keep_the_schema_of_kubernetes(rendered):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    (service,) = rendered(kind="inference_service")
    assert service["spec"]["predictor"].keys() >= KSERVE_FIELDS
    kubernetes_validate.validate(as_pod(service["spec"]["predictor"]), OLDEST, strict=True)


def test_the_schemas_refuse_what_there_is_not(rendered):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    deployment = rendered()[0]
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, OLDEST, strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pod_has_no_rights(rendered, kind):
    pod = pod_spec(rendered(kind=kind)[0])
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_pod_is_killed_only_after_it_has_drained(rendered, kind):
    pod = pod_spec(rendered(kind=kind)[0])
    container = pod["containers"][0]
    drain = int(next(one["value"] for one in container["env"] if one["name"] == "DRAIN_TIMEOUT_S"))
    assert drain == ServingConfig.of().drain_timeout_s
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain < pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_answers_every_probe(rendered, kind, tiny_server):
    container = pod_spec(rendered(kind=kind)[0])["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert tiny_server.request("GET", container[probe]["httpGet"]["path"])[0] == 200


def test_the_settings_reach_the_manifests(rendered):
    scaling = {"smallest": 3, "largest": 7, "cpu_percent": 50}
    found = by_kind(rendered(name="tickets", namespace="prod", cores=4, scaling=scaling, **{"token_secret": "tokens"}))
    assert {one["metadata"]["name"] for one in found.values()} == {"tickets"}
    assert {one["metadata"]["namespace"] for one in found.values()} == {"prod"}
    assert found["Service"]["spec"]["selector"] == {"app.kubernetes.io/name": "tickets"}
    autoscaler = found["HorizontalPodAutoscaler"]["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"], autoscaler["scaleTargetRef"]["name"]) == (
        3,
        7,
        "tickets",
    )
    container = pod_spec(found["Deployment"])["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "1024Mi"}
    assert container["env"][-1]["valueFrom"]["secretKeyRef"] == {"name": "tokens", "key": "token"}


def test_only_its_own_namespace_and_the_named_ones_may_ask(rendered):
    policy = by_kind(rendered(allowed_namespaces=["monitoring"]))["NetworkPolicy"]["spec"]
    allowed = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert policy["ingress"][0]["from"] == [{"podSelector": {}}, allowed]
    assert "egress" not in policy


def test_the_plan_needs_neither_docker_nor_a_cluster(write, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("KUBECONFIG", "nowhere")
    assert main(["--config", str(write())]) == 0
    assert "apply PodDisruptionBudget bert-textclassification in default" in capsys.readouterr().out


def test_more_at_least_than_at_most_is_refused(write):
    with pytest.raises(ConfigurationError, match="smallest=5 is more than largest=2"):
        read(write(scaling={"smallest": 5, "largest": 2}), KubernetesSettings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"token_secret": None}, "token_secret: an inference_service is open to all without it; name a secret"),
        ({"allowed_namespaces": ["monitoring"]}, "allowed_namespaces: an inference_service has no network policy"),
    ],
)
def test_an_inference_service_that_would_be_open_is_refused(write, capsys, settings, sentence):
    assert main(["--config", str(write(kind="inference_service", **settings))]) == 1
    assert sentence in capsys.readouterr().err


def test_no_kubeconfig_is_one_sentence(write, tmp_path, monkeypatch, capsys):
    fake_docker.install(tmp_path, monkeypatch)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert main(["--config", str(write()), "--yes"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("set KUBECONFIG, or change `context`.")


GROUPS = {
    "/api/v1": {"services": "Service", "pods": "Pod"},
    "/apis/apps/v1": {"deployments": "Deployment"},
    "/apis/autoscaling/v2": {"horizontalpodautoscalers": "HorizontalPodAutoscaler"},
    "/apis/policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "/apis/networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
}


def discovery(path):
    """Return what an API server says about its kinds; None for other paths."""
    if path == "/version":
        return {"major": "1", "minor": "34"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        names = [group.split("/")[2:] for group in GROUPS if group != "/api/v1"]
        versions = [{"groupVersion": f"{name}/{version}", "version": version} for name, version in names]
        groups = [{"name": one["groupVersion"].split("/")[0], "versions": [one]} for one in versions]
        return {"kind": "APIGroupList", "groups": [one | {"preferredVersion": one["versions"][0]} for one in groups]}
    if path in GROUPS:
        verbs = ["get", "patch", "delete"]
        kinds = [{"name": n, "kind": k, "namespaced": True, "verbs": verbs} for n, k in GROUPS[path].items()]
        return {"kind": "APIResourceList", "groupVersion": path.split("/", 2)[-1], "resources": kinds}
    return None


class ApiServer(ThreadingHTTPServer):
    """As much of an API server as the command asks: it keeps what is applied, and its Deployments are ready or fail."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects, self.changes, self.works, self.refuses, self.is_silent = {}, [], True, None, False

    def status(self, kind):
        if kind != "Deployment":
            return {}
        failed = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "it has timed out"}
        counts = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "observedGeneration": 1}
        return counts | ({} if self.works else {"conditions": [failed]})

    def names(self):
        return sorted(one["kind"] for one in self.objects.values())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.partition("?")[0]
        if self.server.is_silent:
            self.close_connection = True
            return None
        if (said := discovery(path)) is not None:
            return self.answer(200, said)
        if path.endswith("/pods"):
            return self.answer(200, {"kind": "PodList", "apiVersion": "v1", "items": []})
        found = self.server.objects.get(path)
        return self.answer(200, found) if found else self.failure(404, "not found")

    def do_PATCH(self):
        path, kind = self.path.partition("?")[0], self.headers["Content-Type"]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.changes.append((kind, path, body))
        if self.server.refuses and path.endswith(self.server.refuses):
            return self.failure(403, "exceeded quota: pods")
        if kind == "application/json-patch+json":
            self.server.objects[path]["spec"] = body[0]["value"]
        else:
            metadata = body["metadata"] | {"generation": 1}
            self.server.objects[path] = body | {"metadata": metadata, "status": self.server.status(body["kind"])}
        return self.answer(200, self.server.objects[path])

    def do_DELETE(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.objects.pop(self.path.partition("?")[0], None)
        self.answer(200, {"kind": "Status", "status": "Success"})

    def failure(self, status, message):
        self.answer(status, {"kind": "Status", "status": "Failure", "message": message, "code": status})

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    pytest.importorskip("kubernetes")
    server = ApiServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "users": [{"name": "test", "user": {}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    fake_docker.install(tmp_path, monkeypatch)
    yield server
    server.shutdown()
    server.server_close()


EVERYTHING = ["Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service"]


@pytest.mark.slow
def test_everything_is_applied_with_the_digest_of_the_image(cluster, write):
    assert main(["--config", str(write()), "--yes"]) == 0
    assert cluster.names() == EVERYTHING
    kind, path, deployment = cluster.changes[0]
    assert (kind, path) == (
        "application/apply-patch+yaml",
        "/apis/apps/v1/namespaces/default/deployments/bert-textclassification",
    )
    image = pod_spec(deployment)["containers"][0]["image"]
    assert image == f"registry.example/acme/bert-textclassification@{fake_docker.DIGEST}"


def test_what_was_applied_is_deleted_and_that_twice(cluster, write):
    main(["--config", str(write()), "--yes"])
    assert main(["--config", str(write()), "--delete", "--yes"]) == 0
    assert cluster.names() == []
    assert main(["--config", str(write()), "--delete", "--yes"]) == 0


def test_a_first_rollout_that_fails_leaves_nothing_behind(cluster, write, capsys):
    cluster.works = False
    assert main(["--config", str(write()), "--yes"]) == 1
    assert cluster.names() == []
    assert "error: The rollout has failed: it has timed out." in capsys.readouterr().err


@pytest.mark.slow
def test_a_later_rollout_that_fails_puts_the_earlier_one_back(cluster, write):
    main(["--config", str(write()), "--yes"])
    cluster.works = False
    assert main(["--config", str(write(cores=4)), "--yes"]) == 1
    assert cluster.names() == EVERYTHING
    (deployment,) = [one for one in cluster.objects.values() if one["kind"] == "Deployment"]
    assert pod_spec(deployment)["containers"][0]["resources"]["limits"]["cpu"] == "2"


def test_a_refusal_is_one_sentence_with_the_remedy(cluster, write, capsys):
    cluster.refuses = "services/bert-textclassification"
    assert main(["--config", str(write()), "--yes"]) == 1
    assert cluster.names() == []
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: Cannot apply Service bert-textclassification: exceeded quota: pods (403);")


def test_a_cluster_that_falls_silent_while_it_is_waited_for_is_one_sentence(cluster, write, monkeypatch, capsys):
    wait = Cluster.wait

    def wait_in_vain(*given):
        cluster.is_silent = True
        wait(*given)

    monkeypatch.setattr(Cluster, "wait", wait_in_vain)
    assert main(["--config", str(write()), "--yes"]) == 1
    assert "it does not answer" in capsys.readouterr().err.splitlines()[-1]


def test_a_cluster_without_kserve_says_so(cluster, write, capsys):
    assert main(["--config", str(write(kind="inference_service")), "--yes"]) == 1
    assert (
        capsys.readouterr().err.splitlines()[-1].endswith("the cluster does not know this kind; install KServe first.")
    )
