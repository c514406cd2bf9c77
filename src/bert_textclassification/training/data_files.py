"""Which files a data set has, by split.

A data set is one file of FORMATS, or a folder, in which sub-folders count, too. The folder holds one of these:

- splits: files or folders called `train` (or `training`), `validation` (`valid`, `val`, `dev`) and `test` (`testing`),
  the last two optional; `train-00000-of-00002.parquet` and its like are parts of one split;
- files of other names, which are one unsplit table;
- nothing but one folder that is a data set itself, as where all splits are in the channel `training`.

Companions of data are not read: hidden files, names that begin with an underscore (`_SUCCESS`), documents, settings and
code by their ending, files such as LICENSE and SageMaker's `train-manifest`, descriptions such as `dataset_info.json`,
and the folder of a base model. Any other file is refused, and so is a companion with the name of a split.
"""

import re
from collections.abc import Callable
from pathlib import Path

from bert_textclassification.errors import DataError

TEXT_FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
FORMATS = (*TEXT_FORMATS, *(f"{form}.gz" for form in TEXT_FORMATS), ".parquet")
READABLE = f"{', '.join(TEXT_FORMATS)} (all of them with .gz, too) or .parquet"
SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {name: name for name in SPLITS} | {
    "training": "train",
    **dict.fromkeys(("valid", "val", "dev"), "validation"),
    "testing": "test",
}

_COMPANION_ENDINGS = frozenset((
    ".md", ".rst", ".txt", ".pdf", ".html", ".bib", ".cff", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".py", ".ipynb",
    ".sh", ".r", ".log", ".png", ".jpg", ".jpeg", ".svg", ".gif", ".md5", ".sha256", ".manifest",
))  # fmt: skip
_COMPANIONS = frozenset((
    "readme", "license", "licence", "notice", "copying", "authors", "citation", "changelog", "version", "makefile",
    "dockerfile", "thumbs.db", "dataset_info.json", "dataset_infos.json", "dataset_dict.json",
    "dataset-metadata.json", "datapackage.json", "metadata.json", "state.json", "schema.json", "config.json",
    "labels.json", "label_map.json", "label2id.json", "id2label.json",
))  # fmt: skip
_DELTA_LOG = "_delta_log"
_PART = re.compile(r"(?P<split>.+)-\d+-of-(?P<parts>\d+)(-[0-9a-f]+)?")
_REMEDIES = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), "save it as CSV UTF-8 in the spreadsheet program"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"), "unpack it"),
}


def find_files(path: Path) -> dict[str, list[Path]]:
    """Return the files of each split at `path`.

    Raises:
        DataError: there is no training data, a split is there twice, other data lie beside the splits, a file is named
            as another split than the one it lies in, or it is neither readable nor a companion of data.
    """
    if path.is_file():
        return {"train": [path]}
    found = _splits_in(path)
    if not found.get("train"):
        raise DataError(f"{path} holds no training data; put a {READABLE} file there, or in a folder train/.")
    return {name: found[name] for name in SPLITS if name in found}


def unread_files(path: Path) -> list[Path]:
    """Return the files of a folder that are not read as labelled texts, hidden ones aside."""
    read = {file for files in find_files(path).values() for file in files}
    return [file for file in sorted(path.rglob("*")) if file.is_file() and file not in read and not _hidden(file, path)]


def ending(path: Path) -> str:
    """Return the ending of a file's name that tells its format, such as `.csv.gz`, in lower case."""
    return next((form for form in FORMATS if path.name.lower().endswith(form)), path.suffix.lower())


def require_readable(path: Path) -> None:
    """Refuse a file of another format than FORMATS with the remedy for it."""
    if ending(path) not in FORMATS:
        remedy = _REMEDIES.get(ending(path), "convert it to one of these")
        raise DataError(f"{path} is not a {READABLE} file; {remedy}, or move it elsewhere if it is no data.")


def _splits_in(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each split; an unsplit table is called train."""
    entries = {entry: files for entry in _shown(folder) if (files := _tables_at(entry))}
    only = next(iter(entries), folder)
    if len(entries) == 1 and only.is_dir() and _split_of(only) in (None, "train"):
        return _splits_in(only)
    if any(_split_of(entry) for entry in entries):
        return _by_split(entries)
    files = [file for found in entries.values() for file in found]
    for file in files:
        _refuse_other_split(file, folder, "train", _split_of if _split_of(folder) else _split_mentioned)
    return {"train": files}


def _by_split(entries: dict[Path, list[Path]]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    holding: dict[str, Path] = {}
    for entry, files in entries.items():
        split = _split_of(entry)
        if split is None:
            raise DataError(
                f"{entry} holds data beside the splits but is none of them; rename it to one of "
                f"{', '.join(SPLIT_NAMES)}, or move it elsewhere."
            )
        first = holding.setdefault(split, entry)
        if entry != first and not _are_parts_of_one(first, entry):
            raise DataError(f"{first} and {entry} are both the split {split}; keep one of them.")
        for file in files:
            _refuse_other_split(file, entry, split, _split_of)
        found.setdefault(split, []).extend(files)
    return found


def _refuse_other_split(file: Path, folder: Path, split: str, split_of: Callable[[Path], str | None]) -> None:
    for part in file.relative_to(folder).parts:
        named = split_of(Path(part))
        if named not in (None, split):
            raise DataError(
                f"{file} lies in the data of {split} but its name says {named}; give the splits as files or folders "
                f"called {', '.join(SPLITS)} side by side, or rename it."
            )


def _split_of(entry: Path) -> str | None:
    """Return the split that a file or a folder has the name of."""
    return _split_called(_stem(entry))


def _split_called(stem: str) -> str | None:
    part = _PART.fullmatch(stem)
    return SPLIT_NAMES.get(part["split"] if part else stem)


def _split_mentioned(entry: Path) -> str | None:
    """Return the evaluation split that a word of the name means, such as test of `test_data.csv`."""
    words = re.findall("[a-z]+", _stem(entry))
    return next((SPLIT_NAMES[word] for word in words if SPLIT_NAMES.get(word, "train") != "train"), None)


def _stem(entry: Path) -> str:
    """Return the name in lower case and without the ending of a format, which a folder of parts may have, too."""
    return entry.name.lower().removesuffix(ending(entry) if ending(entry) in FORMATS else "")


def _are_parts_of_one(first: Path, second: Path) -> bool:
    parts = [_PART.fullmatch(_stem(path)) for path in (first, second)]
    keys = {part and (part["split"], part["parts"]) for part in parts}
    return None not in keys and len(keys) == 1 and ending(first) == ending(second)


def _tables_at(entry: Path) -> list[Path]:
    """Return the tables that an entry of a folder is or holds.

    Raises:
        DataError: a file is neither a table nor a companion of one.
    """
    if entry.is_dir():
        inside = [] if _is_model(entry) else _shown(entry)
        return [file for inner in inside for file in _tables_at(inner)]
    if _is_companion(entry):
        return []
    if not entry.is_file():
        raise DataError(f"{entry} is neither a file nor a folder; mend the link or remove it.")
    require_readable(entry)
    return [entry]


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(
        any(folder.glob(weights)) for weights in ("*.safetensors", "*.bin")
    )


def _is_companion(entry: Path) -> bool:
    if _split_called(entry.stem.lower()) is not None:
        return False
    name = entry.name.lower()
    return name in _COMPANIONS or name.endswith("-manifest") or entry.suffix.lower() in _COMPANION_ENDINGS


def _shown(folder: Path) -> list[Path]:
    """Return the entries of a folder that are not hidden, in order."""
    if folder.is_symlink() and folder.resolve() in [above.resolve() for above in folder.parents]:
        raise DataError(f"{folder} is a link to a folder above it; remove the link.")
    try:
        entries = sorted(folder.iterdir())
    except OSError as problem:
        raise DataError(f"{folder} cannot be looked into ({problem.strerror}); make it readable.") from None
    if folder / _DELTA_LOG in entries:
        raise DataError(f"{folder} is a Delta table, whose files hold deleted rows, too; write it as plain Parquet.")
    return [entry for entry in entries if not _hidden(entry, folder) and entry.name != "lost+found"]


def _hidden(entry: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_", "~$")) for part in entry.relative_to(folder).parts)
