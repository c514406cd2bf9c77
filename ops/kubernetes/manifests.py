"""The manifests, with the settings of the file put in."""

from pathlib import Path
from typing import Any

import yaml

from ops.kubernetes.settings import KubernetesSettings

Manifest = dict[str, Any]
_FOLDER = Path(__file__).parent / "manifests"
_NAME = "bert-textclassification"  # the one that stands in the files


def manifests(settings: KubernetesSettings, image: str) -> list[Manifest]:
    """Return what is applied, in that order: what `image` runs in comes first."""
    text = (_FOLDER / f"{settings.kind}.yaml").read_text(encoding="utf-8")
    found: list[Manifest] = [_renamed(one, settings.name) for one in yaml.safe_load_all(text)]
    for manifest in found:
        manifest["metadata"]["namespace"] = settings.namespace
        _SETTERS.get(manifest["kind"], _unchanged)(manifest, settings)
    for pod in map(pod_spec, found):
        if pod is not None:
            _set_container(pod["containers"][0], settings, image)
    return found


def pod_spec(manifest: Manifest) -> Manifest | None:
    """Return the description of the pods in `manifest`; None where there is none."""
    spec: Manifest = manifest["spec"]
    pod = spec.get("predictor") or spec.get("template", {}).get("spec")
    return pod if isinstance(pod, dict) else None


def _renamed(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(one, name) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, name) for one in value]
    return name if value == _NAME else value


def _set_container(container: Manifest, settings: KubernetesSettings, image: str) -> None:
    container["image"] = image
    cores = str(settings.cores)
    container["resources"] = {
        "requests": {"cpu": cores, "memory": f"{settings.memory_mib // 2}Mi"},
        "limits": {"cpu": cores, "memory": f"{settings.memory_mib}Mi"},
    }
    if settings.token_secret:
        secret = {"name": settings.token_secret, "key": "token"}
        container["env"].append({"name": "API_TOKEN", "valueFrom": {"secretKeyRef": secret}})


def _set_autoscaler(manifest: Manifest, settings: KubernetesSettings) -> None:
    scaling = settings.scaling
    manifest["spec"] |= {"minReplicas": scaling.smallest, "maxReplicas": scaling.largest}
    manifest["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = scaling.cpu_percent


def _set_network_policy(manifest: Manifest, settings: KubernetesSettings) -> None:
    others = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        for name in settings.allowed_namespaces
    ]
    manifest["spec"]["ingress"][0]["from"].extend(others)


def _set_predictor(manifest: Manifest, settings: KubernetesSettings) -> None:
    scaling = settings.scaling
    manifest["spec"]["predictor"] |= {
        "minReplicas": scaling.smallest,
        "maxReplicas": scaling.largest,
        "scaleTarget": scaling.cpu_percent,
    }


def _unchanged(manifest: Manifest, settings: KubernetesSettings) -> None:
    """Leave a manifest that has nothing to set."""


_SETTERS = {
    "HorizontalPodAutoscaler": _set_autoscaler,
    "NetworkPolicy": _set_network_policy,
    "InferenceService": _set_predictor,
}
