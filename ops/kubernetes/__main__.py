"""Serve on Kubernetes: push the image with the model in it, apply the manifests, and wait until the pods are ready.

When the pods do not become ready, what was there before is put back.

    python -m ops.kubernetes                    # the plan, with every manifest
    python -m ops.kubernetes --yes
    python -m ops.kubernetes --delete --yes

Settings: ops/config/kubernetes.yaml. The manifests: ops/kubernetes/manifests; the cluster is 1.30 or newer.
"""

import functools
import sys
from collections.abc import Callable, Sequence

from ops.command import deploy_or_delete
from ops.kubernetes.cluster import Cluster, label
from ops.kubernetes.manifests import Manifest, manifests
from ops.kubernetes.rollout import progress
from ops.kubernetes.settings import KubernetesSettings
from ops.plan import Step
from ops.push import pinned, reference
from ops.push import steps as push

CONFIG = "ops/config/kubernetes.yaml"
Connect = Callable[[], Cluster]


def main(argv: Sequence[str] | None = None) -> int:
    """Create, change or delete the service as the command line says; return the exit status."""
    return deploy_or_delete(
        argv, __doc__, CONFIG, KubernetesSettings, deployment, deletion, "delete the service instead"
    )


def deployment(settings: KubernetesSettings) -> list[Step]:
    """Return the steps that push the image, apply each manifest, and wait.

    Raises:
        PushError: there is no model.
    """
    cluster = _cluster(settings)
    planned = manifests(settings, reference(settings.image))
    applied = [_application(settings, cluster, number, one) for number, one in enumerate(planned)]
    return [
        *push(settings.image, f"docker login {settings.image.host}"),
        *applied,
        _waiting(settings, cluster, planned[0]),
    ]


def deletion(settings: KubernetesSettings) -> list[Step]:
    """Return the steps that delete what `deployment` applied; the image stays in its registry."""
    cluster = _cluster(settings)

    def step(manifest: Manifest) -> Step:
        return Step(
            f"delete {label(manifest)}",
            lambda: cluster().delete(manifest),
            is_done=lambda: cluster().get(manifest) is None,
        )

    return [step(one) for one in reversed(manifests(settings, settings.image.repository))]


def _application(settings: KubernetesSettings, cluster: Connect, number: int, planned: Manifest) -> Step:
    before: list[Manifest | None] = []

    def run() -> None:
        before.append(cluster().get(planned))
        cluster().apply(manifests(settings, pinned(settings.image))[number])

    def undo() -> None:
        for one in before:
            cluster().put_back(planned, one)

    return Step(f"apply {label(planned)} in {settings.namespace}", run, planned, undo=undo)


def _waiting(settings: KubernetesSettings, cluster: Connect, first: Manifest) -> Step:
    def run() -> None:
        pods = f"app.kubernetes.io/name={settings.name}"
        cluster().wait(lambda: progress(cluster().get(first)), settings.timeout_s, pods)

    return Step(f"wait until {label(first)} is ready, {settings.timeout_s} s at most", run)


def _cluster(settings: KubernetesSettings) -> Connect:
    """Return what connects at the first call: a plan needs no cluster."""
    return functools.cache(lambda: Cluster(settings.context, settings.namespace))


if __name__ == "__main__":
    sys.exit(main())
