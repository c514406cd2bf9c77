"""The comparison of fine-tuning with the Trainer's defaults: both to the end, on the same data, with the same steps."""

import pytest
from transformers import Trainer

from bert_textclassification.benchmarks.fine_tuning import DEFAULTS, OURS, DefaultTrainer, compare, fine_tuning_table
from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.fine_tuning.run import fine_tune

pytestmark = pytest.mark.slow


def test_both_run_as_many_steps_and_differ_in_what_bears_on_speed(tiny_config, tiny_splits):
    config = tiny_config.model_copy(update={"epochs": 2, "precision": "bf16", "early_stopping_patience": 1})
    found = compare(config, tiny_splits, seeds=2)
    assert [run["kind"] for run in found["runs"]] == [DEFAULTS, OURS] * 2
    assert {run["steps"] for run in found["runs"]} == {20}
    assert [run["precision"] for run in found["runs"]] == ["fp32", "bf16"] * 2
    assert [run["seed"] for run in found["runs"]] == [42, 42, 43, 43]
    assert found["gain"]["low"] <= found["gain"]["value"] <= found["gain"]["high"]
    assert fine_tuning_table(found).count("\n") == 2 + 4 - 1


@pytest.mark.parametrize("setting", [{"r_drop": 1.0}, {"layerwise_lr_decay": 0.9}])
def test_what_the_trainer_by_itself_does_not_do_is_refused(tiny_config, tiny_splits, setting):
    with pytest.raises(ConfigurationError, match="leave both out to compare"):
        compare(tiny_config.model_copy(update=setting), tiny_splits, seeds=1)


def test_the_defaults_are_those_of_the_library(tiny_config, tiny_splits, tmp_path):
    seen = {}

    class Spied(DefaultTrainer):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            seen[type(self)] = self.args

    class Ours(Trainer):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            seen[type(self)] = self.args

    config = tiny_config.model_copy(update={"epochs": 0.1})
    for kind in (Spied, Ours):
        fine_tune(config, tiny_splits, tmp_path, kind)
    assert seen[Spied].train_sampling_strategy == "random"
    for name in ("learning_rate", "per_device_train_batch_size", "num_train_epochs", "warmup_steps", "seed"):
        assert getattr(seen[Spied], name) == getattr(seen[Ours], name)
