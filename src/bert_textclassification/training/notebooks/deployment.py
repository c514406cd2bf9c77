"""The commands of `ops` from a notebook: they only print their plan unless told otherwise."""

import shlex
import subprocess
import sys
from pathlib import Path

from bert_textclassification.errors import UserError

_REPOSITORY = Path(__file__).parents[4]  # the package is installed from it, in place


def run_command(target: str, root: str | Path = _REPOSITORY) -> str:
    """Return what a command of `ops` prints: its plan and, with `--yes`, what it does.

    Args:
        target: a command and its options, such as `image --config mine.yaml`; when empty, the commands are named.
        root: folder of the repository.

    Raises:
        UserError: there is no such command, or it failed.
    """
    root = Path(root).resolve()
    known = ", ".join(_commands(root))
    if not target:
        return f"No target was chosen. To see the plan of one, set target to: {known}."
    name, *options = shlex.split(target)
    if name not in _commands(root):
        raise UserError(f"There is no command {name!r} in ops; set target to one of: {known}.")
    done = subprocess.run([sys.executable, "-m", f"ops.{name}", *options], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"ops.{name} ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
    return done.stdout


def _commands(root: Path) -> list[str]:
    modules = [path for path in (root / "ops").glob("*.py") if '__name__ == "__main__"' in path.read_text("utf-8")]
    packages = [path.parent for path in (root / "ops").glob("*/__main__.py")]
    return sorted(path.stem for path in (*modules, *packages))
