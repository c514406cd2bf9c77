"""The overlays of ops/kubernetes: they match the schemas of Kubernetes, and have the required settings."""

import pytest

from bert_textclassification.serving.config import ServingConfig
from tests.conftest import ROOT
from tests.ops.kustomize import build, build_with_kubectl, canonical, pod_spec

FOLDER = ROOT / "ops/kubernetes"
DEPLOYMENTS = ["overlays/production", "overlays/development"]
OVERLAYS = [*DEPLOYMENTS, "kserve"]
OLDEST = "1.30"  # the oldest version that has every field
# Fields of a KServe predictor that a pod does not have.
KSERVE_FIELDS = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout"}


def by_kind(overlay):
    return {manifest["kind"]: manifest for manifest in build(FOLDER / overlay)}


def pod_of(overlay):
    (pod,) = [pod for pod in map(pod_spec, build(FOLDER / overlay)) if pod]
    return pod


def as_pod(predictor):
    spec = {name: value for name, value in predictor.items() if name not in KSERVE_FIELDS}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubectl_builds_the_same_manifests_as_these_tests(overlay):
    assert canonical(build_with_kubectl(FOLDER / overlay)) == canonical(build(FOLDER / overlay))


def test_every_kustomization_is_part_of_an_overlay():
    applied = {FOLDER / overlay / "kustomization.yaml" for overlay in OVERLAYS}
    parts = {FOLDER / part / "kustomization.yaml" for part in ("base", "components/token")}
    assert set(FOLDER.rglob("kustomization.yaml")) == applied | parts
    names = ("deployment", "service", "autoscaler", "disruption_budget", "network_policy", "kustomization")
    listed = {FOLDER / "base" / f"{name}.yaml" for name in names}
    assert set((FOLDER / "base").iterdir()) == listed


@pytest.mark.parametrize("version", [OLDEST, "1.34"])
@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_the_manifests_of_a_deployment_match_the_schemas_of_kubernetes(overlay, version):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for manifest in build(FOLDER / overlay):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_pods_of_an_inference_service_match_the_schema_of_kubernetes():
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    predictor = pod_of("kserve")
    assert predictor.keys() >= KSERVE_FIELDS
    kubernetes_validate.validate(as_pod(predictor), OLDEST, strict=True)


def test_the_schemas_reject_an_unknown_field():
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    deployment = by_kind("overlays/production")["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, OLDEST, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_has_no_privileges(overlay):
    pod = pod_of(overlay)
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (scratch,) = pod["volumes"]
    assert (pod["containers"][0]["volumeMounts"], scratch["emptyDir"]["medium"]) == (
        [{"name": scratch["name"], "mountPath": "/tmp"}],  # noqa: S108
        "Memory",
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_is_killed_only_after_it_has_drained(overlay):
    pod = pod_of(overlay)
    container = pod["containers"][0]
    drain = int(next(entry["value"] for entry in container["env"] if entry["name"] == "DRAIN_TIMEOUT_S"))
    assert drain == ServingConfig.of().drain_timeout_s
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain < pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_server_answers_every_probe(overlay, tiny_server):
    container = pod_of(overlay)["containers"][0]
    (port,) = container["ports"]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container[name]["httpGet"]
        assert probe["port"] in (port["name"], port["containerPort"])
        assert tiny_server.request("GET", probe["path"])[0] == 200


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_has_three_minutes_to_start_and_whole_cores(overlay):
    container = pod_of(overlay)["containers"][0]
    startup, resources = container["startupProbe"], container["resources"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 180
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"] == str(int(resources["limits"]["cpu"]))
    assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory"}


def test_one_pod_may_fail_in_production_and_updates_never_go_below():
    manifests = by_kind("overlays/production")
    autoscaler = manifests["HorizontalPodAutoscaler"]["spec"]
    assert 2 <= autoscaler["minReplicas"] < autoscaler["maxReplicas"]
    assert manifests["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert manifests["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "replicas" not in manifests["Deployment"]["spec"]  # the autoscaler sets the number


@pytest.mark.parametrize("overlay", DEPLOYMENTS)
def test_everything_selects_the_pods_of_the_deployment(overlay):
    manifests = by_kind(overlay)
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Service"]["spec"]["selector"] == labels
    for kind, name in (
        ("Deployment", "selector"),
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
    ):
        assert manifests[kind]["spec"][name] == {"matchLabels": labels}
    target = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", manifests["Deployment"]["metadata"]["name"])


def test_only_its_own_namespace_and_the_named_ones_may_send_requests():
    policy = by_kind("overlays/production")["NetworkPolicy"]["spec"]
    own_namespace, others = policy["ingress"][0]["from"]
    assert own_namespace == {"podSelector": {}}
    (named,) = others["namespaceSelector"]["matchExpressions"]
    assert (named["key"], named["operator"]) == ("kubernetes.io/metadata.name", "In")
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy


@pytest.mark.parametrize(("overlay", "has_token"), [(DEPLOYMENTS[0], True), (DEPLOYMENTS[1], False), ("kserve", True)])
def test_callers_need_a_token_where_others_can_reach_the_service(overlay, has_token):
    env = {entry["name"]: entry for entry in pod_of(overlay)["containers"][0]["env"]}
    assert ("API_TOKEN" in env) == has_token
    if has_token:
        secret = {"name": "bert-textclassification-token", "key": "token"}
        assert env["API_TOKEN"]["valueFrom"] == {"secretKeyRef": secret}


def test_an_overlay_sets_image_resources_and_replicas():
    manifests = by_kind("overlays/development")
    (container,) = pod_of("overlays/development")["containers"]
    assert container["image"] == "bert-textclassification:1"
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "768Mi"}
    autoscaler = manifests["HorizontalPodAutoscaler"]["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (1, 2)
    assert {manifest["metadata"]["namespace"] for manifest in manifests.values()} == {"default"}
