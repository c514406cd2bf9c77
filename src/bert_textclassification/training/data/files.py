"""Which files a data set has, by split.

A data set is one file of FORMATS, or a folder, in which sub-folders count, too. The folder holds one of these:

- splits: files or folders called `train` (or `training`), `validation` (`valid`, `val`, `dev`) and `test` (`testing`),
  the last two optional; `train-00000-of-00002.parquet` and its like are parts of one split;
- files of other names, which are one unsplit table;
- nothing but one folder that is a data set itself, as where all splits are in the channel `training`.

Companions of data are not read: hidden files, names that begin with an underscore (`_SUCCESS`), documents, settings and
code by their ending, files such as LICENSE and SageMaker's `train-manifest`, descriptions such as `dataset_info.json`,
and the folder of a base model. Any other file is refused, and so is a companion with the name of a split, and a table
whose name mentions another split than the one it is read for (`test_data.csv`, `reviewsTest.csv`).
"""

import re
import warnings
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from bert_textclassification.errors import ConfigurationError, DataError
from bert_textclassification.training.config import TrainingConfig

BEHAVIORAL_TESTS = "behavioral_tests.yaml"  # the name that is looked for in the data folder
_OLD_NAME = "behaviours.yaml"  # works until 1.0
_OTHER_ENDINGS = ("behavioral_tests.yml", "behaviours.yml")

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
_CHECKSUMS = (".md5", ".sha256", ".manifest")  # of a file that lies beside them under its own name
_EVALUATION = "evaluation"  # what a name says that means validation or test
_MENTIONS = {word: split for word, split in SPLIT_NAMES.items() if split != "train"} | dict.fromkeys(
    ("eval", "evaluation", "holdout", "heldout"), _EVALUATION
)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")  # reviewsTest is two
_GLUE = "my|the|data|set|split|file|part|rows|texts?"  # around the name of a split, as in mytest
_GLUED = re.compile(rf"(?:{_GLUE})*(?P<name>{'|'.join(sorted(_MENTIONS, key=len, reverse=True))})(?:{_GLUE})*")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")
_DELTA_LOG = "_delta_log"
_PART = re.compile(r"(?P<split>.+)-\d+-of-(?P<parts>\d+)(-[0-9a-f]+)?")
_REMEDIES = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), "save it as CSV UTF-8 in the spreadsheet program"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"), "unpack it"),
}


def require_found(data: str) -> None:
    """Check that `data` is a path, or may be the name of a hub data set; nobody asks the hub here.

    Raises:
        DataError: it is neither.
    """
    path = Path(data)
    if not path.exists() and (not _HUB_NAME.fullmatch(data) or ending(path) in FORMATS):
        raise DataError(f"There is no file or folder {data}; give the path of your labelled texts.")


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
    return [file for file in shown_files(path) if file not in read]


def shown_files(folder: Path) -> list[Path]:
    """Return the files of a folder and its sub-folders that are not hidden, in order."""
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and not _hidden(file, folder)]


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
    _refuse_other_splits(files, folder, "train")
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
        _refuse_other_splits(files, entry, split)
        found.setdefault(split, []).extend(files)
    return found


def _refuse_other_splits(files: list[Path], folder: Path, split: str) -> None:
    """Refuse files in the data of `split` whose names, below `folder`, say that they are another split's."""
    parts = {file: file.relative_to(folder).parts for file in files}
    known = {word for names in parts.values() for name in names for word in _words(Path(name))}
    for file, names in parts.items():
        for said in (_split_of(Path(name)) or _split_mentioned(Path(name), known) for name in names):
            if said not in (None, split) and (said != _EVALUATION or split == "train"):
                raise DataError(
                    f"{file} lies in the data of {split} but its name says {said}; give the splits as files or folders "
                    f"called {', '.join(SPLITS)} side by side, or rename it."
                )


def _split_of(entry: Path) -> str | None:
    """Return the split that a file or a folder has the name of."""
    return _split_called(_stem(entry))


def _split_called(stem: str) -> str | None:
    part = _PART.fullmatch(stem)
    return SPLIT_NAMES.get(part["split"] if part else stem)


def _split_mentioned(entry: Path, known: Iterable[str] = ()) -> str | None:
    """Return the evaluation split that the name of `entry` mentions, such as test of `test_data.csv` and `mytest.csv`.

    A word that only ends or begins with the name of a split, such as `latest`, mentions it where the same word with
    train is among the `known` ones: `moviestest` beside `moviestrain`.
    """
    words = _words(entry)
    for word in [*words, *map("".join, pairwise(words))]:  # held_out is heldout
        if glued := _GLUED.fullmatch(word):
            return _MENTIONS[glued["name"]]
    beside = ((word, name) for word in words for name in _MENTIONS if word.replace(name, "train") in known)
    return next((_MENTIONS[name] for word, name in beside if name in word), None)


def _words(entry: Path) -> list[str]:
    return [word.lower() for word in _WORDS.findall(_name(entry))]


def _stem(entry: Path) -> str:
    """Return the name in lower case and without the ending of a format, which a folder of parts may have, too."""
    return _name(entry).lower()


def _name(entry: Path) -> str:
    return entry.name[: -len(ending(entry))] if ending(entry) in FORMATS else entry.name


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
    """Whether a folder is a base model and no data: a table in it, other than the JSON of a model, is data."""
    weights = any(any(folder.glob(weights)) for weights in ("*.safetensors", "*.bin"))
    tables = any(ending(file) in FORMATS and file.suffix.lower() != ".json" for file in folder.glob("*"))
    return (folder / "config.json").is_file() and weights and not tables and _split_of(folder) is None


def _is_companion(entry: Path) -> bool:
    """Whether a file is no data by its name: `test.csv.txt` and `test_data.txt` may well be some."""
    inner = Path(entry.stem)
    named = _split_called(entry.stem.lower()) or (_split_of(inner) if entry.suffix.lower() not in _CHECKSUMS else None)
    if named or (entry.suffix.lower() == ".txt" and _split_mentioned(inner)):
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
    for entry in entries:
        _refuse_underscore(entry)
    return [entry for entry in entries if not _hidden(entry, folder) and entry.name != "lost+found"]


def _refuse_underscore(entry: Path) -> None:
    """Refuse an entry with the name of a split behind an underscore, which would be passed over."""
    named = Path(entry.name.lstrip("_"))
    if entry.name.startswith("_") and (_split_of(named) or _split_mentioned(named)):
        raise DataError(
            f"{entry} would not be read, for its name begins with an underscore, but it is named as a split; take the "
            "underscore away, or move it elsewhere if it is no data."
        )


def _hidden(entry: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_", "~$")) for part in entry.relative_to(folder).parts)


def behavioral_tests_file(config: TrainingConfig) -> Path | None:
    """Return the file of `config.behavioral_tests`, or the behavioral_tests.yaml in the data folder or a sub-folder.

    Raises:
        ConfigurationError: several files have that name, or its ending is .yml.

    Warns:
        FutureWarning: the file has the old name, behaviours.yaml.
    """
    if config.behavioral_tests:
        return Path(config.behavioral_tests)
    names = (BEHAVIORAL_TESTS, _OLD_NAME, *_OTHER_ENDINGS)
    files = [file for file in shown_files(Path(config.data)) if file.name in names]
    if len(files) > 1:
        raise ConfigurationError(
            f"behavioral_tests: there are {files[0]} and {files[1]}; keep one, or set behavioral_tests."
        )
    if files and files[0].name in _OTHER_ENDINGS:
        raise ConfigurationError(
            f"behavioral_tests: {files[0]} is not read; rename it to {BEHAVIORAL_TESTS}, or set behavioral_tests."
        )
    if files and files[0].name == _OLD_NAME:
        warnings.warn(
            f"Rename {files[0]} to {BEHAVIORAL_TESTS}; the old name goes away in 1.0.", FutureWarning, stacklevel=2
        )
    return files[0] if files else None


def place(source: str | Path, number: int) -> str:
    """Return where a row is: a line of a file of lines, or a row of a table or a JSON array."""
    in_lines = ending(Path(source)).removesuffix(".gz") in (".csv", ".tsv", ".jsonl", ".ndjson")
    return f"{source} {'line' if in_lines else 'row'} {number}"
