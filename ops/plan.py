"""A plan: steps that are printed first, skipped where they are already done, and undone when a later one fails."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from bert_textclassification.errors import UserError


@dataclass(frozen=True)
class Step:
    """One change.

    Attributes:
        title: what it does, such as `create the endpoint tickets`.
        run: makes the change.
        request: what is sent, for the plan; no secrets.
        is_done: whether nothing is left to do, for example after an interruption.
        undo: reverts the change when a later step fails; None where there is nothing to revert.
    """

    title: str
    run: Callable[[], None]
    request: Mapping[str, Any] = field(default_factory=dict)
    is_done: Callable[[], bool] = lambda: False
    undo: Callable[[], None] | None = None


def arguments(
    description: str | None, config: str, argv: Sequence[str] | None = None, **switches: str
) -> argparse.Namespace:
    """Parse `--config`, with the default `config`, and `--yes`; `switches` are options by name, with their help."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=config, help="file of settings (default: %(default)s)")
    parser.add_argument("--yes", action="store_true", help="carry out the plan; without this it is only printed")
    for name, meaning in switches.items():
        parser.add_argument(f"--{name}", action="store_true", help=meaning)
    return parser.parse_args(argv)


def carry_out(steps: Sequence[Step], yes: bool) -> None:
    """Print the plan; with `yes`, run the steps that are not done, and undo them when one of them fails.

    Raises:
        UserError: a step failed; those before it were undone, last first.
    """
    for number, step in enumerate(steps, 1):
        print(f"{number}. {step.title}")
        if step.request:
            print(_indented(step.request), end="")
    if not yes:
        print("Nothing was changed. Add --yes to do it.")
        return
    done: list[Step] = []
    try:
        for step in steps:
            if step.is_done():
                print(f"already done: {step.title}", flush=True)
                continue
            print(f"{step.title} ...", flush=True)
            done.append(step)
            step.run()
    except (Exception, KeyboardInterrupt):
        undo(done)
        raise


def undo(done: Sequence[Step]) -> None:
    """Undo the steps, last first; print a step that cannot be undone, and undo the others."""
    for step in reversed(done):
        if step.undo is not None:
            print(f"undoing: {step.title}", file=sys.stderr, flush=True)
            try:
                step.undo()
            except UserError as problem:
                print(f"error: not undone: {step.title}: {problem}", file=sys.stderr)


def _indented(request: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(dict(request), sort_keys=False, allow_unicode=True, width=110)
    return "".join(f"     {line}\n" for line in text.splitlines())


def exit_status(run: Callable[[], None]) -> int:
    """Run a command; print the sentence of a UserError, and return the exit status."""
    try:
        run()
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; run the same command again to continue.", file=sys.stderr)
        return 130
    return 0
