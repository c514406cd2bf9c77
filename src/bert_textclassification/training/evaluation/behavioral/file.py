"""The YAML file of behavioural tests: its shape, and what is wrong in it said in one sentence.

suite = load_suite(config, splits.labels)    # the built-in tests and the user's own

The built-in tests and the format are in `behavioral_tests.yaml` beside this file.
"""

from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.files import BEHAVIORAL_TESTS, behavioral_tests_file
from bert_textclassification.training.evaluation.behavioral.templates import TEXT, problem_of
from bert_textclassification.training.labels import label_of
from bert_textclassification.training.settings.yaml_text import read_yaml_file

_KINDS = ("invariance", "directional", "minimum_functionality")
_REMEDIES = {
    "extra_forbidden": "there is no such key; correct or delete it",
    "missing": "the key is missing; add it",
    "string_pattern_mismatch": "is empty; write a text",
    "string_unicode": "holds half of a surrogate pair; write valid Unicode",
    "string_type": "must be a text; put it in quotes",
    "union_tag_invalid": f"kind must be {', '.join(_KINDS[:-1])} or {_KINDS[-1]}",
    "union_tag_not_found": f"needs a kind: {', '.join(_KINDS[:-1])} or {_KINDS[-1]}",
    "model_type": "must be keys with values, such as `tests:`",
    "model_attributes_type": "must be keys with values, such as `name:`",
}


Text = Annotated[str, Field(pattern=r"\S")]
Label = Annotated[str, BeforeValidator(label_of)]  # spelt as the labels of the data are


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Invariance(_Record):
    """The label must stay the same from the first text of a pair to the second."""

    name: Text
    kind: Literal["invariance"]
    pairs: list[tuple[Text, Text]] = Field(min_length=1)


class Directional(_Record):
    """The score of the label `towards` must change by `by` or more: rise if it is positive, hardly fall otherwise."""

    name: Text
    kind: Literal["directional"]
    pairs: list[tuple[Text, Text]] = Field(min_length=1)
    towards: Label
    by: float = Field(default=0, ge=-1, le=1)


class MinimumFunctionality(_Record):
    """Simple texts must get their label."""

    name: Text
    kind: Literal["minimum_functionality"]
    texts: list[Text] = Field(min_length=1)
    label: Label


Test = Invariance | Directional | MinimumFunctionality


class Suite(_Record):
    """Behavioural tests, and the lists that their placeholders stand for."""

    lists: dict[str, list[Text]] = {}
    tests: list[Annotated[Test, Field(discriminator="kind")]] = []

    @model_validator(mode="after")
    def _names_are_clear(self) -> Self:
        names = [test.name for test in self.tests]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two tests are called {repeated!r}; rename one")
        if TEXT in self.lists:
            raise ValueError(f"no list may be called {TEXT!r}, which stands for texts of the test split; rename it")
        return self


def load_suite(config: TrainingConfig, labels: tuple[str, str]) -> Suite:
    """Return the built-in tests and those of the file that `behavioral_tests_file` finds.

    A test or list of the user's takes the place of a built-in one of the same name.

    Raises:
        ConfigurationError: the file is missing, there twice or wrong; the message names file and test.
    """
    suite = _read(Path(__file__).with_name(BEHAVIORAL_TESTS))
    path = behavioral_tests_file(config)
    if path is None:
        return suite
    own = _read(path)
    tests = {test.name: test for test in [*suite.tests, *own.tests]}
    joined = Suite(lists=suite.lists | own.lists, tests=list(tests.values()))
    _check(path, joined, labels)
    return joined


def templates_of(test: Test) -> list[tuple[str, ...]]:
    """Return the templates of a test's cases: pairs, or single texts."""
    return [(text,) for text in test.texts] if isinstance(test, MinimumFunctionality) else [*test.pairs]


def _read(path: Path) -> Suite:
    try:
        content = read_yaml_file(path)
    except ConfigurationError as problem:
        raise ConfigurationError(f"behavioral_tests: {problem}") from None
    try:
        return Suite.model_validate({} if content is None else content)
    except ValidationError as problem:
        raise ConfigurationError(f"behavioral_tests: {path}: {_first_mistake(content, problem.errors()[0])}.") from None


def _first_mistake(content: Any, error: Any) -> str:
    """Return where the mistake is, with the test's name where it has one, and what to do about it."""
    where = [part for part in error["loc"] if part not in _KINDS]  # pydantic names the kind among the keys
    if len(where) > 1 and where[0] == "tests":
        test = content["tests"][where[1]]
        name = test.get("name") if isinstance(test, dict) else None
        where[:2] = [f"test {name!r}" if isinstance(name, str) else f"test {where[1] + 1}"]
    message = _REMEDIES.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    return ": ".join([*(f"{part + 1}" if isinstance(part, int) else part for part in where), message])


def _check(path: Path, suite: Suite, labels: tuple[str, str]) -> None:
    """Refuse labels that the data do not have, and placeholders that stand for nothing."""
    for test in suite.tests:
        for label in {"towards", "label"} & test.model_fields_set:
            if (value := getattr(test, label)) not in labels:
                raise ConfigurationError(
                    f"behavioral_tests: {path}: test {test.name!r}: {label}: {value!r} is no label of the data, "
                    f"which have {labels[0]!r} and {labels[1]!r}; correct it."
                )
        for template in chain.from_iterable(templates_of(test)):
            if wrong := problem_of(template, suite.lists):
                raise ConfigurationError(f"behavioral_tests: {path}: test {test.name!r}: {template!r} {wrong}.")
