"""Choose the thresholds and the calibration of a model's early exits, on the selection set (see `gate`)."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bert_textclassification.artifact.manifest import ExitScale
from bert_textclassification.serving.calibration import margins
from bert_textclassification.training.evaluation.calibration import fit_scale

SHARES = tuple(np.linspace(0.05, 1, 20))  # of the texts that could exit early if only the accuracy counted
WEIGHT_OF_OTHERS = 0.1  # of a text that does not exit there, in an exit's calibration: stabilises exits with few texts

Criterion = Callable[[NDArray[np.float64]], bool]  # whether calibrated log-odds of all rows stay within the budgets


class Exits(NamedTuple):
    """Thresholds and calibration of the exits.

    Attributes:
        exit_thresholds: least absolute difference of the two logits at which a text exits, for each early exit.
        scales: calibration of each early exit and, last, of the last layer.
    """

    exit_thresholds: tuple[float, ...]
    scales: tuple[ExitScale, ...]


def choose_exits(
    targets: Sequence[int],
    logits: Sequence[NDArray[np.float32]],
    threshold: float,
    max_loss: float,
    keeps: Criterion,
    with_offset: bool = False,
) -> Exits:
    """Return the exits that let the most texts exit early within the budgets of accuracy, ranking and log loss.

    `smallest_thresholds` keeps the accuracy. Of the texts that may exit early, a growing share does, most confident
    texts first, while accuracy, ranking and log loss over all texts stay within their budgets. The search ends at the
    first share that fails: among many shares, some pass by chance.

    Args:
        targets: 0 or 1 for each row of the selection set.
        logits: of each early exit in order and of the last layer, for every row, [rows, 2].
        threshold: calibrated score from which the label is positive.
        max_loss: budget of all exits together, in points of accuracy.
        keeps: whether ranking and log loss stay within their budgets.
        with_offset: whether the scales have one.
    """
    truth, raw = np.asarray(targets, dtype=bool), [margins(exit_logits) for exit_logits in logits]
    confidences = [np.abs(margin) for margin in raw[:-1]]
    cut = math.log(threshold / (1 - threshold))
    labels = [fit_scale(targets, margin, with_offset).log_odds(margin) >= cut for margin in raw]
    smallest = smallest_thresholds(targets, confidences, labels, max_loss)

    def exits_for(share: float) -> tuple[Exits, NDArray[np.float64]]:
        raised = raised_thresholds(confidences, smallest, share)
        exit_index = exits_taken(confidences, raised)
        scales = fit_scales(targets, raw, exit_index, with_offset)
        log_odds = [scale.log_odds(margin) for scale, margin in zip(scales, raw, strict=True)]
        return Exits(raised, scales), np.choose(exit_index, log_odds)

    chosen, _ = exits_for(0)
    for share in SHARES:
        candidate, log_odds = exits_for(share)
        lost = (labels[-1] == truth) & ((log_odds >= cut) != truth)
        if 100 * np.sum(lost) > max_loss * len(truth) or not keeps(log_odds):
            break
        chosen = candidate
    return chosen


def fit_scales(
    targets: Sequence[int], raw: Sequence[NDArray[np.float64]], exit_index: NDArray[np.int64], with_offset: bool
) -> tuple[ExitScale, ...]:
    """Return the scale of each exit, from the log-odds `raw` of each for every row, [rows].

    An early exit is calibrated mainly on the rows that exit there: it is overconfident on them to another degree than
    on the other rows, which have little weight. The last layer is calibrated on all rows, as in the variant without
    early exits, so that a text that passes all layers has the same score in both.
    """
    weights = [np.where(exit_index == number, 1.0, WEIGHT_OF_OTHERS) for number in range(len(raw) - 1)]
    return tuple(
        fit_scale(targets, margin, with_offset, weight) for margin, weight in zip(raw, [*weights, None], strict=True)
    )


def exits_taken(confidences: Sequence[NDArray[np.float64]], thresholds: Sequence[float]) -> NDArray[np.int64]:
    """Return the index of the exit that each row takes, [rows]; that of the last layer is the number of early exits."""
    exit_index = np.full(len(confidences[0]), len(confidences))
    for number in reversed(range(len(confidences))):
        exit_index[confidences[number] >= thresholds[number]] = number
    return exit_index


def raised_thresholds(
    confidences: Sequence[NDArray[np.float64]], smallest: Sequence[float], share: float
) -> tuple[float, ...]:
    """Return thresholds that keep, at each exit, about this share of the rows that exit at the `smallest` ones."""
    exit_index = exits_taken(confidences, smallest)
    exiting = [confidence[exit_index == number] for number, confidence in enumerate(confidences)]
    return tuple(
        threshold if share == 1 else math.inf if share == 0 or not len(rows) else float(np.quantile(rows, 1 - share))
        for threshold, rows in zip(smallest, exiting, strict=True)
    )


def smallest_thresholds(
    targets: Sequence[int],
    confidences: Sequence[NDArray[np.float64]],
    labels: Sequence[NDArray[np.bool_]],
    max_loss: float,
) -> tuple[float, ...]:
    """Return the smallest threshold of each exit in order that keeps the accuracy.

    Each exit may lose an equal share of what the exits before it left of `max_loss`.

    Args:
        targets: 0 or 1 for each row.
        confidences: absolute difference of the two logits of each early exit for every row, [rows].
        labels: of each early exit and of the last layer for every row, [rows].
        max_loss: budget of all exits together, in points of accuracy.
    """
    truth, rows = np.asarray(targets, dtype=bool), np.arange(len(targets))
    right = labels[-1] == truth
    losses = [right & (early != truth) for early in labels[:-1]]
    budget = max_loss / 100 * len(truth)
    thresholds: list[float] = []
    for number, confidence in enumerate(confidences):
        share = budget / (len(confidences) - number)
        lost = losses[number][rows]
        thresholds.append(smallest_threshold(confidence[rows], lost, share))
        answered = confidence[rows] >= thresholds[-1]
        budget -= np.sum(lost & answered)
        rows = rows[~answered]
    return tuple(thresholds)


def smallest_threshold(confidence: NDArray[np.float64], lost: NDArray[np.bool_], most_lost: float) -> float:
    """Return the smallest threshold at which the early exit loses at most `most_lost` rows.

    Rows that only the early exit gets right do not offset lost rows: with few rows, the threshold would otherwise be
    set by chance.

    Args:
        confidence: absolute difference of the two logits of the early exit, for each row.
        lost: which rows the last layer gets right and the early exit wrong.
        most_lost: how many of these may exit early.

    Returns:
        The threshold, or infinity if no text may exit.
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_differences = confidence[order]
    affordable = np.cumsum(lost[order]) <= most_lost
    is_last_of_equals = np.append(sorted_differences[:-1] > sorted_differences[1:], True)
    answered = np.flatnonzero(affordable & is_last_of_equals)
    if not len(answered):
        return math.inf
    lowest = answered[-1]
    below = sorted_differences[lowest + 1] if lowest + 1 < len(confidence) else 0.0
    return float((sorted_differences[lowest] + below) / 2)
