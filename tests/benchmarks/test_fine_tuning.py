"""The comparison of our fine-tuning with the Trainer's defaults: same data, same number of steps."""

import pytest
from transformers import Trainer

from bert_textclassification.benchmarks.fine_tuning import DEFAULTS, OURS, DefaultTrainer, compare, fine_tuning_table
from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.fine_tuning.run import fine_tune

pytestmark = pytest.mark.slow


def test_both_run_the_same_number_of_steps_and_differ_in_precision(tiny_config, tiny_splits):
    config = tiny_config.model_copy(update={"epochs": 2, "precision": "bf16", "early_stopping_patience": 1})
    comparison = compare(config, tiny_splits, seeds=2)
    assert [run["kind"] for run in comparison["runs"]] == [DEFAULTS, OURS] * 2
    assert {run["steps"] for run in comparison["runs"]} == {20}
    assert [run["precision"] for run in comparison["runs"]] == ["fp32", "bf16"] * 2
    assert [run["seed"] for run in comparison["runs"]] == [42, 42, 43, 43]
    assert comparison["gain"]["low"] <= comparison["gain"]["value"] <= comparison["gain"]["high"]
    assert fine_tuning_table(comparison).count("\n") == 2 + 4 - 1


@pytest.mark.parametrize("setting", [{"r_drop": 1.0}, {"layerwise_lr_decay": 0.9}])
def test_a_setting_that_the_trainer_does_not_support_is_rejected(tiny_config, tiny_splits, setting):
    with pytest.raises(ConfigurationError, match="leave both out to compare"):
        compare(tiny_config.model_copy(update=setting), tiny_splits, seeds=1)


def test_the_defaults_are_those_of_the_library(tiny_config, tiny_splits, tmp_path):
    arguments_of = {}

    class Defaults(DefaultTrainer):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            arguments_of[type(self)] = self.args

    class Ours(Trainer):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            arguments_of[type(self)] = self.args

    config = tiny_config.model_copy(update={"epochs": 0.1})
    for kind in (Defaults, Ours):
        fine_tune(config, tiny_splits, tmp_path, kind)
    assert arguments_of[Defaults].train_sampling_strategy == "random"
    for name in ("learning_rate", "per_device_train_batch_size", "num_train_epochs", "warmup_steps", "seed"):
        assert getattr(arguments_of[Defaults], name) == getattr(arguments_of[Ours], name)
