"""Read a file of `ops/config`: YAML, checked against a model of its settings, with `${NAME}` from the environment."""

import os
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.settings.files import read_settings

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class Settings(BaseModel):
    """Settings of a file in `ops/config`; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Settings)


def read(path: str | Path, model: type[S]) -> S:
    """Return the settings of the file `path`.

    `${NAME}` is a variable of the environment, and `${NAME:-value}` one with a default.

    Raises:
        ConfigurationError: it cannot be read, a variable is not set, or a name or value is wrong.
    """
    try:
        return read_settings(path, model, _expand)
    except KeyError as missing:
        raise ConfigurationError(f"{path} needs the variable {missing.args[0]}; export it, or write a value.") from None


def _expand(value: Any) -> Any:
    """Replace the variables in every string of `value`; KeyError names one that is not set."""
    if isinstance(value, dict):
        return {name: _expand(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_expand(item) for item in value]
    return _VARIABLE.sub(_variable, value) if isinstance(value, str) else value


def _variable(match: re.Match[str]) -> str:
    name, default = match.groups()
    return os.environ[name] if default is None else os.environ.get(name) or default
