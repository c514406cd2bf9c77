"""The files of a base model: its weights, and the problems of a folder that cannot be loaded."""

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # lists the files of sharded weights
_ADAPTER = "adapter_config.json"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_READ_ENDINGS = (".json", ".txt", ".model")  # configuration and tokenizer
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def find_problem(folder: Path) -> str | None:
    """Return why the folder of a base model cannot be loaded and the remedy, or None if all files are present.

    Weights are read only from safetensors, because a pickle may run any code.
    """
    try:
        files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
        pointers = [name for name in files if _is_read(name, files) and _is_lfs_pointer(files[name])]
    except OSError as problem:
        name = Path(problem.filename or folder).name
        return f"has a file that cannot be read, {name} ({problem.strerror}): make it readable for the user who trains"
    if pointers:
        return f"has a git-lfs pointer in place of the file {pointers[0]}: run `git lfs pull` where it was cloned"
    if _ADAPTER in files:
        return (
            f"is a PEFT adapter ({_ADAPTER}) and not a full model: load it with peft, call merge_and_unload() and save "
            "the result with save_pretrained"
        )
    if CONFIG not in files:
        return f"has no {CONFIG}: give the folder that save_pretrained wrote, or the name of a model on the hub"
    if WEIGHTS not in files and INDEX not in files:
        return _without_weights(folder, [name for name in files if name.endswith(_PICKLES)])
    try:
        return next(filter(None, map(_damage, weight_files(folder))), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"has a damaged {INDEX}: copy the model again"


def weight_files(folder: Path) -> list[Path]:
    """Return the files of the weights: a single one, or those listed in the index, sorted by name."""
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    return [folder / name for name in shards(folder / INDEX)]


def shards(index: Path) -> list[str]:
    """Return the sorted file names in an index of weights."""
    return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))


def _without_weights(folder: Path, pickles: list[str]) -> str:
    if not pickles:
        return f"has no {WEIGHTS}: copy the whole model, or save it with save_pretrained"
    return (
        f"has weights only in {pickles[0]}, a pickle, which may run any code and is never read: if you trust it, "
        f'convert it with python -c "from transformers import AutoModel; '
        f"AutoModel.from_pretrained('{folder}', use_safetensors=False).save_pretrained('{folder}')\""
    )


def _damage(path: Path) -> str | None:
    if not path.exists():
        return f"lacks {path.name}, which {INDEX} names: copy the whole model"
    try:
        with safe_open(path, framework="numpy"):
            return None
    except SafetensorError:
        return f"has a damaged {path.name}: copy the model again"


def _is_read(name: str, files: Iterable[str]) -> bool:
    """Whether the model is loaded from this file; weights of other frameworks are not read."""
    if name.endswith(".safetensors"):
        return name == WEIGHTS or WEIGHTS not in files
    return name.endswith(_READ_ENDINGS)


def _is_lfs_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_LFS_POINTER)) == _LFS_POINTER
