"""Write commands of this package that a user can paste into a shell."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from bert_textclassification import PROGRAM


def command_line(arguments: Iterable[str]) -> str:
    """Return the command of this package with `arguments`, for the working directory, quoted for a shell."""
    script = Path(sys.executable).with_name(PROGRAM)
    program = [shown(script)] if script.exists() else [shown(Path(sys.executable)), "-m", "bert_textclassification"]
    return shlex.join([*program, *arguments])


def shown(path: Path) -> str:
    """Return `path` relative to the working directory if it is below it, else unchanged."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
