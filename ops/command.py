"""A command that creates or changes a service, or deletes it: `--config`, `--delete`, `--yes`."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from ops.config_file import Settings, read
from ops.plan import Step, arguments, carry_out, exit_status

S = TypeVar("S", bound=Settings)


def deploy_or_delete(
    argv: Sequence[str] | None,
    description: str | None,
    config: str,
    model: type[S],
    deployment: Callable[[S], list[Step]],
    deletion: Callable[[S], list[Step]],
    delete: str,
) -> int:
    """Read the settings, a `model`, and carry out one of the two plans; return the exit status.

    Args:
        argv: the command line; None for the process's own.
        description: of the command, for its help.
        config: file of settings where the command line names no other.
        model: what the settings are checked against.
        deployment: the plan that creates or changes.
        deletion: the plan that deletes.
        delete: what `--delete` does, for the help.
    """
    asked = arguments(description, config, argv, delete=delete)

    def run() -> None:
        settings = read(asked.config, model)
        carry_out(deletion(settings) if asked.delete else deployment(settings), asked.yes)

    return exit_status(run)
