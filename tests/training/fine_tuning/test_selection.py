"""The choice of the checkpoint: small differences in the metric do not decide."""

import numpy as np
import pytest

from bert_textclassification.training.evaluation.metrics import standard_error
from bert_textclassification.training.fine_tuning.selection import Evaluation, best_evaluation


def evaluations(*measured, error=0.02):
    return [Evaluation(value, error, log_loss) for value, log_loss in measured]


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([(0.90, 0.30)], 0),
        ([(0.90, 0.30), (0.95, 0.20)], 1),
        ([(0.95, 0.20), (0.90, 0.10)], 0),  # worse than the standard error: the log loss is ignored
        ([(0.94, 0.20), (0.95, 0.25)], 0),  # a difference of two in two hundred rows
        ([(0.95, 0.25), (0.94, 0.20)], 1),
        ([(0.95, 0.20), (0.95, 0.20)], 1),  # the later of ties
        ([(0.90, 0.10), (0.91, 0.20), (0.93, 0.30)], 2),  # the first is outside the range of the highest
        ([(0.95, 0.20), (0.94, 0.19), (0.92, 0.10)], 1),  # below the highest, though not below the one kept
    ],
)
def test_the_lowest_log_loss_among_those_within_noise_is_kept(measured, expected):
    assert best_evaluation(evaluations(*measured)) == expected


def test_without_noise_the_highest_value_is_kept():
    assert best_evaluation(evaluations((0.5, 0.1), (0.6, 0.9), (0.55, 0.0), error=0)) == 1


def test_the_standard_error_of_the_accuracy_is_that_of_a_share():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 400)
    scores = np.where(rng.random(400) < 0.9, targets, 1 - targets).astype(float)
    right = np.mean((scores >= 0.5) == targets)
    assert standard_error("accuracy", targets.tolist(), scores, 0) == pytest.approx(
        np.sqrt(right * (1 - right) / 400), rel=0.2
    )
    assert standard_error("loss", targets.tolist(), scores, 0) == 0


def test_training_keeps_the_checkpoint_that_the_rule_names(tiny_fine_tuned):
    rows = [row for row in tiny_fine_tuned.history if "eval_calibrated_loss" in row]
    measured = [
        Evaluation(row["eval_accuracy"], row["eval_standard_error"], row["eval_calibrated_loss"]) for row in rows
    ]
    best = rows[best_evaluation(measured)]
    assert len(rows) == 12
    assert tiny_fine_tuned.facts["best_step"] == best["step"]
    assert tiny_fine_tuned.facts["best_metric"] == best["eval_accuracy"]
