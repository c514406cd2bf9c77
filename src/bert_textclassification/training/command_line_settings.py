"""Parse settings of a command line, `name=value`: parameters of the notebooks or fields of TrainingConfig."""

import contextlib
from typing import Any

import yaml

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.settings.notebook_parameters import NotebookParameters
from bert_textclassification.training.settings.renamed import current_name
from bert_textclassification.training.settings.yaml_text import read_yaml

OPTIONS = {"data": "--data", "run_dir": "--name", "settings": "separate settings"}  # how to give these instead
_TEXTS = {
    name
    for model in (TrainingConfig, NotebookParameters)
    for name, field in model.model_fields.items()
    if field.annotation in (str, str | None)
}


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Return the settings of `name=value` pairs; values are parsed as YAML unless the setting is a text.

    Raises:
        ConfigurationError: a pair has no equals sign, a name is given twice or has its own option, or a value is not
            valid YAML.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        given_name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigurationError(f"{pair!r} is not a setting; write name=value.")
        name = current_name(given_name)
        if name in OPTIONS:
            raise ConfigurationError(f"{name} is not a setting; give it as {OPTIONS[name]}.")
        if name in parsed:
            raise ConfigurationError(f"{name} is given twice; give it once.")
        parsed[name] = value if name in _TEXTS else _value(name, value)  # a label may be "yes" or "0"
    return parsed


def _value(name: str, text: str) -> Any:
    """Parse `text` as a Python number if possible, else as YAML: YAML 1.1 reads 1e-4 as text and 010 as eight."""
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    try:
        return read_yaml(text)
    except yaml.YAMLError:
        raise ConfigurationError(
            f"{name}={text!r} cannot be read; give a number, a word, or a list as [a, b]."
        ) from None
