"""Checkpoints of a fine-tuning that may be interrupted; only complete ones are gone on from.

    <folder>/checkpoint-120/    what the Trainer writes, and complete.json, written last
    <folder>/finished/          the model, once training is over

Each combination of settings, data and base model has a folder of its own, so that a changed run never goes on from
another's state.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from bert_textclassification.training.fine_tuning import distributed

COMPLETE = "complete.json"
_PARTIAL = f"{COMPLETE}.partial"  # inside the folder: it goes with it, and is never taken for another checkpoint
_PREFIX = "checkpoint-"
_STATE = "trainer_state.json"


class Checkpoints:
    """The checkpoints of one fine-tuning, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.finished = folder / "finished"

    @classmethod
    def of(cls, root: Path, made_from: Sequence[str]) -> "Checkpoints":
        """Return those below `root` of the run that `made_from` determines."""
        return cls(root / hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:16])

    def latest(self) -> Path | None:
        """Return the latest complete checkpoint that every host has; those that are not complete are deleted.

        So are those after it, which would be taken for newer than the ones to come.
        """
        for path in self._all():
            if not is_complete(path):
                shutil.rmtree(path)
        steps = {_step(path) for path in self._all() if is_complete(self._best_of(path))}
        common = set.intersection(*distributed.gather(steps))
        latest = max(common, default=0)
        for path in self._all():
            if _step(path) > latest:
                shutil.rmtree(path)
        return self.folder / f"{_PREFIX}{latest}" if common else None

    def prune(self) -> None:
        """Delete all but the last two and the best that each of them knows: one of the two may turn out damaged."""
        last = self._all()[-2:]
        kept = {*last, *map(self._best_of, last)}
        for path in self._all():
            if path not in kept:
                shutil.rmtree(path)

    def is_finished(self) -> bool:
        """Whether every host has the model that the training gave."""
        return all(distributed.gather(is_complete(self.finished)))

    def finish(self) -> None:
        """Say that `finished/` is written, and delete the checkpoints."""
        mark_complete(self.finished)
        for path in self._all():
            shutil.rmtree(path)

    def _all(self) -> list[Path]:
        found = [path for path in self.folder.glob(f"{_PREFIX}*") if path.is_dir() and _step_text(path).isdecimal()]
        return sorted(found, key=_step)

    def _best_of(self, path: Path) -> Path:
        """Return the best checkpoint so far as `path` knows it, which may be lost: the end goes back to it."""
        step = json.loads((path / _STATE).read_text(encoding="utf-8")).get("best_global_step")
        return self.folder / f"{_PREFIX}{step}" if step else path


class MarkComplete(TrainerCallback):
    """Says of each checkpoint that it is complete, once it is, and only then lets older ones go."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint just written."""
        if args.should_save:
            folder = Path(args.output_dir)
            mark_complete(folder / f"{_PREFIX}{state.global_step}")
            Checkpoints(folder).prune()


def mark_complete(folder: Path) -> None:
    """Write down the files of `folder` and their sizes, in one step."""
    own = {COMPLETE, _PARTIAL}
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file() and path.name not in own}
    partial = folder / _PARTIAL
    partial.write_text(json.dumps(sizes), encoding="utf-8")
    partial.replace(folder / COMPLETE)


def is_complete(folder: Path) -> bool:
    """Whether `folder` was written to its end and nothing of it is missing or cut off."""
    try:
        sizes = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _step(path: Path) -> int:
    return int(_step_text(path))


def _step_text(path: Path) -> str:
    return path.name.removeprefix(_PREFIX)
