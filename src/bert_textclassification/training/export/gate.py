"""The gate: what a variant loses against the FP32 model, whether it may be the default, and which one is.

Every loss is measured on the rows that judge, paired row by row: of accuracy, of average precision, which says how well
the scores rank, and of log loss, which says how far they are probabilities.
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
RESAMPLES_OF_CHOICES = 200  # for a standard error, which needs fewer
NOTICEABLE = 1.05  # times as fast: a smaller gain is not worth a less exact variant

LogOddsBySplit = dict[str, NDArray[np.float64]]  # of the positive label, calibrated, [texts]
Statistic = Callable[[NDArray[np.int64]], float]  # of the rows, each taken as often as its count says
Times = Mapping[str, NDArray[np.float64]]  # milliseconds, [rounds, texts], by variant


@dataclass(frozen=True)
class ReferenceDecision:
    """What variants are measured against: the fine-tuned torch model.

    Attributes:
        log_odds: its calibrated log-odds of each split.
        threshold: calibrated score from which it gives the positive label.
        with_offset: whether an offset helps to calibrate it. Then all variants have one: were each to decide, chance
            would give one to FP32 and none to int8, and texts near the threshold other labels.
    """

    log_odds: LogOddsBySplit
    threshold: float
    with_offset: bool

    @classmethod
    def of(cls, config: TrainingConfig, evaluated: dict[str, Evaluated]) -> "ReferenceDecision":
        """Calibrate the torch model and choose its threshold on the rows that judge."""
        truth, raw = judges(evaluated).targets, margins(judges(evaluated).reference)
        with_offset = offset_helps(truth, raw)
        scale = fit_scale(truth, raw, with_offset)
        threshold, _ = choose_threshold(config, truth, probabilities(scale.log_odds(raw)))
        log_odds = {split: scale.log_odds(margins(found.reference)) for split, found in evaluated.items()}
        return cls(log_odds, threshold, with_offset)

    def labels(self, log_odds: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether each text gets the positive label."""
        return probabilities(log_odds) >= self.threshold

    def compare(self, name: str, evaluated: dict[str, Evaluated], log_odds: LogOddsBySplit) -> dict[str, Any]:
        """Return how the variant `name` with these calibrated log-odds compares, by the names of Variant's fields."""
        labels = {split: self.labels(found) for split, found in log_odds.items()}
        references = {split: self.labels(found) for split, found in self.log_odds.items()}
        truth = judges(evaluated).targets
        own, theirs = of_judges(labels), of_judges(references)
        return {
            "accuracy": {split: accuracy(found.targets, labels[split]) for split, found in evaluated.items()},
            "agreement": {split: agreement(references[split], labels[split]) for split in evaluated},
            "loss_points": points_lost(truth, theirs, own),
            "p_value": mcnemar(truth, theirs, own),
            "loss_at_most": largest_loss(truth, theirs, own),
            "average_precision_loss": average_precision_loss(truth, of_judges(self.log_odds), of_judges(log_odds)),
            "log_loss_increase": log_loss_increase(truth, of_judges(self.log_odds), of_judges(log_odds)),
            "compared": compare(evaluated["test"].targets, labels["test"], references["test"], name, "the FP32 model"),
        }


def judges_of(splits: Mapping[str, Any]) -> list[str]:
    """Return the splits that decide: validation, and what was held back from train where that is small."""
    return [name for name in ("validation", "held_back") if name in splits]


def of_judges(by_split: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the rows of the splits that decide, as one array."""
    return np.concatenate([by_split[name] for name in judges_of(by_split)])


def judges(evaluated: dict[str, Evaluated]) -> Evaluated:
    """Return the same of texts, targets and the torch model's logits."""
    parts = [evaluated[name] for name in judges_of(evaluated)]
    return Evaluated(
        [ids for part in parts for ids in part.token_ids],
        [target for part in parts for target in part.targets],
        of_judges({name: found.reference for name, found in evaluated.items()}),
    )


def average_precision_loss(
    targets: ArrayLike, reference: NDArray[np.float64], log_odds: NDArray[np.float64]
) -> Interval:
    """Return how many points of average precision `log_odds`, [rows], lose against those of `reference`, paired.

    It is that of the rarer label: of a label that most rows have, any order finds most.
    """
    truth = np.asarray(targets, dtype=np.int64)
    lost = _points_lost(truth, reference, log_odds)
    return _interval(lost(np.ones_like(truth)), resampled(truth, lost, RESAMPLES))


def log_loss_increase(targets: ArrayLike, reference: NDArray[np.float64], log_odds: NDArray[np.float64]) -> Interval:
    """Return how many nats a text `log_odds`, [rows], add to the log loss of `reference`, paired."""
    truth = np.asarray(targets, dtype=np.int64)
    added = negative_log_likelihoods(truth, log_odds) - negative_log_likelihoods(truth, reference)
    return _interval(
        float(added.mean()), resampled(truth, lambda counts: float(counts @ added) / len(added), RESAMPLES)
    )


def keeps_within(
    targets: ArrayLike, reference: NDArray[np.float64], log_odds: NDArray[np.float64], config: TrainingConfig
) -> bool:
    """Whether average precision and log loss keep what is allowed by a standard error of the paired difference.

    The choice is made among many, and the one that looks best on few rows is where luck is largest: after the
    one-standard-error rule of Breiman et al. (1984).
    """
    truth = np.asarray(targets, dtype=np.int64)
    added = negative_log_likelihoods(truth, log_odds) - negative_log_likelihoods(truth, reference)
    if added.mean() + added.std() / math.sqrt(len(added)) > config.max_log_loss_increase:
        return False
    lost = _points_lost(truth, reference, log_odds)
    error = resampled(truth, lost, RESAMPLES_OF_CHOICES).std()
    return bool(lost(np.ones_like(truth)) + error <= config.max_average_precision_loss)


def resampled(truth: NDArray[np.int64], statistic: Statistic, resamples: int) -> NDArray[np.float64]:
    """Return a statistic of paired rows in bootstrap resamples of them (Efron 1979), from a fixed seed, [resamples].

    Rows are resampled within each class, so that every resample has as many positives as there are.
    """
    rng, found = np.random.default_rng(0), np.empty(resamples)
    classes = [rows for value in (0, 1) if len(rows := np.flatnonzero(truth == value))]
    for number in range(resamples):
        drawn = np.concatenate([rng.choice(rows, len(rows)) for rows in classes])
        found[number] = statistic(np.bincount(drawn, minlength=len(truth)))
    return found


def _points_lost(truth: NDArray[np.int64], reference: NDArray[np.float64], log_odds: NDArray[np.float64]) -> Statistic:
    sign, wanted = (-1, 1 - truth) if truth.mean() > 0.5 else (1, truth)
    theirs, own = Ranking(wanted, sign * reference), Ranking(wanted, sign * log_odds)
    return lambda counts: 100 * (theirs.average_precision(counts) - own.average_precision(counts))


def _interval(value: float, samples: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(samples, [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high))


def verdict(variant: Variant, config: TrainingConfig, spec: VariantSpec) -> str:
    """Return PASSED, or why the variant may not be the default.

    The model's own weights, rounded, pass unless they are seen to lose. A student is another model, right and wrong on
    other texts: it has to be shown that its accuracy is no lower than is allowed. Ranking and log loss: see
    `_loss_verdict`.
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
        return f"loses {loss:.2f} points of accuracy, and not by chance (p = {variant.p_value:.3f})"
    if is_student and variant.loss_at_most is not None and variant.loss_at_most > allowed:
        return (
            f"may lose up to {variant.loss_at_most:.2f} points of accuracy, as far as the rows can tell, where "
            f"{allowed:g} are allowed"
        )
    return ""


def _loss_verdict(loss: Interval | None, allowed: float, spec: VariantSpec, words: str) -> str:
    """Return why the variant loses too much, or nothing.

    Rounded weights lose too much where it is more than allowed and not by chance: the interval lies above zero. On few
    rows two neighbours that change places would refuse them otherwise. What computes something else than the model,
    rounded, loses too much where it is more than allowed, whatever chance may explain.
    """
    by_chance = loss is not None and loss.low <= 0
    if loss is None or loss.value <= allowed or (by_chance and not spec.approximates):
        return ""
    return f"{words.format(loss.value, loss.low, loss.high)}, where {allowed:g} are allowed"


def choose_default(variants: dict[str, Variant], times: Times, rows: int) -> tuple[str, str]:
    """Return which variant is the default, and why.

    Of the variants that passed, it is the most exact one (VARIANTS has them in this order) that no other is faster than
    beyond the measured spread.
    """
    passed = [name for name in VARIANTS if name in variants and variants[name].verdict == PASSED]
    fastest = max(passed, key=lambda name: np.median(speedups(times, name, REFERENCE)))
    name = next(one for one in passed if one == fastest or not is_faster(times, fastest, one))
    refused = [f"{other} {variant.verdict}." for other, variant in variants.items() if other not in passed]
    return name, " ".join(
        [
            f"{name} is {_why(times, name, fastest)}: {_in_words(times, name)}, accuracy "
            f"{0 - variants[name].loss_points:+.2f} points on the {rows} rows that judge.",
            *refused,
            f"So many rows cannot show a loss of accuracy under {100 * smallest_visible_loss(rows):.2f} points.",
        ]
    )


def is_faster(times: Times, first: str, second: str) -> bool:
    """Whether `first` is faster than `second` beyond the measured spread: in every round, and noticeably at the median.

    Were both equally fast, five interleaved rounds would all say so once in 32 times.
    """
    ratios = speedups(times, first, second)
    return bool(ratios.min() > 1 and np.median(ratios) >= NOTICEABLE)


def speedups(times: Times, first: str, second: str) -> NDArray[np.float64]:
    """Return how many times as fast as `second` `first` was for the median text of each round, [rounds].

    Both took the same texts; a machine that was busy for some of them does not move the median.
    """
    found: NDArray[np.float64] = np.median(times[second] / times[first], axis=1)
    return found


def _why(times: Times, name: str, fastest: str) -> str:
    if name == fastest:
        return "the fastest that keeps accuracy, average precision and log loss"
    ratios = speedups(times, fastest, name)
    return (
        f"more exact than {fastest}, which is not faster beyond the measured spread ({np.median(ratios):.2f} times its "
        f"speed, {ratios.min():.2f} to {ratios.max():.2f})"
    )


def _in_words(times: Times, name: str) -> str:
    rounds, texts = times[name].shape
    ratios = speedups(times, name, REFERENCE)
    return (
        f"{np.median(ratios):.1f} times fp32's speed ({ratios.min():.1f} to {ratios.max():.1f} in {rounds} rounds of "
        f"{texts} texts when the artifact was made)"
    )
