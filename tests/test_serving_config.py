"""Settings of the server: which variable wins, what is ignored, and what a value out of bounds is told."""

from pathlib import Path

import pytest

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.serving.config import ServingConfig

PORTS = ["SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT", "PORT"]
MODEL_DIRS = ["MODEL_DIR", "AZUREML_MODEL_DIR", "AIP_STORAGE_URI"]
OTHERS = ["MODEL_VARIANT", "SERVING_WORKERS", "SERVING_THREADS", "REQUEST_TIMEOUT_S", "DRAIN_TIMEOUT_S"]
LIMITS = ["MAX_BODY_BYTES", "MAX_TEXTS", "SCRATCH_DIR", "TMPDIR"]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in [*PORTS, *MODEL_DIRS, *OTHERS, *LIMITS]:
        monkeypatch.delenv(name, raising=False)


def test_without_variables_the_server_is_what_sagemaker_expects():
    config = ServingConfig.from_environment()
    assert (config.port, config.model_dir, config.variant) == (8080, Path("/opt/ml/model"), None)
    assert config.max_body_bytes == 6 * 1024 * 1024
    assert config.request_timeout_s < 60
    assert config.drain_timeout_s < 10


@pytest.mark.parametrize("first", range(3))
def test_the_first_port_variable_that_is_set_wins(monkeypatch, first):
    for number, name in enumerate(PORTS[first:], start=9000):
        monkeypatch.setenv(name, str(number))
    assert ServingConfig.from_environment().port == 9000


@pytest.mark.parametrize("first", range(3))
def test_the_first_model_folder_variable_that_is_set_wins(monkeypatch, first):
    for name in MODEL_DIRS[first:]:
        monkeypatch.setenv(name, f"/models/{name}")
    assert ServingConfig.from_environment().model_dir == Path("/models", MODEL_DIRS[first])


def test_the_scratch_folder_is_the_servers_own_before_that_of_the_machine(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/machine")
    assert ServingConfig.from_environment().scratch_dir == Path("/machine")
    monkeypatch.setenv("SCRATCH_DIR", "/own")
    assert ServingConfig.from_environment().scratch_dir == Path("/own")


def test_empty_variables_are_ignored(monkeypatch):
    for name in [*PORTS[:2], *MODEL_DIRS[:2], *OTHERS, *LIMITS]:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("AIP_STORAGE_URI", "/vertex")
    config = ServingConfig.from_environment()
    assert (config.port, config.model_dir, config.variant) == (9000, Path("/vertex"), None)
    assert (config.workers, config.max_texts, config.scratch_dir) == (1, 10_000, Path("/tmp"))  # noqa: S108


def test_every_other_setting_has_its_variable(monkeypatch):
    values = {"MODEL_VARIANT": "fp32", "SERVING_WORKERS": "2", "SERVING_THREADS": "3", "MAX_TEXTS": "4"}
    values |= {"REQUEST_TIMEOUT_S": "5", "DRAIN_TIMEOUT_S": "6", "MAX_BODY_BYTES": "7000"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    config = ServingConfig.from_environment()
    assert (config.variant, config.workers, config.threads, config.max_texts) == ("fp32", 2, 3, 4)
    assert (config.request_timeout_s, config.drain_timeout_s, config.max_body_bytes) == (5, 6, 7000)


@pytest.mark.parametrize("name", PORTS)
@pytest.mark.parametrize("value", ["0", "65536", "-1", "http", "80.5"])
def test_a_port_out_of_bounds_names_the_variable_it_came_from(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f" {name}='{value}': "):
        ServingConfig.from_environment()


def test_a_wrong_variable_that_loses_does_not_matter(monkeypatch):
    monkeypatch.setenv("PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", "9000")
    assert ServingConfig.from_environment().port == 9000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVING_WORKERS", "0"),
        ("SERVING_WORKERS", "257"),
        ("SERVING_THREADS", "0"),
        ("REQUEST_TIMEOUT_S", "3601"),
        ("DRAIN_TIMEOUT_S", "0"),
        ("MAX_BODY_BYTES", "1023"),
        ("MAX_TEXTS", "many"),
    ],
)
def test_a_value_out_of_bounds_names_the_variable_and_the_value(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as problem:
        ServingConfig.from_environment()
    assert f" {name}='{value}': " in str(problem.value)
    assert "\n" not in str(problem.value)


def test_every_wrong_variable_is_named_at_once(monkeypatch):
    for name in ("AIP_HTTP_PORT", "MAX_TEXTS", "SERVING_WORKERS"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(ConfigurationError, match=r"AIP_HTTP_PORT='0'.*SERVING_WORKERS='0'.*MAX_TEXTS='0'"):
        ServingConfig.from_environment()


def test_settings_do_not_change_once_read():
    with pytest.raises(ValueError, match="frozen"):
        ServingConfig.from_environment().port = 1
