"""Checkpoints of a fine-tuning that may be interrupted; training resumes only from complete checkpoints.

    <folder>/checkpoint-120/    the files of the Trainer, and complete.json, written last
    <folder>/finished/          the model after training

Each combination of settings, data and base model has its own folder, so that a run never resumes from the state of a
different run.
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
_PARTIAL = f"{COMPLETE}.partial"  # in the checkpoint's folder, so that it is deleted with it
_PREFIX = "checkpoint-"
_STATE = "trainer_state.json"


class Checkpoints:
    """The checkpoints of one fine-tuning, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.finished = folder / "finished"

    @classmethod
    def of(cls, root: Path, made_from: Sequence[str]) -> "Checkpoints":
        """Return the checkpoints below `root` of the run that `made_from` identifies."""
        return cls(root / hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:16])

    def latest(self) -> Path | None:
        """Return the latest complete checkpoint that every host has.

        Incomplete checkpoints are deleted. Checkpoints after the returned one are deleted, too: they would count as
        newer than those that the resumed run writes.
        """
        for path in self._all():
            if not is_complete(path):
                shutil.rmtree(path)
        steps = {_step(path) for path in self._all() if is_complete(self._best_for(path))}
        common = set.intersection(*distributed.gather(steps))
        latest = max(common, default=0)
        for path in self._all():
            if _step(path) > latest:
                shutil.rmtree(path)
        return self.folder / f"{_PREFIX}{latest}" if common else None

    def prune(self) -> None:
        """Delete all but the last two checkpoints and their best checkpoints; the last one may turn out damaged."""
        last = self._all()[-2:]
        kept = {*last, *map(self._best_for, last)}
        for path in self._all():
            if path not in kept:
                shutil.rmtree(path)

    def is_finished(self) -> bool:
        """Whether every host has the finished model."""
        return all(distributed.gather(is_complete(self.finished)))

    def finish(self) -> None:
        """Mark `finished/` as complete and delete the checkpoints."""
        mark_complete(self.finished)
        for path in self._all():
            shutil.rmtree(path)

    def _all(self) -> list[Path]:
        paths = [path for path in self.folder.glob(f"{_PREFIX}*") if path.is_dir() and _step_text(path).isdecimal()]
        return sorted(paths, key=_step)

    def _best_for(self, path: Path) -> Path:
        """Return the best checkpoint up to `path`, which training loads at its end; it may not exist."""
        step = json.loads((path / _STATE).read_text(encoding="utf-8")).get("best_global_step")
        return self.folder / f"{_PREFIX}{step}" if step else path


class MarkComplete(TrainerCallback):
    """Marks each checkpoint as complete after it is written, and then deletes older ones."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint just written."""
        if args.should_save:
            folder = Path(args.output_dir)
            mark_complete(folder / f"{_PREFIX}{state.global_step}")
            Checkpoints(folder).prune()


def mark_complete(folder: Path) -> None:
    """Record the files of `folder` and their sizes, atomically."""
    paths = [path for path in folder.iterdir() if path.is_file() and path.name not in {COMPLETE, _PARTIAL}]
    sizes = {path.name: path.stat().st_size for path in paths}
    partial = folder / _PARTIAL
    partial.write_text(json.dumps(sizes), encoding="utf-8")
    partial.replace(folder / COMPLETE)


def is_complete(folder: Path) -> bool:
    """Whether `folder` was written completely and all files still have their recorded sizes."""
    try:
        sizes = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _step(path: Path) -> int:
    return int(_step_text(path))


def _step_text(path: Path) -> str:
    return path.name.removeprefix(_PREFIX)
