"""The files of ops/config: environment variables, unknown names and invalid values."""

import pytest
from pydantic import Field

from bert_textclassification.errors import ConfigurationError
from ops.config_file import Settings, read


class Scaling(Settings):
    instances: int = Field(default=1, ge=1)


class Endpoint(Settings):
    name: str
    scaling: Scaling = Scaling()


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        path = tmp_path / "endpoint.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_environment_variables_are_substituted(written, monkeypatch):
    monkeypatch.setenv("STAGE", "prod")
    monkeypatch.delenv("INSTANCES", raising=False)
    settings = read(written('name: "tickets-${STAGE}"\nscaling: {instances: "${INSTANCES:-3}"}'), Endpoint)
    assert settings == Endpoint(name="tickets-prod", scaling=Scaling(instances=3))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: ${NOWHERE_SET}", "needs the variable NOWHERE_SET; export it, or write a value."),
        ("nam: a", "there is no 'nam', did you mean 'name'?"),
        ("name: a\nscaling: {instnces: 2}", "there is no 'scaling.instnces', did you mean 'instances'?"),
        ("name: a\nscaling: {instances: 0}", "scaling.instances=0: Input should be greater than or equal to 1"),
        ("", "name is missing"),
        ("name: [", "cannot be read"),
        ("- a", "Input should be a valid dictionary"),
    ],
)
def test_an_invalid_file_is_reported_in_one_sentence(written, text, sentence):
    with pytest.raises(ConfigurationError, match=r"endpoint\.yaml") as problem:
        read(written(text), Endpoint)
    assert sentence in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.yaml cannot be read"):
        read(tmp_path / "none.yaml", Endpoint)
