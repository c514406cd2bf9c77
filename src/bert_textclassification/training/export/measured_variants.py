"""The variants measured so far, on disk: an interrupted export resumes from them."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from bert_textclassification.artifact.manifest import Variant

UNFINISHED = "unfinished.json"


class Unfinished:
    """The variants measured so far, stored in a file of the artifact's folder."""

    def __init__(self, folder: Path, made_from: Iterable[str], files: Iterable[str]) -> None:
        """Resume from `folder` if `made_from` is unchanged; otherwise delete the `files` in it and start again.

        Args:
            folder: of the artifact.
            made_from: everything that determines the measurements: hashes, settings, versions.
            files: names of the files that an earlier export may have left.
        """
        self._path = folder / UNFINISHED
        self._key = hashlib.sha256("\n".join(made_from).encode()).hexdigest()
        self._measured: dict[str, Variant] = {}
        if self._path.exists():
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content["made_from"] == self._key:
                self._measured = {name: Variant.model_validate(value) for name, value in content["measured"].items()}
                return
        for name in files:
            (folder / name).unlink(missing_ok=True)
        self._write()

    def get(self, name: str) -> Variant | None:
        """Return the variant, or None if it is not measured yet."""
        return self._measured.get(name)

    def put(self, name: str, variant: Variant) -> Variant:
        """Store the measured variant and return it."""
        self._measured[name] = variant
        self._write()
        return variant

    def finish(self) -> None:
        """Delete the file: the artifact is complete."""
        self._path.unlink()

    def _write(self) -> None:
        content = {
            "made_from": self._key,
            "measured": {name: variant.model_dump(mode="json") for name, variant in self._measured.items()},
        }
        partial = self._path.with_name(f"{UNFINISHED}.partial")
        partial.write_text(json.dumps(content), encoding="utf-8")
        partial.replace(self._path)
