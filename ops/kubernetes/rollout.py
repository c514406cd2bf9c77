"""How far the pods of a Deployment or an InferenceService are."""

from typing import Any

from ops.errors import CloudError
from ops.kubernetes.manifests import Manifest


def progress(live: Manifest | None) -> tuple[bool, str]:
    """Return whether the object, as it is in the cluster, is ready, and how far it is.

    Raises:
        CloudError: it was deleted, or has given up.
    """
    if live is None:
        raise CloudError("It was deleted while it started.")
    return _of_deployment(live) if live["kind"] == "Deployment" else _of_conditions(live)


def _of_deployment(live: Manifest) -> tuple[bool, str]:
    status = live.get("status") or {}
    wanted = live["spec"].get("replicas", 1)
    updated, ready = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return False, "waiting for the cluster to see the change"
    given_up = _condition(status, "Progressing")
    if given_up.get("reason") == "ProgressDeadlineExceeded":
        raise CloudError(f"The rollout has failed: {given_up.get('message', '').rstrip('.')}.")
    done = updated == wanted == status.get("replicas", 0) and ready == wanted
    return done, f"{updated} of {wanted} pods are new, {ready} are available"


def _of_conditions(live: Manifest) -> tuple[bool, str]:
    status = live.get("status") or {}
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return False, "waiting for KServe to see the change"
    ready = _condition(status, "Ready")
    if ready.get("status") == "True":
        return True, f"ready at {status.get('url', 'its address')}"
    return False, f"not ready: {ready.get('reason') or 'no condition yet'}"


def _condition(status: Manifest, kind: str) -> dict[str, Any]:
    return next((one for one in status.get("conditions") or [] if one["type"] == kind), {})
