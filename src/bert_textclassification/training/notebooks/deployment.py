"""Run commands of `ops` from a notebook; without `--yes` they only print their plan."""

import shlex
import subprocess
import sys
from pathlib import Path

from bert_textclassification.errors import UserError

_REPOSITORY = Path(__file__).parents[4]  # the package is installed in editable mode


def run_command(target: str, root: str | Path = _REPOSITORY) -> str:
    """Return the output of a command of `ops`: its plan and, with `--yes`, the log of its execution.

    Args:
        target: a command and its options, such as `image --config mine.yaml`; if empty, the commands are listed.
        root: folder of the repository.

    Raises:
        UserError: there is no such command, or it failed.
    """
    root = Path(root).resolve()
    known = ", ".join(_commands(root))
    if not target:
        return f"No target is set. To see a plan, set target to one of: {known}."
    name, *options = shlex.split(target)
    if name not in _commands(root):
        raise UserError(f"There is no command {name!r} in ops; set target to one of: {known}.")
    done = subprocess.run([sys.executable, "-m", f"ops.{name}", *options], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"ops.{name} failed with status {done.returncode}: {done.stderr.strip()[-1500:]}")
    return done.stdout


def _commands(root: Path) -> list[str]:
    modules = [path for path in (root / "ops").glob("*.py") if '__name__ == "__main__"' in path.read_text("utf-8")]
    packages = [path.parent for path in (root / "ops").glob("*/__main__.py")]
    return sorted(path.stem for path in (*modules, *packages))
