"""What the commands of this package have in common: how they end early, and how a command is written to be pasted."""

import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from bert_textclassification.errors import UserError

INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it


def run(work: Callable[[], None], interrupted: str = "Interrupted before anything was written.") -> int:
    """Do the work of a command and return its exit status.

    An error of the user's is one sentence on stderr; so is Ctrl-C, with the text of the KeyboardInterrupt where it has
    one, else `interrupted`.
    """
    try:
        work()
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(f"\n{str(stopped) or interrupted}", file=sys.stderr)
        return INTERRUPTED
    return 0


def command_line(module: str, arguments: Iterable[str]) -> str:
    """Return the command that runs `module` with this interpreter, to be pasted in the working directory."""
    return shlex.join([shown(Path(sys.executable)), "-m", module, *arguments])


def shown(path: Path) -> str:
    """Return `path` as it is written from the working directory, where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
