"""How a command of this package is written, to be pasted."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from bert_textclassification import PROGRAM


def command_line(arguments: Iterable[str]) -> str:
    """Return a command of this package, to be pasted in the working directory."""
    script = Path(sys.executable).with_name(PROGRAM)
    program = [shown(script)] if script.exists() else [shown(Path(sys.executable)), "-m", "bert_textclassification"]
    return shlex.join([*program, *arguments])


def shown(path: Path) -> str:
    """Return `path` as it is written from the working directory, where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
