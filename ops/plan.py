"""A plan: steps that are printed before they are done, skipped where they are done already, and undone on a failure."""

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
        title: what it does, as `create the endpoint tickets`.
        run: does it.
        request: what is sent, shown in the plan; no secrets.
        is_done: whether nothing is left to do, as when an interrupted deployment goes on.
        undo: takes it back when a later step fails; None where nothing has to be taken back.
    """

    title: str
    run: Callable[[], None]
    request: Mapping[str, Any] = field(default_factory=dict)
    is_done: Callable[[], bool] = lambda: False
    undo: Callable[[], None] | None = None


def arguments(
    description: str | None, config: str, argv: Sequence[str] | None = None, **switches: str
) -> argparse.Namespace:
    """Parse what every command takes: `--config`, by default the file `config`, and `--yes`; `switches` are its own.

    Each of `switches` is a name with its help.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=config, help="file of settings (default: %(default)s)")
    parser.add_argument("--yes", action="store_true", help="do it; without this the plan is only printed")
    for name, meaning in switches.items():
        parser.add_argument(f"--{name}", action="store_true", help=meaning)
    return parser.parse_args(argv)


def carry_out(steps: Sequence[Step], yes: bool) -> None:
    """Print the plan; with `yes`, do the steps that are not done, and undo what was done when one of them fails.

    Raises:
        UserError: of the step that failed, after the steps before it were undone, last first.
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
        take_back(done)
        raise


def take_back(done: Sequence[Step]) -> None:
    """Undo the steps, last first; one that cannot be undone is named and the others are still undone."""
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
    """Run a command; print the sentence of an error that is the user's to mend, and return the exit status."""
    try:
        run()
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; run the same command again to go on.", file=sys.stderr)
        return 130
    return 0
