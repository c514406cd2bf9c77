"""How good the model is as it is served, beside what it must beat, and what a user must know before trusting it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bert_textclassification.artifact import Comparison, Decision
from bert_textclassification.training.baseline import baseline_scores, fit_baseline
from bert_textclassification.training.calibration import LogOdds, calibration_table
from bert_textclassification.training.comparison import SIGNIFICANT, compare
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data import Splits
from bert_textclassification.training.decision import review_yield
from bert_textclassification.training.evaluation import Interval, metrics_of_splits, metrics_with_intervals
from bert_textclassification.training.fine_tuning import Evaluated

REPORTED = ("validation", "test")
_IMBALANCED_BELOW = 0.2

Served = dict[str, LogOdds]  # of the served model, by split


@dataclass(frozen=True)
class Quality:
    """What is reported of a model: the fields of the manifest with the same names."""

    metrics: dict[str, dict[str, Interval]]
    baseline: dict[str, Interval]
    comparisons: dict[str, Comparison]
    calibration: dict[str, dict[str, float]]
    review: dict[str, dict[str, float]]
    warnings: list[str]


def assess(
    config: TrainingConfig, splits: Splits, evaluated: dict[str, Evaluated], served: Served, decision: Decision
) -> Quality:
    """Measure the model, as it is `served`, at its decision; the baseline is fitted on train.

    It is compared with its rivals by accuracy, each of them at 0.5: a threshold that costs or a bound have moved gives
    accuracy away on purpose.
    """
    scores = {name: served[name].scores for name in REPORTED}
    truth = {name: split.targets for name, split in evaluated.items()}
    metrics, targets = metrics_of_splits(truth, scores, config.seed, decision.threshold), truth["test"]
    others = baseline_scores(fit_baseline(splits, config.seed), splits.test["text"].tolist())
    labels = scores["test"] >= 0.5
    comparisons = {
        "baseline": compare(targets, labels, others >= 0.5, "the model", "the baseline"),
        "majority": _compared_with_majority(splits, targets, labels),
    }
    review = {name: review_yield(evaluated[name].targets, scores[name], decision, config) for name in REPORTED}
    return Quality(
        metrics=metrics,
        baseline=metrics_with_intervals(targets, others, config.seed),
        comparisons=comparisons,
        calibration=calibration_table({name: (evaluated[name].targets, served[name]) for name in REPORTED}),
        review=review if decision.review_band else {},
        warnings=[
            *no_better(comparisons),
            *imbalance(splits, metrics["test"]),
            *bound_not_kept(config.threshold_for, metrics["test"]),
        ],
    )


def no_better(comparisons: dict[str, Comparison]) -> list[str]:
    """Return a warning for each simple rival that the model does not beat beyond chance."""
    return [
        f"Not shown to be better than {NAMES[name]}: {one.points:+.2f} points of accuracy on {one.rows} test rows "
        f"({one.low:+.2f} to {one.high:+.2f})."
        for name, one in comparisons.items()
        if one.points <= 0 or one.p_value >= SIGNIFICANT
    ]


NAMES = {"baseline": "TF-IDF and logistic regression", "majority": "always giving the more frequent label"}


def imbalance(splits: Splits, metrics: dict[str, Interval]) -> list[str]:
    """Return a warning where one label is so rare that accuracy says nothing."""
    positives = float(np.mean(splits.targets(splits.test)))
    if _IMBALANCED_BELOW <= positives <= 1 - _IMBALANCED_BELOW:
        return []
    return [
        f"Accuracy says little: always answering {splits.labels[int(positives > 0.5)]!r} would be right for "
        f"{max(positives, 1 - positives):.1%} of the test rows. Read average precision "
        f"({metrics['average_precision']['value']:.3f}) and F1 ({metrics['f1']['value']:.3f})."
    ]


def bound_not_kept(objective: str, metrics: dict[str, Interval]) -> list[str]:
    """Return a warning where the threshold was chosen for a bound that test rows do not keep."""
    which, _, bound = objective.partition(">=")
    if not bound or metrics[which]["value"] >= float(bound):
        return []
    return [f"The threshold was chosen for {objective}; on test {which} is {metrics[which]['value']:.3f}."]


def _compared_with_majority(splits: Splits, targets: Sequence[int], labels: NDArray[np.bool_]) -> Comparison:
    majority = np.mean(splits.targets(splits.train)) >= 0.5
    return compare(targets, labels, np.full(len(targets), majority), "the model", NAMES["majority"])
