"""How good the model is as it is served, beside what it must beat, and what a user must know before trusting it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from bert_textclassification.artifact.manifest import Comparison, Decision
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.evaluation.baselines import baseline_scores, constant_scores, fit_baseline
from bert_textclassification.training.evaluation.calibration import LogOdds, calibration_table
from bert_textclassification.training.evaluation.gap import gap_of_splits
from bert_textclassification.training.evaluation.inference import Evaluated
from bert_textclassification.training.evaluation.metrics import Interval, metrics_of_splits, metrics_with_intervals
from bert_textclassification.training.evaluation.selection_metric import (
    IMBALANCED_BELOW,
    METRIC_NAMES,
    choose_metric,
    rarer_share,
)
from bert_textclassification.training.evaluation.significance import SIGNIFICANT, compare_scores, gain_in_words
from bert_textclassification.training.evaluation.thresholds import review_yield

REPORTED = ("validation", "test")

Served = dict[str, LogOdds]  # of the served model, by split


@dataclass(frozen=True)
class Quality:
    """What is reported of a model: the fields of the manifest with the same names."""

    judging: dict[str, str]
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

    It is compared with its rivals by the metric of `choose_metric`, each of them at 0.5: a threshold that costs or a
    bound have moved gives accuracy away on purpose.
    """
    judging = choose_metric(config, splits)
    scores = {name: served[name].scores for name in REPORTED}
    truth = {name: split.targets for name, split in evaluated.items()}
    metrics, targets = metrics_of_splits(truth, scores, config.seed, decision.threshold), truth["test"]
    others = baseline_scores(fit_baseline(splits, config.seed, judging.metric), splits.test["text"].tolist())
    comparisons = compare_with_rivals(targets, scores["test"], others, judging.metric)
    review = {name: review_yield(evaluated[name].targets, scores[name], decision, config) for name in REPORTED}
    return Quality(
        judging=asdict(judging),
        metrics=metrics,
        baseline=metrics_with_intervals(targets, others, config.seed),
        comparisons=comparisons,
        calibration=calibration_table({name: (evaluated[name].targets, served[name]) for name in REPORTED}),
        review=review if decision.review_band else {},
        warnings=[
            *no_better(comparisons),
            *gap_of_splits(judging.metric, truth, scores, splits, decision.threshold),
            *imbalance(splits, metrics["test"]),
            *bound_not_kept(config.threshold_objective, metrics["test"]),
        ],
    )


def no_better(comparisons: dict[str, Comparison]) -> list[str]:
    """Return a warning for each simple rival that the model does not beat beyond chance."""
    return [
        f"Not shown to be better than {NAMES[name]}: {gain_in_words(one.points, one.metric)} on {one.rows} test rows "
        f"({one.low:+.2f} to {one.high:+.2f} points)."
        for name, one in comparisons.items()
        if one.points <= 0 or one.p_value >= SIGNIFICANT
    ]


def compare_with_rivals(
    targets: Sequence[int], scores: NDArray[np.float64], others: NDArray[np.float64], metric: str
) -> dict[str, Comparison]:
    """Return the comparisons of a model with the baseline, whose scores are `others`, and with a constant answer."""
    constant = constant_scores(targets, metric)
    return {
        "baseline": compare_scores(targets, scores, others, metric, "the model", "the baseline"),
        "majority": compare_scores(targets, scores, constant, metric, "the model", NAMES["majority"]),
    }


NAMES = {"baseline": "TF-IDF and logistic regression", "majority": "always giving the more frequent label"}


def imbalance(splits: Splits, metrics: dict[str, Interval]) -> list[str]:
    """Return a warning where one label is so rare that accuracy says nothing."""
    targets = splits.targets(splits.test)
    if rarer_share(targets) >= IMBALANCED_BELOW:
        return []
    frequent = int(np.mean(targets) > 0.5)
    metric = "average_precision_negative" if frequent else "average_precision"
    return [
        f"Accuracy says little: always answering {splits.labels[frequent]!r} would be right for "
        f"{1 - rarer_share(targets):.1%} of the test rows. Read {METRIC_NAMES[metric]} "
        f"({metrics[metric]['value']:.3f}) and F1 ({metrics['f1']['value']:.3f})."
    ]


def bound_not_kept(objective: str, metrics: dict[str, Interval]) -> list[str]:
    """Return a warning where the threshold was chosen for a bound that test rows do not keep."""
    which, _, bound = objective.partition(">=")
    if not bound or metrics[which]["value"] >= float(bound):
        return []
    return [f"The threshold was chosen for {objective}; on test {which} is {metrics[which]['value']:.3f}."]
