"""The YAML file of behavioural tests: its schema, and one-sentence error messages.

suite = load_suite(config, splits.labels)    # the built-in tests and the user's tests

The built-in tests and the format are in `behavioral_tests.yaml` beside this module.
"""

from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.files import BEHAVIORAL_TESTS, behavioral_tests_file
from bert_textclassification.training.evaluation.behavioral.templates import TEXT, placeholder_problem
from bert_textclassification.training.labels import label_of
from bert_textclassification.training.settings.yaml_text import read_yaml_file

_KINDS = ("invariance", "directional", "minimum_functionality")
_REMEDIES = {
    "extra_forbidden": "there is no such key; correct or delete it",
    "missing": "the key is missing; add it",
    "string_pattern_mismatch": "is empty; write a text",
    "string_unicode": "contains half of a surrogate pair; write valid Unicode",
    "string_type": "must be a text; put it in quotes",
    "union_tag_invalid": f"kind must be {', '.join(_KINDS[:-1])} or {_KINDS[-1]}",
    "union_tag_not_found": f"needs a kind: {', '.join(_KINDS[:-1])} or {_KINDS[-1]}",
    "model_type": "must be keys with values, such as `tests:`",
    "model_attributes_type": "must be keys with values, such as `name:`",
}


Text = Annotated[str, Field(pattern=r"\S")]
Label = Annotated[str, BeforeValidator(label_of)]  # normalised like the labels of the data


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Invariance(_Record):
    """Both texts of a pair must get the same label."""

    name: Text
    kind: Literal["invariance"]
    pairs: list[tuple[Text, Text]] = Field(min_length=1)


class Directional(_Record):
    """The score of the label `towards` must change by at least `by`; a negative `by` allows a fall of that size."""

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
    """Behavioural tests, and the lists that fill their placeholders."""

    lists: dict[str, list[Text]] = {}
    tests: list[Annotated[Test, Field(discriminator="kind")]] = []

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [test.name for test in self.tests]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two tests have the name {repeated!r}; rename one")
        if TEXT in self.lists:
            raise ValueError(f"the list name {TEXT!r} is reserved for texts of the test split; rename the list")
        return self


def load_suite(config: TrainingConfig, labels: tuple[str, str]) -> Suite:
    """Return the built-in tests and those of the user's file, which `behavioral_tests_file` finds.

    A test or list of the user replaces a built-in one of the same name.

    Raises:
        ConfigurationError: the file is missing or invalid, or there are two files; the message names file and test.
    """
    suite = _read(Path(__file__).with_name(BEHAVIORAL_TESTS))
    path = behavioral_tests_file(config)
    if path is None:
        return suite
    user_suite = _read(path)
    tests = {test.name: test for test in [*suite.tests, *user_suite.tests]}
    merged = Suite(lists=suite.lists | user_suite.lists, tests=list(tests.values()))
    _check(path, merged, labels)
    return merged


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
        raise ConfigurationError(f"behavioral_tests: {path}: {_explain(content, problem.errors()[0])}.") from None


def _explain(content: Any, error: Any) -> str:
    """Return the location of the error, with the name of the test if it has one, and the remedy."""
    location = [part for part in error["loc"] if part not in _KINDS]  # pydantic adds the kind to the keys
    if len(location) > 1 and location[0] == "tests":
        test = content["tests"][location[1]]
        name = test.get("name") if isinstance(test, dict) else None
        location[:2] = [f"test {name!r}" if isinstance(name, str) else f"test {location[1] + 1}"]
    message = _REMEDIES.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    return ": ".join([*(f"{part + 1}" if isinstance(part, int) else part for part in location), message])


def _check(path: Path, suite: Suite, labels: tuple[str, str]) -> None:
    """Reject labels that the data do not have, and placeholders without a list."""
    for test in suite.tests:
        for label in {"towards", "label"} & test.model_fields_set:
            if (value := getattr(test, label)) not in labels:
                raise ConfigurationError(
                    f"behavioral_tests: {path}: test {test.name!r}: {label}: {value!r} is not a label of the data, "
                    f"which have {labels[0]!r} and {labels[1]!r}; correct it."
                )
        for template in chain.from_iterable(templates_of(test)):
            if problem := placeholder_problem(template, suite.lists):
                raise ConfigurationError(f"behavioral_tests: {path}: test {test.name!r}: {template!r} {problem}.")
