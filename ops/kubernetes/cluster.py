"""A cluster: objects are applied on its side, looked at, put back and deleted, by Kubernetes' own client library."""

import contextlib
import importlib
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from ops.errors import CloudError
from ops.kubernetes.manifests import Manifest

_MANAGER = "bert-textclassification-ops"
_REMEDIES = {
    401: "sign in to the cluster again",
    403: "let the caller change this kind of object in the namespace, or raise the namespace's quota",
    404: "create the namespace, or change `namespace`",
    409: "another tool owns this field; let go of it there",
    422: "change the setting that it names",
}


class Cluster:
    """One namespace of a cluster.

    Args:
        context: of the kubeconfig; None for the current one.
        namespace: where everything is.

    Raises:
        CloudError: there is no such context, the cluster does not answer, or the client library is missing.
    """

    def __init__(self, context: str | None, namespace: str) -> None:
        try:
            self._library = importlib.import_module("kubernetes")
            dynamic = importlib.import_module("kubernetes.dynamic")
        except ImportError:
            raise CloudError(
                "The client library of Kubernetes is missing; `pip install 'bert-textclassification[kubernetes]'`."
            ) from None
        self.namespace = namespace
        with self._explained("reach the cluster"):
            # Given by name, because the library reads the variable only once, when it is imported.
            file = os.environ.get("KUBECONFIG")
            connection = self._library.config.new_client_from_config(config_file=file, context=context)
            connection.configuration.retries = 2
            self._objects = dynamic.DynamicClient(connection)
            self._core = self._library.client.CoreV1Api(connection)

    def apply(self, manifest: Manifest) -> None:
        """Create the object, or change of it what `manifest` says, on the server's side."""
        with self._explained(f"apply {label(manifest)}"):
            self._kind(manifest).server_side_apply(
                body=manifest, namespace=self.namespace, field_manager=_MANAGER, force_conflicts=True
            )

    def get(self, manifest: Manifest) -> Manifest | None:
        """Return the object that `manifest` names as it is in the cluster; None where there is none."""
        with self._explained(f"look at {label(manifest)}"):
            try:
                found = self._kind(manifest).get(name=manifest["metadata"]["name"], namespace=self.namespace)
            except self._library.client.ApiException as problem:
                if problem.status == 404:
                    return None
                raise
            return dict(found.to_dict())

    def put_back(self, manifest: Manifest, before: Manifest | None) -> None:
        """Give the object the spec that it had; delete it where there was none."""
        if before is None:
            self.delete(manifest)
            return
        with self._explained(f"put back {label(manifest)}"):
            self._kind(manifest).patch(
                name=manifest["metadata"]["name"],
                namespace=self.namespace,
                body=[{"op": "replace", "path": "/spec", "value": before["spec"]}],
                content_type="application/json-patch+json",
            )

    def delete(self, manifest: Manifest) -> None:
        """Delete the object that `manifest` names, and what it owns; one that is not there is no error."""
        with self._explained(f"delete {label(manifest)}"):
            try:
                self._kind(manifest).delete(
                    name=manifest["metadata"]["name"],
                    namespace=self.namespace,
                    body={"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"},
                )
            except self._library.client.ApiException as problem:
                if problem.status != 404:
                    raise

    def wait(self, progress: Callable[[], tuple[bool, str]], seconds: float, pods: str) -> None:
        """Ask `progress` for whether it is done, and how far it is, and print that, until it is done.

        Args:
            progress: raises CloudError when it will never be done.
            seconds: the longest wait.
            pods: label selector of the pods whose troubles and last lines are told when it fails.

        Raises:
            CloudError: it takes longer, or has failed.
        """
        deadline, said = time.monotonic() + seconds, ""
        while True:
            try:
                done, state = progress()
                if not done and time.monotonic() > deadline:
                    raise CloudError(f"It is not ready after {seconds:.0f} s ({state}); raise `timeout_s`, or mend it.")
            except CloudError as problem:
                raise CloudError(f"{problem}{self._troubles(pods)}") from None
            if state != said:
                print(f"  {state}", flush=True)
                said = state
            if done:
                return
            time.sleep(1)

    def _troubles(self, pods: str) -> str:
        """Return why pods wait, and the end of the log of one, as further sentences."""
        with contextlib.suppress(CloudError), self._explained("look at the pods"):  # what failed is told already
            found = self._core.list_namespaced_pod(self.namespace, label_selector=pods).items
            states = [one for pod in found for one in pod.status.container_statuses or [] if not one.ready]
            waiting = [state.state.waiting for state in states if state.state.waiting]
            said = "".join(f" A pod waits: {one.reason}, {one.message or 'no message'}." for one in waiting[:1])
            if found:
                log = self._core.read_namespaced_pod_log(found[-1].metadata.name, self.namespace, tail_lines=5)
                said += f" The end of its log: {' | '.join(str(log).strip().splitlines())}"
            return said
        return ""

    def _kind(self, manifest: Manifest) -> Any:
        return self._objects.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])

    @contextlib.contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        dynamic = importlib.import_module("kubernetes.dynamic.exceptions")
        transport = importlib.import_module("urllib3.exceptions")
        try:
            yield
        except dynamic.ResourceNotFoundError:
            raise CloudError(f"Cannot {action}: the cluster does not know this kind; install KServe first.") from None
        except self._library.client.ApiException as problem:
            remedy = _REMEDIES.get(problem.status, "try again in a minute")
            raise CloudError(f"Cannot {action}: {_message(problem)} ({problem.status}); {remedy}.") from None
        except self._library.config.ConfigException as problem:
            raise CloudError(f"Cannot {action}: {_one_line(problem)}; set KUBECONFIG, or change `context`.") from None
        except (transport.HTTPError, OSError) as problem:
            raise CloudError(f"Cannot {action}: it does not answer ({_one_line(problem)}); check `context`.") from None


def label(manifest: Manifest) -> str:
    """Return kind and name."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _message(problem: Any) -> str:
    """Return what the server says, which is JSON, or else the reason of the status."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(problem.body)["message"]).rstrip(".")
    return str(problem.reason)


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split()).rstrip(".")
