"""Distillation: the initial layers of a student, its losses, and its verdict."""

import numpy as np
import pytest
import torch

from bert_textclassification.artifact.manifest import PASSED
from bert_textclassification.engines.native import engine as native_engine
from bert_textclassification.errors import ConfigurationError
from bert_textclassification.serving.calibration import margins
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.training.evaluation.inference import evaluate_splits, torch_logits
from bert_textclassification.training.evaluation.metrics import agreement
from bert_textclassification.training.evaluation.thresholds import labels_of
from bert_textclassification.training.export.accuracy_gate import ReferenceDecision
from bert_textclassification.training.export.build import build_artifact, judged
from bert_textclassification.training.fine_tuning.distillation import distil, hidden_loss, score_loss, smaller
from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.modeling.classifier import kept_layers
from bert_textclassification.training.modeling.losses import ExitLoss

pytestmark = pytest.mark.slow

needs_kernels = pytest.mark.skipif(not native_engine.instructions(), reason="the native engine is not compiled here")


@pytest.fixture(scope="module")
def teacher(tiny_config, tiny_splits, tmp_path_factory):
    # At this rate the losses fall steadily, and the loss selects the checkpoint: on 60 rows the accuracy may be best by
    # chance before the student has learned from its teacher.
    calm = {"student_layers": 1, "learning_rate": 1e-3, "selection_metric": "loss"}
    return fine_tune(tiny_config.model_copy(update=calm), tiny_splits, tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def student(teacher, tiny_splits):
    return distil(teacher, tiny_splits)


@pytest.mark.parametrize(
    ("deep", "kept", "expected"), [(6, 3, [2, 4, 6]), (12, 6, [2, 4, 6, 8, 10, 12]), (6, 1, [6]), (6, 4, [2, 3, 4, 6])]
)
def test_a_student_starts_from_evenly_spaced_layers_and_the_last(deep, kept, expected):
    assert kept_layers(deep, kept) == expected


def test_a_student_as_deep_as_its_teacher_is_rejected(teacher):
    with pytest.raises(ConfigurationError, match="student_layers 2 must be less than the model's 2 layers"):
        smaller(teacher.model(), 2, dropout=0.1)


def test_a_new_student_has_its_teachers_weights(teacher):
    model = teacher.model()
    fresh = smaller(model, 1, dropout=0.0)
    theirs = model.encoder.encoder.layer[1].attention.self.query.weight
    assert torch.equal(fresh.encoder.encoder.layer[0].attention.self.query.weight, theirs)
    assert torch.equal(fresh.head.weight, model.head.weight)
    assert model.encoder.config.num_hidden_layers == 2  # the teacher is unchanged


def hidden_states(model, texts):
    """Return the hidden states of `texts`, all of one length, after every layer."""
    ids = torch.tensor(texts)
    with torch.inference_mode():
        return model.eval()(ids, torch.ones_like(ids), output_hidden_states=True).hidden_states


def hidden_states_at_random():
    """Return random hidden states of two texts of four tokens, after the embeddings and two layers."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 4, 8, generator=generator) for _ in range(3))


def test_the_losses_are_zero_for_a_perfect_student_and_positive_for_another():
    logits = torch.tensor([[1.0, -2.0], [0.5, 0.7]])
    assert score_loss(logits, logits) == pytest.approx(0, abs=1e-6)
    assert score_loss(logits, -logits) > 0.01
    states = hidden_states_at_random()
    mask = torch.ones(2, 4)
    assert hidden_loss(states, states, mask) == pytest.approx(0, abs=1e-5)
    assert hidden_loss(states, states[:2], mask) > 0.5  # the first layer in place of the second


def test_padding_does_not_count_in_the_loss_of_hidden_states():
    teacher = hidden_states_at_random()
    student = (teacher[0], teacher[2].clone())
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    student[1][mask == 0] = 7.0
    assert hidden_loss(teacher, student, mask) == pytest.approx(0, abs=1e-5)


def test_a_student_learns_its_teachers_scores_and_hidden_states(teacher, student, tiny_splits):
    test = evaluate_splits(teacher, teacher.model(), tiny_splits)["test"]
    assert student.facts["layers"] == 1
    assert agreement(labels_of(test.reference), labels_of(torch_logits(student.model(), test.token_ids))) >= 0.8

    def distance(model):
        states = [(hidden_states(teacher.model(), [ids]), hidden_states(model, [ids])) for ids in test.token_ids]
        return np.mean([hidden_loss(theirs, ours, torch.ones(1, ours[0].shape[1])) for theirs, ours in states])

    assert distance(student.model()) < 0.8 * distance(smaller(teacher.model(), 1, 0.0))


@needs_kernels
def test_a_student_is_a_variant_and_is_compared_with_the_teacher(teacher, student, tiny_splits, tmp_path):
    artifact = build_artifact(teacher, tiny_splits, tmp_path)
    variant = artifact.manifest.variants["int8_student"]
    evaluated = evaluate_splits(teacher, teacher.model(), tiny_splits)
    reference_decision = ReferenceDecision.of(teacher.config, evaluated)
    served = Predictor(artifact, "int8_student").predict(tiny_splits.test["text"].tolist())
    logits = np.array([prediction.logits for prediction in served])
    labels = reference_decision.labels(variant.exit_scales[0].log_odds(margins(logits)))
    theirs = reference_decision.labels(reference_decision.log_odds["test"])
    assert variant.agreement["test"] == pytest.approx(np.mean(labels == theirs))
    assert variant.size_bytes < artifact.manifest.variants["int8"].size_bytes
    np.testing.assert_allclose(logits, torch_logits(student.model(), evaluated["test"].token_ids), atol=0.1)
    assert variant.loss_at_most >= variant.loss_points


@needs_kernels
def test_a_student_must_be_shown_to_keep_the_accuracy_and_int8_need_not(teacher, student, tiny_splits, tmp_path):
    made = build_artifact(teacher, tiny_splits, tmp_path).manifest.variants
    unsure = {"loss_points": 0.0, "p_value": 1.0, "loss_at_most": 2.0}
    variants = {name: made[name].model_copy(update=unsure) for name in ("int8", "int8_student")}
    config = teacher.config.model_copy(update={"max_accuracy_loss": 0.5})
    results = judged(variants, dict.fromkeys(variants, np.ones((5, 10))), config)
    assert results["int8"].verdict == PASSED
    assert results["int8_student"].verdict.startswith("may lose up to 2.00 points")


def test_with_r_drop_teacher_and_student_get_every_row_twice(tiny_config, tiny_splits, tmp_path, monkeypatch):
    halves, loss = [], ExitLoss.__call__

    def watched(self, outputs, labels, num_items_in_batch=None):
        if self._model.training:
            halves.append(labels.chunk(2))
        return loss(self, outputs, labels, num_items_in_batch)

    monkeypatch.setattr(ExitLoss, "__call__", watched)
    config = tiny_config.model_copy(update={"epochs": 0.3, "student_layers": 1, "r_drop": 1.0})
    teacher = fine_tune(config, tiny_splits, tmp_path)
    steps = len(halves)
    distil(teacher, tiny_splits)
    assert len(halves) == 2 * steps > 0
    assert all(torch.equal(first, second) and len(first) == config.batch_size for first, second in halves)


def test_without_a_student_the_manifest_says_so(tiny_artifact):
    assert "No student was distilled" in tiny_artifact.manifest.not_built["int8_student"]


def test_a_model_that_is_trained_again_has_no_old_student(teacher, student, tiny_config, tiny_splits, tmp_path):
    config = tiny_config.model_copy(update={"epochs": 0.2, "student_layers": 1})
    first = fine_tune(config, tiny_splits, tmp_path)
    distil(first, tiny_splits)
    assert first.student() is not None
    assert fine_tune(config, tiny_splits, tmp_path).student() is None


def test_a_student_as_large_as_the_model_is_rejected_before_the_teacher_is_trained(tiny_config, tiny_splits, tmp_path):
    def untrained(**arguments):
        raise AssertionError("the teacher was trained")

    config = tiny_config.model_copy(update={"student_layers": 2})
    with pytest.raises(ConfigurationError, match="student_layers 2 must be less than the model's 2 layers"):
        fine_tune(config, tiny_splits, tmp_path, untrained)
