"""The gate: measure what each variant loses against the FP32 model, accept or reject it, and choose the default.

The losses of accuracy, average precision (ranking) and log loss (calibration) are measured on the selection set, paired
row by row. The selection set is validation and, if validation is small, rows held back from train.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bert_textclassification.artifact.manifest import PASSED, Interval, Variant
from bert_textclassification.serving.calibration import margins
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.evaluation.calibration import (
    fit_scale,
    negative_log_likelihoods,
    offset_helps,
    probabilities,
)
from bert_textclassification.training.evaluation.inference import Evaluated
from bert_textclassification.training.evaluation.metrics import Ranking, accuracy, agreement
from bert_textclassification.training.evaluation.significance import (
    SIGNIFICANT,
    compare,
    largest_loss,
    mcnemar,
    points_lost,
    smallest_visible_loss,
)
from bert_textclassification.training.evaluation.thresholds import choose_threshold
from bert_textclassification.training.export.variants import REFERENCE, VARIANTS, VariantSpec

RESAMPLES = 1000
RESAMPLES_OF_CHOICES = 200  # enough for a standard error
NOTICEABLE = 1.05  # times as fast: a smaller gain does not justify a less exact variant

LogOddsBySplit = dict[str, NDArray[np.float64]]  # of the positive label, calibrated, [texts]
Statistic = Callable[[NDArray[np.int64]], float]  # of how often each row was drawn, [rows]
Times = Mapping[str, NDArray[np.float64]]  # milliseconds, [rounds, texts], by variant


@dataclass(frozen=True)
class ReferenceDecision:
    """The fine-tuned torch model, calibrated, as the reference for the variants.

    Attributes:
        log_odds: its calibrated log-odds of each split.
        threshold: calibrated score from which it gives the positive label.
        with_offset: whether its calibration has an offset. All variants follow: a separate decision for each could
            give an offset to FP32 and none to int8 by chance, and so change the labels of texts near the threshold.
    """

    log_odds: LogOddsBySplit
    threshold: float
    with_offset: bool

    @classmethod
    def of(cls, config: TrainingConfig, evaluated: dict[str, Evaluated]) -> "ReferenceDecision":
        """Calibrate the torch model and choose its threshold on the selection set."""
        truth, raw = selection_set_of(evaluated).targets, margins(selection_set_of(evaluated).reference)
        with_offset = offset_helps(truth, raw)
        scale = fit_scale(truth, raw, with_offset)
        threshold, _ = choose_threshold(config, truth, probabilities(scale.log_odds(raw)))
        log_odds = {split: scale.log_odds(margins(rows.reference)) for split, rows in evaluated.items()}
        return cls(log_odds, threshold, with_offset)

    def labels(self, log_odds: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether each text gets the positive label."""
        return probabilities(log_odds) >= self.threshold

    def compare(self, name: str, evaluated: dict[str, Evaluated], log_odds: LogOddsBySplit) -> dict[str, Any]:
        """Return the comparison of the variant `name` with the reference, by the names of Variant's fields.

        Args:
            name: of the variant.
            evaluated: targets and reference logits of each split.
            log_odds: calibrated log-odds of the variant, for each split.
        """
        labels = {split: self.labels(values) for split, values in log_odds.items()}
        references = {split: self.labels(values) for split, values in self.log_odds.items()}
        truth = selection_set_of(evaluated).targets
        chosen, expected = selection_rows(labels), selection_rows(references)
        reference_log_odds = selection_rows(self.log_odds)
        return {
            "accuracy": {split: accuracy(rows.targets, labels[split]) for split, rows in evaluated.items()},
            "agreement": {split: agreement(references[split], labels[split]) for split in evaluated},
            "loss_points": points_lost(truth, expected, chosen),
            "p_value": mcnemar(truth, expected, chosen),
            "loss_at_most": largest_loss(truth, expected, chosen),
            "average_precision_loss": average_precision_loss(truth, reference_log_odds, selection_rows(log_odds)),
            "log_loss_increase": log_loss_increase(truth, reference_log_odds, selection_rows(log_odds)),
            "compared": compare(evaluated["test"].targets, labels["test"], references["test"], name, "the FP32 model"),
        }


def selection_splits(splits: Mapping[str, Any]) -> list[str]:
    """Return the names of the splits of the selection set: validation and, if it is small, `held_back` from train."""
    return [name for name in ("validation", "held_back") if name in splits]


def selection_rows(by_split: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the values of the selection set as one array, [rows]."""
    return np.concatenate([by_split[name] for name in selection_splits(by_split)])


def selection_set_of(evaluated: dict[str, Evaluated]) -> Evaluated:
    """Return the texts, the targets and the torch model's logits of the selection set."""
    parts = [evaluated[name] for name in selection_splits(evaluated)]
    return Evaluated(
        [ids for part in parts for ids in part.token_ids],
        [target for part in parts for target in part.targets],
        selection_rows({name: rows.reference for name, rows in evaluated.items()}),
    )


def average_precision_loss(
    targets: ArrayLike, reference: NDArray[np.float64], log_odds: NDArray[np.float64]
) -> Interval:
    """Return how many points of average precision `log_odds`, [rows], lose against `reference`, paired.

    The average precision is that of the rarer label: for a frequent label, any ranking scores high.
    """
    truth = np.asarray(targets, dtype=np.int64)
    lost = _points_lost(truth, reference, log_odds)
    return _interval(lost(np.ones_like(truth)), resampled(truth, lost, RESAMPLES))


def log_loss_increase(targets: ArrayLike, reference: NDArray[np.float64], log_odds: NDArray[np.float64]) -> Interval:
    """Return how many nats per text `log_odds`, [rows], add to the log loss of `reference`, paired."""
    truth = np.asarray(targets, dtype=np.int64)
    added = negative_log_likelihoods(truth, log_odds) - negative_log_likelihoods(truth, reference)
    return _interval(
        float(added.mean()), resampled(truth, lambda counts: float(counts @ added) / len(added), RESAMPLES)
    )


def keeps_within(
    targets: ArrayLike, reference: NDArray[np.float64], log_odds: NDArray[np.float64], config: TrainingConfig
) -> bool:
    """Whether the losses of average precision and log loss stay a standard error below what is allowed.

    The standard error is that of the paired difference. The best of many candidates on few rows is optimistic; this
    margin follows the one-standard-error rule of Breiman et al. (1984).
    """
    truth = np.asarray(targets, dtype=np.int64)
    added = negative_log_likelihoods(truth, log_odds) - negative_log_likelihoods(truth, reference)
    if added.mean() + added.std() / math.sqrt(len(added)) > config.max_log_loss_increase:
        return False
    lost = _points_lost(truth, reference, log_odds)
    error = resampled(truth, lost, RESAMPLES_OF_CHOICES).std()
    return bool(lost(np.ones_like(truth)) + error <= config.max_average_precision_loss)


def resampled(truth: NDArray[np.int64], statistic: Statistic, resamples: int) -> NDArray[np.float64]:
    """Return the statistic of each bootstrap resample of paired rows (Efron 1979), with a fixed seed, [resamples].

    Rows are resampled within each class, so that every resample has the same number of positives.
    """
    rng, values = np.random.default_rng(0), np.empty(resamples)
    classes = [rows for value in (0, 1) if len(rows := np.flatnonzero(truth == value))]
    for number in range(resamples):
        drawn = np.concatenate([rng.choice(rows, len(rows)) for rows in classes])
        values[number] = statistic(np.bincount(drawn, minlength=len(truth)))
    return values


def _points_lost(truth: NDArray[np.int64], reference: NDArray[np.float64], log_odds: NDArray[np.float64]) -> Statistic:
    sign, wanted = (-1, 1 - truth) if truth.mean() > 0.5 else (1, truth)
    expected, ranking = Ranking(wanted, sign * reference), Ranking(wanted, sign * log_odds)
    return lambda counts: 100 * (expected.average_precision(counts) - ranking.average_precision(counts))


def _interval(value: float, samples: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(samples, [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high))


def verdict(variant: Variant, config: TrainingConfig, spec: VariantSpec) -> str:
    """Return PASSED, or why the variant may not be the default.

    The quantized model passes unless a loss is measured. A student is another model that makes other errors: it passes
    only if the upper confidence bound of its loss of accuracy is allowed. For ranking and log loss see `_loss_verdict`.
    """
    ranking = _loss_verdict(
        variant.average_precision_loss,
        config.max_average_precision_loss,
        spec,
        "loses {:.2f} points of average precision ({:+.2f} to {:+.2f})",
    )
    log_loss = _loss_verdict(
        variant.log_loss_increase,
        config.max_log_loss_increase,
        spec,
        "adds {:.3f} nats to the log loss ({:+.3f} to {:+.3f})",
    )
    return _accuracy_verdict(variant, config.max_accuracy_loss, spec.of_student) or ranking or log_loss or PASSED


def _accuracy_verdict(variant: Variant, allowed: float, is_student: bool) -> str:
    loss = variant.loss_points
    if loss > allowed:
        return f"loses {loss:.2f} points of accuracy, where {allowed:g} are allowed"
    if loss > 0 and variant.p_value is not None and variant.p_value < SIGNIFICANT:
        return f"loses {loss:.2f} points of accuracy, a significant loss (p = {variant.p_value:.3f})"
    if is_student and variant.loss_at_most is not None and variant.loss_at_most > allowed:
        return (
            f"may lose up to {variant.loss_at_most:.2f} points of accuracy (upper confidence bound), where {allowed:g} "
            "are allowed"
        )
    return ""


def _loss_verdict(loss: Interval | None, allowed: float, spec: VariantSpec, words: str) -> str:
    """Return why the variant loses too much, or an empty string.

    A quantized model is rejected if its loss is above what is allowed and significant: the confidence interval lies
    above zero. Otherwise, on few rows, two neighbours that swap ranks would reject it. A variant that computes
    something else, with early exits or a student, is rejected if its loss is above what is allowed, significant or not.
    """
    by_chance = loss is not None and loss.low <= 0
    if loss is None or loss.value <= allowed or (by_chance and not spec.approximates):
        return ""
    return f"{words.format(loss.value, loss.low, loss.high)}, where {allowed:g} are allowed"


def choose_default(variants: dict[str, Variant], times: Times, rows: int) -> tuple[str, str]:
    """Return the name of the default variant and the reason.

    The default is the most exact of the passed variants that none of them beats in speed beyond the measured spread;
    VARIANTS has the most exact first.
    """
    passed = [name for name in VARIANTS if name in variants and variants[name].verdict == PASSED]
    fastest = max(passed, key=lambda name: np.median(speedups(times, name, REFERENCE)))
    name = next(candidate for candidate in passed if candidate == fastest or not is_faster(times, fastest, candidate))
    rejected = [f"{other} {variant.verdict}." for other, variant in variants.items() if other not in passed]
    return name, " ".join(
        [
            f"{name} is {_reason(times, name, fastest)}: {_describe_speed(times, name)}, accuracy "
            f"{0 - variants[name].loss_points:+.2f} points on the {rows} rows of the selection set.",
            *rejected,
            f"Losses of accuracy under {100 * smallest_visible_loss(rows):.2f} points cannot be detected on {rows} "
            "rows.",
        ]
    )


def is_faster(times: Times, first: str, second: str) -> bool:
    """Whether `first` is faster than `second` in every round, and at the median at least NOTICEABLE times as fast.

    If both were equally fast, `first` would win all of five interleaved rounds with a probability of 1/32.
    """
    ratios = speedups(times, first, second)
    return bool(ratios.min() > 1 and np.median(ratios) >= NOTICEABLE)


def speedups(times: Times, first: str, second: str) -> NDArray[np.float64]:
    """Return the speed-up of `first` over `second`, paired by text, as the median of each round, [rounds].

    Load on the machine during a few texts does not change the median.
    """
    medians: NDArray[np.float64] = np.median(times[second] / times[first], axis=1)
    return medians


def _reason(times: Times, name: str, fastest: str) -> str:
    if name == fastest:
        return "the fastest that keeps accuracy, average precision and log loss"
    ratios = speedups(times, fastest, name)
    return (
        f"more exact than {fastest}, which is not clearly faster ({np.median(ratios):.2f} times as fast, "
        f"{ratios.min():.2f} to {ratios.max():.2f})"
    )


def _describe_speed(times: Times, name: str) -> str:
    rounds, texts = times[name].shape
    ratios = speedups(times, name, REFERENCE)
    return (
        f"{np.median(ratios):.1f} times as fast as fp32 ({ratios.min():.1f} to {ratios.max():.1f} in {rounds} rounds "
        f"of {texts} texts, measured when the artifact was made)"
    )
