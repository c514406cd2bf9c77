"""Read and validate settings from a YAML file, with one-sentence errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.settings.wrong_values import one_sentence
from bert_textclassification.training.settings.yaml_text import read_yaml_file

M = TypeVar("M", bound=BaseModel)


def read_settings(path: str | Path, model: type[M], prepare: Callable[[Any], Any] = lambda values: values) -> M:
    """Return the content of the YAML file `path` as a `model`; `prepare` may change the values before validation.

    Raises:
        ConfigurationError: the file cannot be read, or has wrong names or values.
    """
    try:
        values = read_yaml_file(path)
        return model.model_validate(prepare({} if values is None else values))
    except ValidationError as problem:
        raise ConfigurationError(f"{path}: {one_sentence(problem, model)}") from None
