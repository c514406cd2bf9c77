"""Paths: the repository's own files, and the settings that name a file or a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_INSTALLED_FROM = Path(__file__).parents[4]  # the repository, if the package is installed in editable mode
REPOSITORY = _INSTALLED_FROM if (_INSTALLED_FROM / "notebooks").is_dir() else Path.cwd()
SERVE = REPOSITORY / "container" / "serve"
RESULTS = Path("notebooks/results")  # published results, relative to the repository
FILES = ("behavioral_tests", "prices")
FILES_OR_NAMES = ("data", "base_model", "serve_with")  # a path, or the name of a data set, a model or an image


def absolute_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with absolute paths; relative ones are resolved against the working directory.

    A value that could also be the name of a data set, a model or an image is a path if that path exists.
    """
    return {name: _absolute(name, value) if isinstance(value, str) else value for name, value in settings.items()}


def _absolute(name: str, value: str) -> str:
    path = Path(value).expanduser()
    if value and (name in FILES or (name in FILES_OR_NAMES and (path.exists() or path.is_absolute()))):
        return str(path.absolute())
    return value
