"""Learning rates by depth."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer, TrainingArguments

from bert_textclassification.training.fine_tuning.optimizer import groups
from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.modeling.base_models import find_base_model


@pytest.fixture
def model(tiny_base):
    return find_base_model(str(tiny_base)).classifier(0.1, "1")


def rates(model, parameter_groups):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: group["lr"] for group in parameter_groups for parameter in group["params"]}


def test_each_layer_has_a_lower_rate_than_the_one_above(model):
    rate_by_name = rates(model, groups(model, 1.0, 0.01, layerwise_lr_decay=0.5))
    assert rate_by_name.keys() == {name for name, _ in model.named_parameters()}
    assert rate_by_name["head.weight"] == rate_by_name["early_heads.0.weight"] == 1
    assert rate_by_name["encoder.encoder.layer.1.output.dense.weight"] == 0.5
    assert rate_by_name["encoder.encoder.layer.0.attention.self.query.bias"] == 0.25
    assert rate_by_name["encoder.embeddings.word_embeddings.weight"] == 0.125


def test_weight_decay_applies_to_the_same_parameters_as_in_the_trainer(model, tmp_path):
    trainer = Trainer(model, TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[]))
    names = {parameter: name for name, parameter in model.named_parameters()}
    decaying = [group["params"] for group in groups(model, 1.0, 0.01, layerwise_lr_decay=0.5) if group["weight_decay"]]
    decaying_names = [names[parameter] for parameters in decaying for parameter in parameters]
    assert sorted(decaying_names) == sorted(trainer.get_decay_parameter_names(model))


@pytest.mark.slow
def test_with_strong_decay_the_lowest_layers_hardly_change(tiny_config, tiny_splits, tiny_base, tmp_path):
    fine_tune(tiny_config.model_copy(update={"layerwise_lr_decay": 0.01}), tiny_splits, tmp_path)
    before, after = load_file(tiny_base / "model.safetensors"), load_file(tmp_path / "model.safetensors")

    def moved(name):
        old = before[name.removeprefix("encoder.")]
        return float((after[name] - old).abs().mean() / old.abs().mean())

    lowest, highest = (
        moved("encoder.embeddings.word_embeddings.weight"),
        moved("encoder.encoder.layer.1.output.dense.weight"),
    )
    assert lowest < 0.01 * highest
    assert torch.isfinite(after["head.weight"]).all()
