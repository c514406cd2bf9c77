"""Assess the served model: metrics, comparisons with baselines, calibration, and warnings for the user."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from bert_textclassification.artifact.manifest import Comparison, Decision
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.evaluation.baselines import baseline_scores, constant_scores, fit_baseline
from bert_textclassification.training.evaluation.calibration import LogOdds, calibration_table
from bert_textclassification.training.evaluation.generalisation_gap import gap_of_splits
from bert_textclassification.training.evaluation.inference import Evaluated
from bert_textclassification.training.evaluation.metrics import Interval, metrics_of_splits, metrics_with_intervals
from bert_textclassification.training.evaluation.selection_metric import (
    IMBALANCED_BELOW,
    METRIC_NAMES,
    choose_metric,
    rarer_share,
)
from bert_textclassification.training.evaluation.significance import SIGNIFICANT, compare_scores, describe_gain
from bert_textclassification.training.evaluation.thresholds import review_yield

REPORTED = ("validation", "test")

Served = dict[str, LogOdds]  # of the served model, by split


@dataclass(frozen=True)
class Quality:
    """The reported quality of a model; the fields have the names of the manifest's fields."""

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
    """Measure the `served` model at its decision threshold; the baseline is fitted on train.

    Comparisons use the metric of `choose_metric` and a threshold of 0.5 for every model, because a threshold that is
    chosen for costs or a bound gives up accuracy on purpose.
    """
    chosen = choose_metric(config, splits)
    scores = {name: served[name].scores for name in REPORTED}
    truth = {name: split.targets for name, split in evaluated.items()}
    metrics, targets = metrics_of_splits(truth, scores, config.seed, decision.threshold), truth["test"]
    baseline = baseline_scores(fit_baseline(splits, config.seed, chosen.metric), splits.test["text"].tolist())
    comparisons = compare_with_rivals(targets, scores["test"], baseline, chosen.metric)
    review = {name: review_yield(evaluated[name].targets, scores[name], decision, config) for name in REPORTED}
    return Quality(
        judging=asdict(chosen),
        metrics=metrics,
        baseline=metrics_with_intervals(targets, baseline, config.seed),
        comparisons=comparisons,
        calibration=calibration_table({name: (evaluated[name].targets, served[name]) for name in REPORTED}),
        review=review if decision.review_band else {},
        warnings=[
            *rival_warnings(comparisons),
            *gap_of_splits(chosen.metric, truth, scores, splits, decision.threshold),
            *imbalance_warnings(splits, metrics["test"]),
            *bound_warnings(config.threshold_objective, metrics["test"]),
        ],
    )


def rival_warnings(comparisons: dict[str, Comparison]) -> list[str]:
    """Return a warning for each baseline that the model does not beat significantly."""
    return [
        f"Not shown to be better than {NAMES[name]}: {describe_gain(comparison.points, comparison.metric)} on "
        f"{comparison.rows} test rows ({comparison.low:+.2f} to {comparison.high:+.2f} points)."
        for name, comparison in comparisons.items()
        if comparison.points <= 0 or comparison.p_value >= SIGNIFICANT
    ]


def compare_with_rivals(
    targets: Sequence[int], scores: NDArray[np.float64], baseline: NDArray[np.float64], metric: str
) -> dict[str, Comparison]:
    """Return the comparisons of a model with the baseline's scores and with a constant prediction."""
    constant = constant_scores(targets, metric)
    return {
        "baseline": compare_scores(targets, scores, baseline, metric, "the model", "the baseline"),
        "majority": compare_scores(targets, scores, constant, metric, "the model", NAMES["majority"]),
    }


NAMES = {"baseline": "TF-IDF and logistic regression", "majority": "always predicting the more frequent label"}


def imbalance_warnings(splits: Splits, metrics: dict[str, Interval]) -> list[str]:
    """Return a warning if one label is so rare that accuracy is not informative."""
    targets = splits.targets(splits.test)
    if rarer_share(targets) >= IMBALANCED_BELOW:
        return []
    frequent = int(np.mean(targets) > 0.5)
    metric = "average_precision_negative" if frequent else "average_precision"
    return [
        f"Accuracy is not informative: always predicting {splits.labels[frequent]!r} is right for "
        f"{1 - rarer_share(targets):.1%} of the test rows. Use {METRIC_NAMES[metric]} "
        f"({metrics[metric]['value']:.3f}) and F1 ({metrics['f1']['value']:.3f})."
    ]


def bound_warnings(objective: str, metrics: dict[str, Interval]) -> list[str]:
    """Return a warning if the threshold was chosen for a bound that is not met on test."""
    metric, _, bound = objective.partition(">=")
    if not bound or metrics[metric]["value"] >= float(bound):
        return []
    return [f"The threshold was chosen for {objective}; on test {metric} is {metrics[metric]['value']:.3f}."]
