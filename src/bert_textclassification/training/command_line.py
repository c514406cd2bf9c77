"""Settings as a command line has them, `name=value`: parameters of the notebooks, or fields of TrainingConfig."""

import contextlib
from typing import Any

import yaml

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.settings.notebook_parameters import NotebookParameters
from bert_textclassification.training.settings.renamed import current_name
from bert_textclassification.training.settings.yaml_text import read_yaml

OPTIONS = {"data": "--data", "run_dir": "--name", "settings": "settings of their own"}  # which give these
_TEXTS = {
    name
    for model in (TrainingConfig, NotebookParameters)
    for name, field in model.model_fields.items()
    if field.annotation in (str, str | None)
}


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Return what `name=value` pairs of a command line say: values are YAML, but for settings that are texts.

    Raises:
        ConfigurationError: a pair has no equals sign, a name is there twice or has an option of its own, or a value is
            no YAML.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        given_name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigurationError(f"{pair!r} is not a setting; write name=value.")
        name = current_name(given_name)
        if name in OPTIONS:
            raise ConfigurationError(f"{name} is no setting; give it as {OPTIONS[name]}.")
        if name in parsed:
            raise ConfigurationError(f"{name} is given twice; give it once.")
        parsed[name] = value if name in _TEXTS else _value(name, value)  # a label may be yes or 0
    return parsed


def _value(name: str, text: str) -> Any:
    """Return the number that `text` is in Python: YAML 1.1 takes 1e-4 for text and 010 for eight; else YAML."""
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    try:
        return read_yaml(text)
    except yaml.YAMLError:
        raise ConfigurationError(
            f"{name}={text!r} cannot be read; give a number, a word, or a list as [a, b]."
        ) from None
