"""Where things lie: the repository's own files, and the settings that name a file, a folder or something elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_INSTALLED_FROM = Path(__file__).parents[4]  # the repository, where the package is installed in place
REPOSITORY = _INSTALLED_FROM if (_INSTALLED_FROM / "notebooks").is_dir() else Path.cwd()
SERVE = REPOSITORY / "container" / "serve"
RESULTS = Path("notebooks/results")  # what is published, below the repository
FILES = ("behavioral_tests", "prices")
FILES_OR_NAMES = ("data", "base_model", "serve_with")  # or a data set or model of a hub, or an image


def absolute_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with the paths among them absolute: relative ones start at the working directory.

    What may also be a name elsewhere is a path where something has it; a folder goes before a model of a hub.
    """
    return {name: _absolute(name, value) if isinstance(value, str) else value for name, value in settings.items()}


def _absolute(name: str, value: str) -> str:
    path = Path(value).expanduser()
    if value and (name in FILES or (name in FILES_OR_NAMES and (path.exists() or path.is_absolute()))):
        return str(path.absolute())
    return value
