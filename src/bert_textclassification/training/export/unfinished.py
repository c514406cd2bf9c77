"""What is measured so far of an artifact in the making: after an interruption it goes on from there."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from bert_textclassification.artifact.manifest import Variant

UNFINISHED = "unfinished.json"


class Unfinished:
    """The variants measured so far, kept in a file of the artifact's folder."""

    def __init__(self, folder: Path, made_from: Iterable[str], files: Iterable[str]) -> None:
        """Go on with what is in `folder` if it was made from the same; otherwise delete the `files` that are there.

        Args:
            folder: of the artifact.
            made_from: what determines the measurements: hashes, settings, versions.
            files: names of everything that may be left over.
        """
        self._path = folder / UNFINISHED
        self._key = hashlib.sha256("\n".join(made_from).encode()).hexdigest()
        self._measured: dict[str, Variant] = {}
        if self._path.exists():
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content["made_from"] == self._key:
                self._measured = {name: Variant.model_validate(one) for name, one in content["measured"].items()}
                return
        for name in files:
            (folder / name).unlink(missing_ok=True)
        self._write()

    def get(self, name: str) -> Variant | None:
        """Return the variant if it is measured."""
        return self._measured.get(name)

    def put(self, name: str, variant: Variant) -> Variant:
        """Keep what was measured, and return it."""
        self._measured[name] = variant
        self._write()
        return variant

    def finish(self) -> None:
        """Forget it: the artifact is complete."""
        self._path.unlink()

    def _write(self) -> None:
        content = {
            "made_from": self._key,
            "measured": {name: one.model_dump(mode="json") for name, one in self._measured.items()},
        }
        partial = self._path.with_name(f"{UNFINISHED}.partial")
        partial.write_text(json.dumps(content), encoding="utf-8")
        partial.replace(self._path)
