"""The loss that fine-tuning minimises, against torch's own functions."""

import pytest
import torch

from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.modeling.base_models import find_base_model
from bert_textclassification.training.modeling.classifier import ClassifierOutput
from bert_textclassification.training.modeling.losses import ExitLoss

LABELS = torch.tensor([0, 1, 1])
FIRST = torch.tensor([[2.0, -1.0], [0.5, 0.0], [-1.0, 1.0]])
SECOND = torch.tensor([[1.0, 0.0], [0.0, 0.5], [-1.0, 1.5]])
cross_entropy = torch.nn.functional.cross_entropy


@pytest.fixture
def model(tiny_base):
    return find_base_model(str(tiny_base)).classifier(0.1)


def test_the_loss_is_the_cross_entropy(model):
    assert ExitLoss(model, None, r_drop=0)(ClassifierOutput(logits=FIRST), LABELS) == pytest.approx(
        cross_entropy(FIRST, LABELS)
    )


def test_classes_are_weighted(model):
    wanted = cross_entropy(FIRST, LABELS, weight=torch.tensor([1.0, 5.0]), reduction="sum") / 3
    assert ExitLoss(model, [1.0, 5.0], r_drop=0)(ClassifierOutput(logits=FIRST), LABELS) == pytest.approx(wanted)


def test_deeper_exits_weigh_more(tiny_base):
    model = find_base_model(str(tiny_base)).classifier(0.1, "1")
    wanted = (cross_entropy(SECOND, LABELS) + 2 * cross_entropy(FIRST, LABELS)) / 3
    loss = ExitLoss(model, None, r_drop=0)(ClassifierOutput(logits=FIRST, early=SECOND[:, None]), LABELS)
    assert loss == pytest.approx(wanted)


def test_a_smaller_batch_on_one_host_counts_by_its_rows(model):
    loss = ExitLoss(model, None, r_drop=0)
    parts = loss(ClassifierOutput(logits=FIRST[:1]), LABELS[:1], 3) + loss(
        ClassifierOutput(logits=FIRST[1:]), LABELS[1:], 3
    )
    assert parts == pytest.approx(loss(ClassifierOutput(logits=FIRST), LABELS))


def test_equal_outputs_have_the_loss_of_a_single_pass(model):
    loss = ExitLoss(model.train(), None, r_drop=3)(ClassifierOutput(logits=FIRST.repeat(2, 1)), LABELS.repeat(2), 3)
    assert loss == pytest.approx(cross_entropy(FIRST, LABELS))


def test_different_outputs_add_their_divergence(model):
    distributions = [torch.distributions.Categorical(logits=logits) for logits in (FIRST, SECOND)]
    apart = sum(torch.distributions.kl_divergence(p, q).mean() for p, q in (distributions, distributions[::-1])) / 2
    entropies = (cross_entropy(FIRST, LABELS) + cross_entropy(SECOND, LABELS)) / 2
    loss = ExitLoss(model.train(), None, r_drop=3)(
        ClassifierOutput(logits=torch.cat([FIRST, SECOND])), LABELS.repeat(2)
    )
    assert loss == pytest.approx(entropies + 3 * apart)


def test_evaluation_does_not_duplicate_rows(model):
    loss = ExitLoss(model.eval(), None, r_drop=3)(ClassifierOutput(logits=FIRST), LABELS)
    assert loss == pytest.approx(cross_entropy(FIRST, LABELS))


@pytest.mark.slow
def test_a_model_learns_with_r_drop(tiny_config, tiny_splits, tiny_fine_tuned, tmp_path):
    trained = fine_tune(tiny_config.model_copy(update={"r_drop": 1.0}), tiny_splits, tmp_path)
    losses = [row["loss"] for row in trained.history if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]
    assert trained.facts["steps"] == tiny_fine_tuned.facts["steps"]
