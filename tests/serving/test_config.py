"""Settings of the server: precedence of variables, ignored ones, and the errors of values out of bounds."""

import traceback
from pathlib import Path

import pytest
from pydantic import AliasChoices

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.serving.config import MEBIBYTE, RENAMED, ServingConfig

TOKEN = "a token that nobody may read"  # noqa: S105
EVERY_VARIABLE = [  # name, value, field, parsed value; for each field in order of precedence
    ("MODEL_DIR", "/models/own", "model_source", "/models/own"),
    ("AZUREML_MODEL_DIR", "/var/azureml", "model_source", "/var/azureml"),
    ("AIP_STORAGE_URI", "gs://bucket/model", "model_source", "gs://bucket/model"),
    ("MODEL_NAME", "my-model.v2_1", "model_name", "my-model.v2_1"),
    ("MODEL_VARIANT", "fp32", "variant", "fp32"),
    ("SAGEMAKER_BIND_TO_PORT", "9001", "port", 9001),
    ("AIP_HTTP_PORT", "9002", "port", 9002),
    ("PORT", "9003", "port", 9003),
    ("AIP_HEALTH_ROUTE", "/v1/endpoints/1/deployedModels/2", "health_route", "/v1/endpoints/1/deployedModels/2"),
    ("AIP_PREDICT_ROUTE", "/v1/models/m:predict", "predict_route", "/v1/models/m:predict"),
    ("SERVING_WORKERS", "2", "workers", 2),
    ("SERVING_THREADS", "3", "threads", 3),
    ("MAX_QUEUE", "0", "max_queue", 0),
    ("REQUEST_TIMEOUT_S", "5", "request_timeout_s", 5),
    ("DRAIN_TIMEOUT_S", "6", "drain_timeout_s", 6),
    ("MAX_BODY_BYTES", "7000", "max_body_bytes", 7000),
    ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "20", "max_payload_mb", 20),
    ("MAX_TEXTS", "4", "max_texts", 4),
    ("MAX_TEXT_CHARS", "300", "max_text_chars", 300),
    ("SAGEMAKER_BATCH", "true", "batch", True),
    ("SAGEMAKER_BATCH_STRATEGY", "SingleRecord", "batch_strategy", "SingleRecord"),
    ("CACHE_SIZE", "0", "cache_size", 0),
    ("API_TOKEN", TOKEN, "api_token", TOKEN),
    ("CSV_COLUMN", "review,2", "csv_column", "review,2"),
    ("LOG_TEXTS", "1", "log_texts", True),
    ("SCRATCH_DIR", "/own", "scratch_dir", Path("/own")),
    ("TMPDIR", "/machine", "scratch_dir", Path("/machine")),
]


VALUES = {name: value for name, value, *_ in EVERY_VARIABLE}
MEANINGS = {name: meaning for name, *_, meaning in EVERY_VARIABLE}
CHOICES = {
    field: [name for name, _, of, _ in EVERY_VARIABLE if of == field]
    for field in ("model_source", "port", "scratch_dir")
}


def variables(field):
    """Return the environment variables of a setting."""
    alias = ServingConfig.model_fields[field].validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]


VARIABLES = {name for field in ServingConfig.model_fields for name in variables(field)} - RENAMED.keys()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def read(monkeypatch):
    """Read the settings with these variables in the environment."""

    def read(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return ServingConfig.from_environment()

    return read


@pytest.fixture
def error_message(read):
    """Read invalid settings and return the error message."""

    def error_message(**environment):
        with pytest.raises(ConfigurationError) as problem:
            read(**environment)
        assert "\n" not in str(problem.value)
        return str(problem.value)

    return error_message


# -- valid values


@pytest.mark.parametrize(("name", "value", "field", "expected"), EVERY_VARIABLE, ids=VALUES)
def test_every_variable_sets_its_field(read, name, value, field, expected):
    parsed = getattr(read(**{name: value}), field)
    assert (parsed.get_secret_value() if field == "api_token" else parsed) == expected


def test_every_variable_of_every_field_is_in_the_test_above():
    assert set(VALUES) == VARIABLES
    assert all(field.description for field in ServingConfig.model_fields.values())


def test_without_variables_the_server_is_what_sagemaker_expects(read):
    config = read()
    assert (config.port, config.model_source, config.variant) == (8080, "/opt/ml/model", None)
    assert (config.workers, config.threads, config.batch, config.api_token) == (None, None, False, None)
    assert config.max_body_bytes == 6 * MEBIBYTE
    assert config.request_timeout_s < config.proxy_timeout_s < 60
    assert config.drain_timeout_s < 10


@pytest.mark.parametrize(("field", "first"), [(field, n) for field in CHOICES for n in range(len(CHOICES[field]))])
def test_the_first_variable_of_a_field_that_is_set_wins(read, field, first):
    names = CHOICES[field][first:]
    assert getattr(read(**{name: VALUES[name] for name in names}), field) == MEANINGS[names[0]]


def test_empty_variables_are_as_if_they_were_not_set(read):
    assert read(**dict.fromkeys(VARIABLES, "")) == ServingConfig.of()
    last = read(PORT="9000", AIP_STORAGE_URI="/vertex", TMPDIR="/machine")
    assert (last.port, last.model_source, last.scratch_dir) == (9000, "/vertex", Path("/machine"))


@pytest.mark.parametrize("name", sorted({field.upper() for field in ServingConfig.model_fields} - VARIABLES))
def test_the_name_of_a_field_is_no_variable(read, name):
    assert read(**{name: "3"}) == ServingConfig.of()


def test_settings_do_not_change_once_read(read):
    with pytest.raises(ValueError, match="frozen"):
        read().port = 1


# -- batch transform


@pytest.mark.parametrize("yes", ["true", "True", "TRUE", "1", "yes", "on"])
def test_batch_transform_has_limits_of_its_own(read, yes):
    config = read(SAGEMAKER_BATCH=yes)
    assert (config.batch, config.max_texts, config.request_timeout_s) == (True, 1_000_000, 590)
    assert config.proxy_timeout_s < 600


def test_without_batch_transform_the_limits_are_the_usual(read):
    assert read(SAGEMAKER_BATCH="false") == ServingConfig.of()


def test_what_is_set_wins_over_the_limits_of_batch_transform(read):
    limits = {"MAX_TEXTS": "7", "REQUEST_TIMEOUT_S": "8", "MAX_BODY_BYTES": "9000"}
    config = read(SAGEMAKER_BATCH="true", SAGEMAKER_MAX_PAYLOAD_IN_MB="20", **limits)
    assert (config.max_texts, config.request_timeout_s, config.max_body_bytes) == (7, 8, 9000)


@pytest.mark.parametrize(("payload", "mebibytes"), [("1", 1), ("6", 6), ("20", 20), ("100", 100), ("0", 100)])
def test_the_payload_of_batch_transform_is_the_largest_body(read, payload, mebibytes):
    assert read(SAGEMAKER_BATCH="true", SAGEMAKER_MAX_PAYLOAD_IN_MB=payload).max_body_bytes == mebibytes * MEBIBYTE


def test_an_empty_payload_leaves_the_usual_bound(read):
    assert read(SAGEMAKER_BATCH="true", SAGEMAKER_MAX_PAYLOAD_IN_MB="").max_body_bytes == 6 * MEBIBYTE


@pytest.mark.parametrize("payload", ["-1", "many", "1.5", "٣", "²"])
def test_a_payload_that_is_no_number_is_refused(error_message, payload):
    assert f"SAGEMAKER_MAX_PAYLOAD_IN_MB='{payload}': " in error_message(SAGEMAKER_MAX_PAYLOAD_IN_MB=payload)


# -- invalid values


@pytest.mark.parametrize("name", CHOICES["port"])
@pytest.mark.parametrize("value", ["0", "65536", "-1", "http", "80.5"])
def test_a_port_out_of_bounds_names_the_variable_it_came_from(error_message, name, value):
    assert f" {name}='{value}': " in error_message(**{name: value})


def test_a_wrong_variable_that_loses_does_not_matter(read):
    assert read(PORT="tcp://10.0.0.1:80", SAGEMAKER_BIND_TO_PORT="9000").port == 9000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODEL_NAME", "two words"),
        ("MODEL_NAME", "../other"),
        ("CSV_COLUMN", "0"),
        ("CSV_COLUMN", "review,0"),
        ("CSV_COLUMN", "99999999999999999999"),
        ("MODEL_NAME", "<model>"),
        ("MODEL_NAME", "-model"),
        ("MODEL_NAME", "model/versions"),
        ("AIP_HEALTH_ROUTE", "ping"),
        ("AIP_HEALTH_ROUTE", "/ping?deep=1"),
        ("AIP_HEALTH_ROUTE", "/ping; return 200"),
        ("AIP_PREDICT_ROUTE", "/<path:anything>"),
        ("AIP_PREDICT_ROUTE", "/predict\n"),
        ("AIP_PREDICT_ROUTE", "https://elsewhere/predict"),
        ("SERVING_WORKERS", "0"),
        ("SERVING_WORKERS", "257"),
        ("SERVING_THREADS", "0"),
        ("MAX_QUEUE", "-1"),
        ("MAX_QUEUE", "1001"),
        ("REQUEST_TIMEOUT_S", "3601"),
        ("DRAIN_TIMEOUT_S", "0"),
        ("MAX_BODY_BYTES", "1023"),
        ("MAX_TEXTS", "many"),
        ("MAX_TEXT_CHARS", "0"),
        ("CACHE_SIZE", "-1"),
        ("SAGEMAKER_BATCH", "perhaps"),
        ("SAGEMAKER_BATCH_STRATEGY", "AllRecords"),
        ("LOG_TEXTS", "some"),
    ],
)
def test_a_value_out_of_bounds_names_the_variable_and_the_value(error_message, name, value):
    assert f" {name}={value!r}: " in error_message(**{name: value})


def test_every_wrong_variable_is_named_at_once(error_message):
    message = error_message(AIP_HTTP_PORT="0", SERVING_WORKERS="0", MAX_TEXTS="0")
    assert message.startswith("Fix these environment variables: AIP_HTTP_PORT='0': Input should be")
    assert all(f"; {name}='0': Input should be" in message for name in ("SERVING_WORKERS", "MAX_TEXTS"))


# -- the token


def test_a_short_token_is_refused_without_being_shown(monkeypatch):
    monkeypatch.setenv("API_TOKEN", "short-secret")
    with pytest.raises(ConfigurationError, match="at least 16 characters") as problem:
        ServingConfig.from_environment()
    assert "short-secret" not in "".join(traceback.format_exception(problem.value))


def test_an_error_in_another_variable_does_not_show_the_token(error_message):
    assert TOKEN not in error_message(API_TOKEN=TOKEN, MAX_TEXTS="0")


def test_the_token_is_in_no_form_of_the_settings_that_may_be_logged(read):
    config = read(API_TOKEN=TOKEN)
    for form in (repr(config), str(config), config.model_dump_json(), repr(config.model_dump())):
        assert TOKEN not in form
    assert config.api_token.get_secret_value() == TOKEN


@pytest.mark.parametrize("written", [f"{TOKEN}\n", f" {TOKEN}\r\n"])
def test_white_space_around_the_token_is_no_part_of_it(read, written):
    assert read(API_TOKEN=written).api_token.get_secret_value() == TOKEN


# -- names with a mistake


def test_a_misspelt_variable_gives_a_warning_with_the_right_name():
    names = [
        "CSV_COLUM",
        "MAX_TEXT",
        "SERVING_WORKER",
        "MODEL_DIR",
        "MODEL_PORT",
        "PATH",
        "IMPORT",
        "HOME",
        "SAGEMAKER_REGION",
    ]
    assert ServingConfig.name_warnings(names) == [
        "there is no setting CSV_COLUM; did you mean CSV_COLUMN?",
        "there is no setting MAX_TEXT; did you mean MAX_TEXTS?",
        "there is no setting SERVING_WORKER; did you mean SERVING_WORKERS?",
    ]


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_still_works_with_a_warning_that_gives_the_new_one(monkeypatch, old, new):
    monkeypatch.setenv(old, "3")
    assert getattr(ServingConfig.from_environment(), new.lower()) == 3
    assert ServingConfig.name_warnings([old]) == [f"{old} is now called {new}; version 1.0 removes the old name."]
    monkeypatch.setenv(new, "5")
    assert getattr(ServingConfig.from_environment(), new.lower()) == 5


@pytest.mark.parametrize("name", ["MAX_TEXTS", "MAX_BODY_BYTES", "MAX_TEXT_CHARS", "SAGEMAKER_MAX_PAYLOAD_IN_MB"])
def test_a_bound_beyond_any_machine_is_refused(error_message, name):
    assert name in error_message(**{name: str(2**63 - 1)})


# -- without the environment


def test_settings_given_by_name_ignore_the_environment(monkeypatch):
    defaults = ServingConfig.of()
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value)
    assert ServingConfig.of() == defaults != ServingConfig.from_environment()
    assert ServingConfig.of(max_texts=3, model_source="/here").model_dump() == {
        **defaults.model_dump(),
        "max_texts": 3,
        "model_source": "/here",
    }


def test_settings_that_follow_from_others():
    config = ServingConfig.of(threads=3, workers=2, max_queue=10, request_timeout_s=20, scratch_dir=Path("/scratch"))
    assert config.request_threads > config.threads + config.max_queue
    assert config.connections == 2 * config.request_threads
    assert config.proxy_timeout_s > config.request_timeout_s
    assert config.metrics_dir == Path("/scratch/metrics")
