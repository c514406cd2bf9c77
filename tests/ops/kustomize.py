"""The features of kustomize that the overlays of ops/kubernetes use, for machines without kubectl."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

Manifest = dict[str, Any]
KNOWN = {"apiVersion", "kind", "namespace", "resources", "components", "images", "patches"}


def build(folder: Path) -> list[Manifest]:
    """Return the manifests of an overlay, in the order of its resources."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    assert kustomization.keys() <= KNOWN
    manifests = [manifest for name in kustomization.get("resources", []) for manifest in _resource(folder / name)]
    _transform(manifests, folder, kustomization)
    return manifests


def build_with_kubectl(folder: Path) -> list[Manifest]:
    """Return the manifests that kubectl builds from an overlay; skip the test if it is not installed."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    process = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    return list(yaml.safe_load_all(process.stdout))


def patch(manifest: Manifest, operations: list[dict[str, Any]]) -> None:
    """Apply the operations `add` and `replace` of a JSON patch (RFC 6902)."""
    for operation in operations:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place: Any = manifest
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place[name]
        if isinstance(place, list) and last == "-":
            assert operation["op"] == "add"
            place.append(operation["value"])
        else:
            assert operation["op"] == "add" or last in place, f"{operation['path']} replaces nothing"
            place[last] = operation["value"]


def _resource(path: Path) -> list[Manifest]:
    return build(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def _transform(manifests: list[Manifest], folder: Path, kustomization: Manifest) -> None:
    for name in kustomization.get("components", []):
        component = yaml.safe_load((folder / name / "kustomization.yaml").read_text(encoding="utf-8"))
        assert component["kind"] == "Component"
        _transform(manifests, folder / name, component)
    for change in kustomization.get("patches", []):
        targets = [manifest for manifest in manifests if manifest["kind"] == change["target"]["kind"]]
        assert targets, f"{change['target']} is not there"
        for manifest in targets:
            patch(manifest, yaml.safe_load(change["patch"]))
    for manifest in manifests:
        if "namespace" in kustomization:
            manifest["metadata"]["namespace"] = kustomization["namespace"]
        for image in kustomization.get("images", []):
            for container in containers(manifest):
                if container["image"] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"


def pod_spec(manifest: Manifest) -> Manifest | None:
    """Return the specification of the pods in a manifest, or None if it has no pods."""
    pod = manifest["spec"].get("predictor") or manifest["spec"].get("template", {}).get("spec")
    return pod if isinstance(pod, dict) else None


def containers(manifest: Manifest) -> list[Manifest]:
    """Return the containers in a manifest."""
    return (pod_spec(manifest) or {}).get("containers", [])


def canonical(manifests: list[Manifest]) -> list[str]:
    """Return sorted JSON texts of the manifests, to compare them in any order."""
    return sorted(json.dumps(manifest, sort_keys=True) for manifest in manifests)
