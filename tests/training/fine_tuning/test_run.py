"""Training: the loss falls, a seed is reproducible, and a saved model equals the loaded one."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bert_textclassification.errors import ConfigurationError, DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.evaluation.inference import encode, evaluate_splits, torch_logits
from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.fine_tuning.trainer import FineTuningArguments, class_weights
from bert_textclassification.training.modeling.base_models import find_base_model
from bert_textclassification.training.modeling.classifier import load_classifier
from bert_textclassification.training.modeling.fine_tuned import FineTuned
from bert_textclassification.training.prepare import load_splits


def test_the_loss_falls(tiny_fine_tuned):
    losses = [row["loss"] for row in tiny_fine_tuned.history if "loss" in row]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(tiny_config, tiny_splits, tiny_fine_tuned, tmp_path):
    fine_tune(tiny_config, tiny_splits, tmp_path)
    first = load_file(tiny_fine_tuned.folder / "model.safetensors")
    second = load_file(tmp_path / "model.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_gives_other_weights(tiny_config, tiny_splits, tiny_fine_tuned, tmp_path):
    fine_tune(tiny_config.model_copy(update={"seed": 1, "epochs": 0.2}), tiny_splits, tmp_path)
    first = load_file(tiny_fine_tuned.folder / "model.safetensors")
    second = load_file(tmp_path / "model.safetensors")
    assert not torch.equal(first["head.weight"], second["head.weight"])


def test_a_loaded_model_gives_identical_logits(tiny_fine_tuned, tiny_splits):
    tokenizer = find_base_model(str(tiny_fine_tuned.folder)).tokenizer()
    token_ids = encode(tokenizer, tiny_splits.test["text"].tolist(), 64)
    first = torch_logits(load_classifier(tiny_fine_tuned.folder), token_ids)
    second = torch_logits(tiny_fine_tuned.model(), token_ids)
    np.testing.assert_array_equal(first, second)


def test_padding_does_not_change_logits(tiny_fine_tuned):
    model = tiny_fine_tuned.model()
    short, long = [2, 15, 3], [2, *range(10, 40), 3]
    together = torch_logits(model, [short, long], batch_size=2)
    np.testing.assert_allclose(together[0], torch_logits(model, [short])[0], atol=1e-5)


def test_the_final_model_is_the_kept_checkpoint(tiny_fine_tuned, tiny_splits):
    truth = np.array(tiny_splits.targets(tiny_splits.validation))
    left = evaluate_splits(tiny_fine_tuned, tiny_fine_tuned.model(), tiny_splits)["validation"].reference
    assert np.mean((left[:, 1] >= left[:, 0]) == truth) == pytest.approx(tiny_fine_tuned.facts["best_metric"])


@pytest.mark.slow
def test_training_stops_early_when_nothing_improves(tiny_config, tiny_splits, tmp_path):
    stuck = tiny_config.model_copy(update={"learning_rate": 1e-9, "epochs": 50, "early_stopping_patience": 2})
    fine_tuned = fine_tune(stuck, tiny_splits, tmp_path)
    assert fine_tuned.facts["steps"] == 3 * 10  # the first evaluation, and two without improvement


def test_imbalanced_classes_are_weighted(tiny_config, tiny_splits, tmp_path):
    rare = tiny_splits.train[tiny_splits.train["label"] == "escalate"].head(10)
    common = tiny_splits.train[tiny_splits.train["label"] == "routine"].head(90)
    import pandas as pd

    splits = type(tiny_splits)(
        pd.concat([rare, common]), tiny_splits.validation, tiny_splits.test, tiny_splits.labels, []
    )
    assert class_weights(splits, tiny_config) == pytest.approx([100 / 180, 100 / 20])
    assert class_weights(splits, tiny_config.model_copy(update={"class_weights": "none"})) is None
    assert class_weights(tiny_splits, tiny_config) is None


@pytest.mark.slow
def test_bf16_is_recorded_and_learns(tiny_config, tiny_splits, tmp_path):
    fine_tuned = fine_tune(tiny_config.model_copy(update={"precision": "bf16"}), tiny_splits, tmp_path)
    assert fine_tuned.facts["precision"] == "bf16"
    losses = [row["loss"] for row in fine_tuned.history if "loss" in row]
    assert losses[-1] < losses[0]


def test_a_folder_without_a_model_names_the_remedy(tmp_path):
    with pytest.raises(DataError, match="run notebook 02 first"):
        FineTuned.load(tmp_path)


def test_an_unknown_base_model_is_one_sentence():
    with pytest.raises(ConfigurationError, match="neither a local folder nor a model that can be read from the hub"):
        find_base_model("nobody/has-this-model")


def test_the_default_base_model_is_found_without_a_hub():
    base = find_base_model(TrainingConfig(data="x").base_model)
    assert base.source().sha256.startswith("53aa5117")
    assert base.classifier(0.1).encoder.config.num_hidden_layers == 6


def test_kept_layers_are_those_of_the_base_model_with_an_exit_at_half(tiny_base):
    base = find_base_model(str(tiny_base))
    whole, cut = base.classifier(0.1).encoder, base.classifier(0.1, "auto", layers=1)
    assert cut.encoder.config.num_hidden_layers == len(cut.encoder.encoder.layer) == base.layers() - 1 == 1
    assert torch.equal(cut.encoder.encoder.layer[0].output.dense.weight, whole.encoder.layer[1].output.dense.weight)
    assert cut.exit_layers == ()
    assert base.classifier(0.1, "auto", layers=2).exit_layers == (1,)


def test_fine_tuning_keeps_num_layers(tiny_config, tiny_splits, tmp_path):
    config = tiny_config.model_copy(update={"num_layers": 1, "epochs": 0.2})
    assert fine_tune(config, tiny_splits, tmp_path).facts["layers"] == 1


def test_more_layers_than_the_base_model_has_are_rejected(tiny_base):
    with pytest.raises(ConfigurationError, match="num_layers 3: the model has 2; choose 1 to 2, or 0 for all"):
        find_base_model(str(tiny_base)).classifier(0.1, layers=3)


def test_a_changed_seed_changes_only_splits_made_here(tiny_config, tiny_splits):
    again = load_splits(tiny_config.model_copy(update={"seed": 7}))
    assert again.test.equals(tiny_splits.test)
    assert sorted(again.train["text"]) == sorted(tiny_splits.train["text"])
    assert again.train["text"].tolist() != tiny_splits.train["text"].tolist()


def test_several_gpus_do_not_multiply_the_batch(tmp_path):
    arguments = FineTuningArguments(output_dir=str(tmp_path), per_device_train_batch_size=32, use_cpu=True)
    assert arguments.n_gpu == 0
    arguments._n_gpu = 4  # as the Trainer counts them on a machine that has four
    assert (arguments.n_gpu, arguments.train_batch_size) == (1, 32)


def test_a_warning_says_that_only_one_gpu_is_used(tiny_config, tiny_splits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    fine_tune(tiny_config.model_copy(update={"epochs": 0.2}), tiny_splits, tmp_path)
    assert "only one of 4 GPUs is used" in capsys.readouterr().err
