"""Steps that create immutable resources with a name: models and endpoint configurations."""

from collections.abc import Callable
from typing import Any

from ops.aws import explained
from ops.plan import Step
from ops.sagemaker_settings import Clients
from ops.waiting import delete_if_there, found


def creation(clients: Clients, kind: str, key: str, request: dict[str, Any], is_used: Callable[[], bool]) -> Step:
    """Return the step for a `model` or an `endpoint_config` named by its `key`; it stays where `is_used` says so."""
    name, title = {key: request[key]}, f"create the {kind.replace('_', ' ')} {request[key]}"

    def run() -> None:
        with explained(title):
            getattr(clients.sagemaker, f"create_{kind}")(**request)

    def is_done() -> bool:
        return found(getattr(clients.sagemaker, f"describe_{kind}"), **name) is not None

    def undo() -> None:
        delete_if_there(getattr(clients.sagemaker, f"delete_{kind}"), **name)

    return Step(title, run, request, is_done, unless(is_used, undo))


def unless(is_used: Callable[[], bool], undo: Callable[[], None]) -> Callable[[], None]:
    """Return an `undo` that keeps what a deployment still needs after an interruption."""
    return lambda: None if is_used() else undo()
