"""Which files a data set has, by split.

It is a CSV, TSV, JSON Lines or Parquet file, a folder with files or folders called `train`, `validation` (or `valid`,
`val`, `dev`) and `test` (the last two optional), or a folder of files that are one unsplit table.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from bert_textclassification.errors import DataError

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {name: name for name in SPLITS} | dict.fromkeys(("valid", "val", "dev"), "validation")


def find_files(path: Path) -> dict[str, list[Path]]:
    """Return the files of each split at `path`.

    Raises:
        DataError: there is no readable file, a folder has a validation or test split but no train, a split is there
            twice, or other data lie beside the splits.
    """
    if path.is_file():
        return {"train": [path]}
    found = _files_of_splits(path) or {"train": _data_files(path)}
    if not found.get("train"):
        raise DataError(f"{path} holds no training data; put a {', '.join(FORMATS)} file there, or in a folder train/.")
    return {name: found[name] for name in SPLITS if name in found}


def _files_of_splits(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each split: `train.csv` and the like, or those in the folder `train`."""
    entries = {entry: _split_of(entry) for entry in _shown(folder)}
    holding: dict[str, Path] = {}
    for entry, split in entries.items():
        if split is None or not _files_at(entry):
            continue
        if split in holding:
            raise DataError(f"{holding[split]} and {entry} are both the split {split}; keep one of them.")
        holding[split] = entry
    if holding:
        _refuse_data_beside(entry for entry, split in entries.items() if split is None)
    return {split: _files_at(entry) for split, entry in holding.items()}


def _refuse_data_beside(others: Iterable[Path]) -> None:
    for other in others:
        if os.access(other, os.R_OK) and _files_at(other):  # a volume's lost+found cannot be looked into
            raise DataError(
                f"{other} holds data beside the splits but is none of them; rename it to one of "
                f"{', '.join(SPLIT_NAMES)}, or move it elsewhere."
            )


def _split_of(entry: Path) -> str | None:
    return SPLIT_NAMES.get((entry.name if entry.is_dir() else entry.stem).lower())


def _files_at(entry: Path) -> list[Path]:
    """Return the data files that `entry` of a folder is or holds."""
    if entry.is_dir():
        return _data_files(entry)
    return [entry] if entry.suffix.lower() in FORMATS and entry.is_file() else []


def _data_files(folder: Path) -> list[Path]:
    return [path for path in _shown(folder) if path.suffix.lower() in FORMATS and path.is_file()]


def _shown(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
