"""A workspace of Azure ML, by Microsoft's client library, with errors of one sentence."""

import contextlib
import functools
import importlib
import io
import time
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import Field

from ops.config_file import Settings
from ops.errors import CloudError

_REMEDIES = {
    400: "change the setting that it names",
    401: "run `az login`",
    403: "give the caller the role `AzureML Data Scientist` in the workspace",
    404: "check `subscription`, `resource_group` and `workspace`",
    409: "another change is going on; run the same command again in a minute",
    429: "run the same command again in a minute",
}


class AzureSettings(Settings):
    """Where in Azure; the caller is who `az login` signed in."""

    subscription: str = Field(pattern=r"^[0-9a-fA-F-]{36}$", description="Id of the subscription")
    resource_group: str = Field(min_length=1, max_length=90, description="Resource group of the workspace")
    workspace: str = Field(pattern=r"^[a-zA-Z0-9_-]{2,33}$", description="Workspace of Azure ML")


def load(kind: str, request: dict[str, Any]) -> Any:
    """Return `request` as the object of Microsoft's library that its schema checks.

    Args:
        kind: model, online_endpoint or online_deployment.
        request: what a YAML file of `az ml` holds.

    Raises:
        CloudError: the extra is not installed, or the schema refuses it.
    """
    with explained(f"describe the {kind.replace('_', ' ')}"):
        return getattr(_library("azure.ai.ml"), f"load_{kind}")(io.StringIO(yaml.safe_dump(request)))


class Workspace:
    """The models and endpoints of one workspace; it connects when it is first asked.

    Args:
        settings: which workspace.
        timeout_s: the longest wait for one change, in seconds.
    """

    def __init__(self, settings: AzureSettings, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s

    @functools.cached_property
    def client(self) -> Any:
        """The client of the library."""
        with explained("connect to Azure"):
            who = _library("azure.identity").DefaultAzureCredential()
            where = self._settings
            return _library("azure.ai.ml").MLClient(who, where.subscription, where.resource_group, where.workspace)

    def has_model(self, name: str, version: str) -> bool:
        """Return whether this version is registered."""
        return self._found(f"look for the model {name}", self.client.models.get, name, version) is not None

    def register(self, request: dict[str, Any]) -> None:
        """Upload the folder of a model and register it."""
        with explained(f"register the model {request['name']}"):
            self.client.models.create_or_update(load("model", request))

    def endpoint(self, name: str) -> Any | None:
        """Return the endpoint as it is; None where there is none."""
        return self._found(f"look for the endpoint {name}", self.client.online_endpoints.get, name)

    def create_endpoint(self, request: dict[str, Any]) -> None:
        """Create an endpoint without a deployment."""
        self._finish(f"create the endpoint {request['name']}", self._put_endpoint, load("online_endpoint", request))

    def delete_endpoint(self, name: str) -> None:
        """Delete the endpoint and all that is deployed to it; one that is not there is no error."""
        if self.endpoint(name) is not None:
            self._finish(f"delete the endpoint {name}", self.client.online_endpoints.begin_delete, name)

    def deployments(self, endpoint: str) -> set[str]:
        """Return the names of what is deployed."""
        with explained(f"list the deployments of {endpoint}"):
            return {one.name for one in self.client.online_deployments.list(endpoint)}

    def deploy(self, request: dict[str, Any]) -> None:
        """Create the deployment, or change it; the end of its log is told when it fails."""
        wanted, operations = load("online_deployment", request), self.client.online_deployments
        try:
            self._finish(f"deploy {request['name']}", operations.begin_create_or_update, wanted)
        except CloudError as problem:
            with contextlib.suppress(CloudError), explained("read the log"):
                log = operations.get_logs(request["name"], request["endpoint_name"], 20)
                problem = CloudError(f"{problem} The end of its log: {' | '.join(str(log).split(chr(10)))}")
            raise problem from None

    def undeploy(self, endpoint: str, names: set[str]) -> None:
        """Delete these deployments."""
        for name in sorted(names):
            self._finish(f"delete the deployment {name}", self.client.online_deployments.begin_delete, name, endpoint)

    def traffic(self, endpoint: str) -> dict[str, int]:
        """Return how many percent each deployment gets."""
        found = self.endpoint(endpoint)
        return dict(found.traffic or {}) if found is not None else {}

    def set_traffic(self, endpoint: str, percent: dict[str, int]) -> None:
        """Give each deployment so many percent."""
        found = self.endpoint(endpoint)
        if found is not None:
            found.traffic = percent
            self._finish(f"move the traffic of {endpoint}", self._put_endpoint, found)

    def _put_endpoint(self, endpoint: Any) -> Any:
        return self.client.online_endpoints.begin_create_or_update(endpoint)

    def _found(self, action: str, get: Any, *names: str) -> Any | None:
        missing = _library("azure.core.exceptions").ResourceNotFoundError
        with explained(action):
            try:
                return get(*names)
            except missing:
                return None

    def _finish(self, what: str, start: Any, *values: Any) -> None:
        """Start a long operation and wait; say every minute that it goes on."""
        begun, said = time.monotonic(), 0.0
        with explained(what):
            poller = start(*values)
            while not poller.done():
                passed = time.monotonic() - begun
                if passed > self._timeout_s:
                    raise CloudError(f"Cannot {what} within {self._timeout_s:.0f} s; raise `timeout_s`.")
                if passed >= said:
                    print(f"  {what}: {passed:.0f} s", flush=True)
                    said += 60
                poller.wait(5)
            poller.result()


@contextlib.contextmanager
def explained(action: str) -> Iterator[None]:
    """Turn the errors of Microsoft's libraries in this block into one sentence.

    Raises:
        CloudError: what was not possible, what Azure said, and what to change.
    """
    core = _library("azure.core.exceptions")
    library = _library("azure.ai.ml.exceptions")
    schema = _library("marshmallow.exceptions")
    try:
        yield
    except core.ClientAuthenticationError:
        raise CloudError(f"Cannot {action}: nobody is signed in to Azure; run `az login`.") from None
    except core.HttpResponseError as problem:
        remedy = _REMEDIES.get(problem.status_code or 0, "run the same command again in a minute")
        if "quota" in str(problem.message).lower():
            remedy = "ask for a higher quota, or change `instance_type` or `instances`"
        raise CloudError(f"Cannot {action}: {_first_line(problem.message)}; {remedy}.") from None
    except (core.AzureError, library.MlException) as problem:
        raise CloudError(f"Cannot {action}: {_first_line(problem)}.") from None
    except schema.ValidationError as problem:
        raise CloudError(f"Cannot {action}: {' '.join(str(problem).split())}.") from None


def _first_line(said: Any) -> str:
    return (str(said).strip() or "it said nothing").splitlines()[0].rstrip(".")


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise CloudError(
            f"Microsoft's client library {name} is missing; `pip install 'bert-textclassification[azure]'`."
        ) from None
