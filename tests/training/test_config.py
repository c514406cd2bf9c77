"""Settings: strings as SageMaker sends them, bounds, and one message that lists every mistake."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import SageMakerFolders, TrainingConfig
from bert_textclassification.training.settings.notebook_parameters import NotebookParameters
from bert_textclassification.training.settings.renamed import RENAMED
from tests.conftest import ROOT

LOCAL_TEST = ROOT / "local_test/test_dir"


def test_only_the_data_must_be_given():
    config = TrainingConfig.of({"data": "texts.csv"})
    assert (config.data, config.text_column, config.positive_label) == ("texts.csv", "text", None)


def test_strings_become_numbers():
    config = TrainingConfig.of({"data": "a.csv", "epochs": "2.5", "batch_size": "16", "learning_rate": "5e-5"})
    assert (config.epochs, config.batch_size, config.learning_rate) == (2.5, 16, 5e-5)


def test_all_wrong_names_and_values_are_in_one_message():
    wrong = {"epoch": "3", "learning_rate": "fast", "batchsize": 8, "precision": "fp8", "colour": "red", "seed": -1}
    with pytest.raises(ConfigurationError) as caught:
        TrainingConfig.of(wrong)
    message = str(caught.value)
    assert "there is no 'epoch', did you mean 'epochs'?" in message
    assert "there is no 'batchsize', did you mean 'batch_size'?" in message
    assert "there is no 'colour'." in message
    assert "learning_rate='fast': Input should be a valid number" in message
    assert "precision='fp8': Input should be 'auto', 'fp32' or 'bf16'" in message
    assert "seed=-1: Input should be greater than or equal to 0" in message
    assert "data is missing" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "allowed", "rejected"),
    [
        ("num_layers", [0, 96], [-1, 97, 1.5]),
        ("max_length", [0, 8, 8192], [-1, 7, 8193, 64.5, "all"]),
        ("validation_fraction", [0.01, 0.49], [0, 0.5, "nan"]),
        ("test_fraction", [0.01, 0.49], [0, 0.5]),
        ("dropout", [0, 0.99], [-0.1, 1]),
        ("epochs", [0.1, 100], [0, 100.5, "nan", "inf"]),
        ("batch_size", [1, 1024], [0, 1025]),
        ("learning_rate", [1e-9, 0.9], [0, 1]),
        ("weight_decay", [0, 0.9], [-0.1, 1]),
        ("warmup_ratio", [0, 0.9], [-0.1, 1]),
        ("evaluations_per_epoch", [1, 100], [0, 101]),
        ("early_stopping_patience", [1], [0]),
        ("max_accuracy_loss", [0, 100], [-1, 101]),
        ("seed", [0, 2**32 - 1], [-1, 2**32]),
        ("class_weights", ["auto", "none"], ["AUTO", ""]),
        ("selection_metric", ["accuracy", "f1", "average_precision", "loss"], ["auc"]),
    ],
)
def test_values_outside_the_bounds_are_rejected(name, allowed, rejected):
    for value in allowed:
        assert getattr(TrainingConfig.of({"data": "a.csv", name: str(value)}), name) == value
    for value in rejected:
        with pytest.raises(ConfigurationError, match=f"^Fix these settings: {name}="):
            TrainingConfig.of({"data": "a.csv", name: value})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["repeat", "leakage"], ("leakage", "repeat")),
        ('["repeat", "html", "repeat"]', ("repeat", "html")),
        ("repeat, label_error", ("repeat", "label_error")),
        ("[]", ()),
        ("", ()),
        ([], ()),
        (None, ()),
    ],
)
def test_issues_to_drop_are_a_json_list_or_comma_separated(given, expected):
    assert TrainingConfig.of({"data": "a.csv", "drop_issues": given}).drop_issues == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["repeats"], "there is no issue 'repeats', did you mean 'repeat'"),
        ("leakage,near-leakage", "there is no issue 'near-leakage', did you mean 'near_leakage'"),
        ([7], "there is no issue 7, the issues are leakage, conflict, repeat"),
        ('["repeat"', "not a JSON list such as"),
        (3, "must be a list such as"),
    ],
)
def test_unknown_issues_are_rejected_with_the_nearest_name(given, message):
    with pytest.raises(ConfigurationError, match=message):
        TrainingConfig.of({"data": "a.csv", "drop_issues": given})


def test_fractions_that_leave_too_little_to_train_on_are_rejected():
    values = {"data": "a.csv", "validation_fraction": 0.45, "test_fraction": 0.45}
    with pytest.raises(ConfigurationError, match="settings: validation_fraction and test_fraction leave under"):
        TrainingConfig.of(values)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        TrainingConfig(data="a.csv").epochs = 5


def test_hyperparameters_are_read_from_the_job(tmp_path):
    config = _job(tmp_path, {"epochs": "3", "positive_label": "escalate", "max_length": "64"})
    assert (config.epochs, config.positive_label, config.max_length) == (3, "escalate", 64)
    assert config.data == str(tmp_path / "input/data")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [('"escalate"', "escalate"), ('"1"', "1"), ('"Gr\\u00fc\\u00dfe"', "Grüße"), ("1", "1"), ('"', '"')],
)
def test_quoted_strings_are_unquoted(tmp_path, sent, expected):
    assert _job(tmp_path, {"positive_label": sent}).positive_label == expected


def test_quoted_numbers_are_unquoted(tmp_path):
    assert _job(tmp_path, {"epochs": '"3"', "precision": '"fp32"'}).epochs == 3


def test_quotes_of_invalid_json_are_kept(tmp_path):
    assert _job(tmp_path, {"text_column": '"a" or "b"'}).text_column == '"a" or "b"'


def test_the_objective_metric_of_a_tuning_job_is_ignored(tmp_path):
    config = _job(tmp_path, {"_tuning_objective_metric": "validation:accuracy", "epochs": "2"})
    assert config.epochs == 2


@pytest.mark.parametrize(
    "name",
    [
        *("sagemaker_program", "sagemaker_submit_directory", "sagemaker_region", "sagemaker_job_name"),
        *("sagemaker_container_log_level", "sagemaker_estimator_class_name", "sagemaker_mpi_enabled"),
    ],
)
def test_hyperparameters_of_the_sdk_are_ignored(tmp_path, name):
    assert _job(tmp_path, {name: '"train.py"', "epochs": "2"}).epochs == 2


def test_a_name_that_only_resembles_the_sdks_is_rejected(tmp_path):
    with pytest.raises(ConfigurationError, match="there is no 'sagemaker'"):
        _job(tmp_path, {"sagemaker": "1"})


@pytest.mark.parametrize(
    ("given", "expected"), [(1, "1"), (1.0, "1"), ("1.0", "1"), (True, "True"), ("spam ", "spam"), ("007", "007")]
)
def test_the_positive_label_is_normalised_like_the_labels_of_the_data(given, expected):
    assert TrainingConfig.of({"data": "a.csv", "positive_label": given}).positive_label == expected


def test_a_positive_label_that_is_a_list_is_rejected():
    with pytest.raises(ConfigurationError, match=r"positive_label=\['1'\]: a list"):
        TrainingConfig.of({"data": "a.csv", "positive_label": ["1"]})


def test_blanks_around_column_names_are_stripped():
    config = TrainingConfig.of({"data": "a.csv", "text_column": " body", "label_column": "kind "})
    assert (config.text_column, config.label_column) == ("body", "kind")


def test_texts_and_labels_cannot_share_a_column():
    with pytest.raises(ConfigurationError, match="text_column and label_column are both 'label'; give two columns"):
        TrainingConfig.of({"data": "a.csv", "text_column": "label"})


def test_data_as_a_hyperparameter_is_rejected(tmp_path):
    with pytest.raises(ConfigurationError, match="data is not a hyperparameter: a job reads its channels; pass data"):
        _job(tmp_path, {"data": "elsewhere.csv"})


@pytest.mark.parametrize("name", ["epochs", "num_seeds", "batch_size", "max_length"])
def test_a_boolean_is_rejected_as_a_number(name):
    with pytest.raises(ConfigurationError, match=f"{name}=True: must be a number, not yes, no, on or off"):
        TrainingConfig.of({"data": "d", name: True})


def test_a_boolean_is_rejected_as_a_number_of_a_notebook():
    with pytest.raises(ValidationError, match="must be a number"):
        NotebookParameters(rounds=True)


@pytest.mark.parametrize("name", ["false_positive_cost", "false_negative_cost", "review_cost"])
@pytest.mark.parametrize("value", ["inf", 1e308, "nan"])
def test_costs_are_finite_and_bounded(name, value):
    with pytest.raises(ConfigurationError, match=f"{name}="):
        TrainingConfig.of({"data": "d", name: value})


def test_blanks_in_a_bound_are_ignored():
    assert (
        TrainingConfig.of({"data": "d", "threshold_objective": " precision >= 0.9 "}).threshold_objective
        == "precision>=0.9"
    )


def test_wrong_hyperparameters_are_all_in_one_message(tmp_path):
    message = "there is no 'learning_rat', did you mean 'learning_rate'"
    with pytest.raises(ConfigurationError, match=f"epochs='many': .*; {message}"):
        _job(tmp_path, {"learning_rat": "1e-4", "epochs": '"many"'})


def test_a_job_without_hyperparameters_takes_the_defaults(tmp_path):
    assert SageMakerFolders(tmp_path).training_config() == TrainingConfig(data=str(tmp_path / "input/data"))


@pytest.mark.parametrize("content", [b"", b'{"epochs": ', b'{"epochs": "\xff"}', b"epochs: 3"])
def test_hyperparameters_that_are_not_json_are_rejected(tmp_path, content):
    _write(tmp_path, content)
    with pytest.raises(ConfigurationError, match=r"hyperparameters\.json is not valid JSON"):
        SageMakerFolders(tmp_path).training_config()


@pytest.mark.parametrize("content", [b"[]", b"3", b"null", b'"epochs"'])
def test_hyperparameters_that_are_not_an_object_are_rejected(tmp_path, content):
    _write(tmp_path, content)
    message = r'hyperparameters\.json must contain a JSON object such as {"epochs": "3"}'
    with pytest.raises(ConfigurationError, match=message):
        SageMakerFolders(tmp_path).training_config()


def test_the_folders_are_those_of_the_platform(monkeypatch):
    monkeypatch.delenv("SAGEMAKER_BASE_DIR", raising=False)
    folders = SageMakerFolders()
    assert folders.hyperparameters == Path("/opt/ml/input/config/hyperparameters.json")
    assert (folders.data, folders.model) == (Path("/opt/ml/input/data"), Path("/opt/ml/model"))
    assert (folders.output, folders.failure) == (Path("/opt/ml/output/data"), Path("/opt/ml/output/failure"))
    assert folders.checkpoints == Path("/opt/ml/checkpoints")


def test_the_environment_variable_sets_the_base(monkeypatch, tmp_path):
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    assert SageMakerFolders().model == tmp_path / "model"
    assert SageMakerFolders("/given").model == Path("/given/model")


def test_the_shipped_job_is_valid():
    config = SageMakerFolders(LOCAL_TEST).training_config()
    assert (config.positive_label, config.data) == ("escalate", str(LOCAL_TEST / "input/data"))


def _write(base, content):
    (base / "input/config").mkdir(parents=True)
    (base / "input/config/hyperparameters.json").write_bytes(content)


def _job(base, hyperparameters):
    """The configuration of a SageMaker job with these hyperparameters."""
    _write(base, json.dumps(hyperparameters).encode())
    return SageMakerFolders(base).training_config()


def test_a_channel_in_pipe_mode_is_rejected(tmp_path):
    (tmp_path / "input/config").mkdir(parents=True)
    (tmp_path / "input/config/inputdataconfig.json").write_text('{"train": {"TrainingInputMode": "Pipe"}}')
    with pytest.raises(ConfigurationError, match="channel train is in Pipe mode; use File or FastFile"):
        SageMakerFolders(tmp_path).training_config()


# -- old names


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("layers", "num_layers", 3),
        ("layer_decay", "layerwise_lr_decay", 0.9),
        ("seeds", "num_seeds", 2),
        ("drop", "drop_issues", ("html",)),
        ("threshold_for", "threshold_objective", "f1"),
        ("max_exit_loss", "early_exit_budget", 0.5),
        ("behaviours", "behavioral_tests", "mine.yaml"),
    ],
)
def test_an_old_name_works_with_a_warning(old, new, value):
    with pytest.warns(FutureWarning, match=f"The setting {old} is now called {new}"):
        config = TrainingConfig.of({"data": "a.csv", old: value})
    assert getattr(config, new) == value
    with pytest.raises(ConfigurationError, match=f"{old} is the old name of {new}, and both are given; keep {new}"):
        TrainingConfig.of({"data": "a.csv", old: value, new: value})


def test_the_old_names_are_all_tested():
    assert len(RENAMED) == 7
    assert set(RENAMED.values()) <= TrainingConfig.model_fields.keys()
