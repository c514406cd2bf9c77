"""Google Cloud's client libraries, imported when they are needed, with errors of one sentence."""

import contextlib
import importlib
import time
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from ops.config_file import Settings
from ops.errors import CloudError

_REMEDIES = {
    400: "change the setting that it names",
    401: "run `gcloud auth application-default login`",
    403: "enable the API in this project, and give the caller the role that it names",
    404: "check `project` and `region`, and that the image was pushed",
    409: "something else changes it; run the same command again in a minute",
    429: "ask for a higher quota, or use less of it",
}


class GoogleSettings(Settings):
    """Where in Google Cloud; the caller is who `gcloud auth application-default login` signed in."""

    project: str = Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$", description="Project, by its id")
    region: str = Field(default="europe-west4", pattern=r"^[a-z]+-[a-z]+[0-9]+$", description="Region")
    endpoint: str | None = Field(default=None, description="Another server that speaks the protocol, for tests")

    @property
    def parent(self) -> str:
        """Return what stands before the name of everything in this project and region."""
        return f"projects/{self.project}/locations/{self.region}"


def library(name: str) -> Any:
    """Return the module `google.cloud.NAME`.

    Raises:
        CloudError: the extra is not installed.
    """
    try:
        return importlib.import_module(f"google.cloud.{name}")
    except ImportError:
        raise CloudError(
            f"Google's client library google.cloud.{name} is missing; `pip install 'bert-textclassification[gcp]'`."
        ) from None


def client(kind: Any, settings: GoogleSettings, host: str) -> Any:
    """Return a client of the class `kind` that asks `host`.

    Raises:
        CloudError: nobody is signed in.
    """
    with explained(f"connect to {host}"):
        if settings.endpoint is None:
            return kind(client_options={"api_endpoint": host})
        channel = importlib.import_module("grpc").insecure_channel(settings.endpoint)
        return kind(transport=kind.get_transport_class("grpc")(channel=channel))


def found(get: Any, name: str) -> Any | None:
    """Return what `get` finds under `name`, or None.

    Raises:
        CloudError: Google refuses.
    """
    missing = importlib.import_module("google.api_core.exceptions").NotFound
    with explained(f"look for {name}"):
        try:
            return get(name=name)
        except missing:
            return None


def wait(operation: Any, what: str, seconds: float, pause_s: float = 5) -> Any:
    """Return the result of a long operation; say every minute that it goes on.

    Raises:
        CloudError: it takes longer, or fails.
    """
    start, said = time.monotonic(), 0.0
    with explained(what):
        while not operation.done():
            passed = time.monotonic() - start
            if passed > seconds:
                raise CloudError(f"Cannot {what} within {seconds:.0f} s; raise `timeout_s`, or look at its log.")
            if passed >= said:
                print(f"  {what}: {passed:.0f} s", flush=True)
                said += 60
            time.sleep(pause_s)
        return operation.result()


@contextlib.contextmanager
def explained(action: str) -> Iterator[None]:
    """Turn the errors of Google's libraries in this block into one sentence.

    Raises:
        CloudError: what was not possible, what Google said, and what to change.
    """
    api = importlib.import_module("google.api_core.exceptions")
    auth = importlib.import_module("google.auth.exceptions")
    try:
        yield
    except auth.GoogleAuthError as problem:
        raise CloudError(
            f"Cannot {action}: nobody is signed in ({_short(problem)}); run `gcloud auth application-default login`."
        ) from None
    except api.RetryError as problem:
        raise CloudError(
            f"Cannot {action}: Google does not answer ({_short(problem.cause or problem)}); check the network, or run "
            "`gcloud auth application-default login`."
        ) from None
    except api.GoogleAPICallError as problem:
        remedy = _REMEDIES.get(int(problem.code or 0), "run the same command again in a minute")
        raise CloudError(f"Cannot {action}: {_short(problem)}; {remedy}.") from None


def _short(problem: Exception) -> str:
    return " ".join(str(getattr(problem, "message", problem)).split()).rstrip(".")
