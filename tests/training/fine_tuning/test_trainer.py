"""The private parts of the transformers Trainer that `FineTuningTrainer` relies on."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

from bert_textclassification.training.fine_tuning import trainer
from tests.private_parts import require, require_parameters, require_text

LIBRARY, ADAPTER = "transformers", "training/fine_tuning/trainer.py"


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("_evaluate", "self trial ignore_keys_for_eval skip_scheduler"),
        ("_save_checkpoint", "self model trial"),
        ("_determine_best_metric", "self metrics trial"),
        ("_get_train_sampler", "self train_dataset"),
        ("create_optimizer", "self model"),
        ("training_step", "self model inputs num_items_in_batch"),
    ],
)
def test_the_trainer_has_the_methods_that_ours_overrides_or_calls(method, parameters):
    require_parameters(LIBRARY, Trainer, method, parameters, ADAPTER)


def test_the_trainer_counts_gpus_where_ours_limits_them():
    require(LIBRARY, TrainingArguments, "n_gpu", ADAPTER)
    require_text(LIBRARY, TrainingArguments, "self._n_gpu", ADAPTER)


@pytest.mark.parametrize(
    "call",
    [
        "self._run_epoch(",
        "self._evaluate(trial, ignore_keys_for_eval, skip_scheduler=True)",  # at the start: `eval_on_start`
        "self._determine_best_metric(metrics=metrics, trial=trial)",
        "self._save_checkpoint(model, trial)",
        "self.callback_handler.on_save(self.args, self.state, self.control)",
        "self._get_train_sampler",
        "self.model_wrapped",
    ],
)
def test_the_trainer_itself_calls_what_ours_overrides(call):
    require_text(LIBRARY, Trainer, call, ADAPTER)


def test_the_precision_is_chosen_by_what_the_processor_has(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for capabilities, expected in (
        ({"avx512_bf16": True, "amx_tile": False}, True),
        ({"avx512_bf16": False, "amx_tile": True}, True),
        ({"avx2": True}, False),
        ({"architecture": "aarch64", "bf16": True}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert trainer.has_bf16() is expected
