"""The search space: one file for Optuna and for SageMaker; a mistake in it is explained in one sentence."""

import json

import optuna
import pytest

from bert_textclassification import cli
from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import SageMakerFolders, TrainingConfig
from bert_textclassification.training.tuning import space as search_space
from bert_textclassification.training.tuning.space import DEFAULT_SPACE, read_space, sagemaker_ranges


def written(tmp_path, content):
    path = tmp_path / "space.yaml"
    path.write_text(content)
    return path


def test_the_packaged_space_searches_accuracy_and_speed():
    assert set(read_space(DEFAULT_SPACE).names()) == {
        "learning_rate",
        "epochs",
        "batch_size",
        "num_layers",
        "max_length",
    }


def test_every_setting_of_training_can_be_searched_or_is_excluded_with_a_reason():
    kinds = (search_space.SEARCHABLE, search_space.SAME_FOR_ALL, search_space.WITHOUT_EFFECT)
    assert sorted(name for kind in kinds for name in kind) == sorted(TrainingConfig.model_fields)


def test_optuna_suggests_values_inside_the_space():
    space = read_space(DEFAULT_SPACE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        suggested = space.suggest(study.ask())
        assert all(space.holds(name, value) for name, value in suggested.items())


def test_the_ranges_of_sagemaker_are_strings_in_its_three_kinds(tmp_path):
    path = written(
        tmp_path,
        "continuous: {learning_rate: {low: 2e-5, high: 0.0005, log: true}}\n"
        "integer: {num_layers: {low: 2, high: 6}}\n"
        "categorical: {batch_size: [16, 32], class_weights: [auto, none]}\n",
    )
    assert sagemaker_ranges(read_space(path)) == {
        "ContinuousParameterRanges": [
            {"Name": "learning_rate", "MinValue": "2e-05", "MaxValue": "0.0005", "ScalingType": "Logarithmic"}
        ],
        "IntegerParameterRanges": [{"Name": "num_layers", "MinValue": "2", "MaxValue": "6", "ScalingType": "Linear"}],
        "CategoricalParameterRanges": [
            {"Name": "batch_size", "Values": ["16", "32"]},
            {"Name": "class_weights", "Values": ["auto", "none"]},
        ],
    }


def test_every_end_of_the_ranges_is_a_hyperparameter_of_the_training_job(tmp_path):
    ranges = sagemaker_ranges(read_space(DEFAULT_SPACE))
    numbers = ranges["ContinuousParameterRanges"] + ranges["IntegerParameterRanges"]
    folders = SageMakerFolders(tmp_path)
    folders.hyperparameters.parent.mkdir(parents=True)
    for end in ("MinValue", "MaxValue"):
        chosen = {one["Name"]: one[end] for one in numbers}
        chosen |= {one["Name"]: one["Values"][-1] for one in ranges["CategoricalParameterRanges"]}
        folders.hyperparameters.write_text(json.dumps(chosen | {"_tuning_objective_metric": "validation_accuracy"}))
        assert folders.training_config().num_layers == int(chosen["num_layers"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("integer: {epoch: {low: 1, high: 3}}", "there is no 'epoch', did you mean 'epochs'"),
        ("continuous: {learning_rate: {low: 0.1, high: 3}}", "learning_rate=3.0: Input should be less than 1"),
        ("continuous: {batch_size: {low: 8, high: 16}}", "batch_size takes whole numbers; put it under integer"),
        (
            "integer: {num_layers: {low: 6, high: 2}}",
            "integer.num_layers={'low': 6, 'high': 2}: low must be below high",
        ),
        ("integer: {num_layers: {low: 0, high: 2, log: true}}", "low must be above 0 if log is true"),
        ("integer: {num_layers: {low: 1, high: 2, step: 2}}", "there is no 'integer.num_layers.step'"),
        ("integer: {seed: {low: 1, high: 9}}", "seed must be the same in all trials"),
        ("categorical: {drop_issues: [html, repeat]}", "drop_issues must be the same in all trials"),
        ("integer: {num_seeds: {low: 1, high: 3}}", "num_seeds changes neither the score nor the speed of a trial"),
        ("integer: {student_layers: {low: 1, high: 3}}", "student_layers changes neither"),
        ("categorical: {threshold_objective: [f1, cost]}", "threshold_objective changes neither"),
        ("continuous: {early_exit_budget: {low: 0, high: 1}}", "early_exit_budget changes neither"),
        ("categorical: {duplicates: [keep, drop]}", "there is no 'duplicates'"),
        ("categorical: {batch_size: []}", "at least 1 item"),
        ("categorical: {batch_size: [8]}\ninteger: {batch_size: {low: 1, high: 2}}", "batch_size is given twice"),
        ("{}", "it has no settings"),
        ("", "it has no settings"),
        ("- layers", "valid dictionary"),
        ("a: [", "cannot be read"),
        ("integer: {num_layers: {low: 1, high: 2}}\ninteger: {epochs: {low: 1, high: 2}}", "'integer' is given twice"),
        ("integer: {max_length: {low: 0, high: 12}}", "max_length must be a number of tokens, from 8 on"),
        ("categorical: {max_length: [auto, 32]}", "max_length must be a number of tokens"),
    ],
)
def test_a_mistake_is_reported_with_the_file_and_the_setting(tmp_path, content, says):
    path = written(tmp_path, content)
    with pytest.raises(ConfigurationError) as caught:
        read_space(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml cannot be read"):
        read_space(tmp_path / "nowhere.yaml")


def test_the_command_prints_the_ranges(capsys):
    assert cli.main(["search", "--sagemaker-ranges"]) == 0
    assert json.loads(capsys.readouterr().out) == sagemaker_ranges(read_space(DEFAULT_SPACE))
