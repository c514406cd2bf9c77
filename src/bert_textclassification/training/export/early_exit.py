"""Where texts leave a model with early exits: how sure each exit must be to answer, chosen on the rows that judge."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bert_textclassification.artifact.manifest import ExitScale
from bert_textclassification.serving.calibration import margins
from bert_textclassification.training.evaluation.calibration import fit_scale

SHARES = tuple(np.linspace(0.05, 1, 20))  # of the texts that accuracy alone would let leave at an exit
WEIGHT_OF_OTHERS = 0.1  # of a text that goes on, in the calibration of an exit; it keeps exits with few texts sane

Judge = Callable[[NDArray[np.float64]], bool]  # whether calibrated log-odds of all rows keep what they must


class Exits(NamedTuple):
    """Where texts leave.

    Attributes:
        exit_thresholds: how far apart the logits of each early exit must be for a text to be answered there.
        scales: the calibration of each exit, the last layer's last.
    """

    exit_thresholds: tuple[float, ...]
    scales: tuple[ExitScale, ...]


def choose_exits(
    targets: Sequence[int],
    logits: Sequence[NDArray[np.float32]],
    threshold: float,
    max_loss: float,
    keeps: Judge,
    with_offset: bool = False,
) -> Exits:
    """Return the exits at which most texts leave early and what must be kept is kept.

    `smallest_thresholds` keeps the accuracy. Of the texts that may exit early, a growing share does, most confident
    texts first, while accuracy, ranking and log loss over all texts stay within their budgets. The search ends at the
    first share that fails: among many shares, some pass by chance.

    Args:
        targets: 0 or 1 for each row that judges.
        logits: of each early exit in order and of the last layer, for every row, [rows, 2].
        threshold: calibrated score from which the label is positive.
        max_loss: of all exits together, in points of accuracy.
        keeps: what judges the rest.
        with_offset: whether the scales have one.
    """
    truth, raw = np.asarray(targets, dtype=bool), [margins(one) for one in logits]
    sureness = [np.abs(one) for one in raw[:-1]]
    cut = math.log(threshold / (1 - threshold))
    labels = [fit_scale(targets, one, with_offset).log_odds(one) >= cut for one in raw]
    smallest = smallest_thresholds(targets, sureness, labels, max_loss)

    def leaving(share: float) -> tuple[Exits, NDArray[np.float64]]:
        raised = raised_thresholds(sureness, smallest, share)
        exit_index = exits_taken(sureness, raised)
        scales = fit_scales(targets, raw, exit_index, with_offset)
        log_odds = [scale.log_odds(one) for scale, one in zip(scales, raw, strict=True)]
        return Exits(raised, scales), np.choose(exit_index, log_odds)

    chosen, _ = leaving(0)
    for share in SHARES:
        more, log_odds = leaving(share)
        lost = (labels[-1] == truth) & ((log_odds >= cut) != truth)
        if 100 * np.sum(lost) > max_loss * len(truth) or not keeps(log_odds):
            break
        chosen = more
    return chosen


def fit_scales(
    targets: Sequence[int], raw: Sequence[NDArray[np.float64]], exit_index: NDArray[np.int64], with_offset: bool
) -> tuple[ExitScale, ...]:
    """Return the scale of each exit, from the log-odds `raw` of each for every row, [rows].

    An early exit is calibrated on the rows that leave there, and the others count little: the exit is too sure of its
    clear texts in another way than of the rest. The last layer is calibrated on all rows, as in the variant without
    early exits, so that a text that goes through all layers has the same score in both.
    """
    weights = [np.where(exit_index == number, 1.0, WEIGHT_OF_OTHERS) for number in range(len(raw) - 1)]
    return tuple(
        fit_scale(targets, one, with_offset, weight) for one, weight in zip(raw, [*weights, None], strict=True)
    )


def exits_taken(sureness: Sequence[NDArray[np.float64]], least: Sequence[float]) -> NDArray[np.int64]:
    """Return at which exit each row leaves, from 0, [rows]; the last layer's is the number of early exits."""
    found = np.full(len(sureness[0]), len(sureness))
    for number in reversed(range(len(sureness))):
        found[sureness[number] >= least[number]] = number
    return found


def raised_thresholds(
    sureness: Sequence[NDArray[np.float64]], smallest: Sequence[float], share: float
) -> tuple[float, ...]:
    """Return margins at which about a share of the rows leave at each exit that leave at the `smallest` ones."""
    taken = exits_taken(sureness, smallest)
    leaving = [sure[taken == number] for number, sure in enumerate(sureness)]
    return tuple(
        least if share == 1 else math.inf if share == 0 or not len(sure) else float(np.quantile(sure, 1 - share))
        for least, sure in zip(smallest, leaving, strict=True)
    )


def smallest_thresholds(
    targets: Sequence[int],
    sureness: Sequence[NDArray[np.float64]],
    labels: Sequence[NDArray[np.bool_]],
    max_loss: float,
) -> tuple[float, ...]:
    """Return the margin of each exit in order; each may lose an equal share of what those before it left of `max_loss`.

    Args:
        targets: 0 or 1 for each row.
        sureness: how far apart the logits of each early exit are for every row, [rows].
        labels: of each early exit and of the last layer for every row, [rows].
        max_loss: of all exits together, in points of accuracy.
    """
    truth, rows = np.asarray(targets, dtype=bool), np.arange(len(targets))
    right = labels[-1] == truth
    losses = [right & (early != truth) for early in labels[:-1]]
    budget = max_loss / 100 * len(truth)
    found = []
    for number, sure in enumerate(sureness):
        share = budget / (len(sureness) - number)
        lost = losses[number][rows]
        found.append(smallest_margin(sure[rows], lost, share))
        answered = sure[rows] >= found[-1]
        budget -= np.sum(lost & answered)
        rows = rows[~answered]
    return tuple(found)


def smallest_margin(sureness: NDArray[np.float64], lost: NDArray[np.bool_], most_lost: float) -> float:
    """Return the smallest margin at which the early exit loses at most `most_lost` rows.

    None that the early exit alone gets right are set against the lost ones: on few rows the margin would otherwise be
    where luck is largest.

    Args:
        sureness: how far apart the logits of the early exit are, for each row.
        lost: which rows the last layer gets right and the early exit wrong.
        most_lost: how many of these may be answered early.

    Returns:
        The margin, or infinity when the exit may answer nothing.
    """
    order = np.argsort(-sureness, kind="stable")
    sorted_differences = sureness[order]
    affordable = np.cumsum(lost[order]) <= most_lost
    is_last_of_equals = np.append(sorted_differences[:-1] > sorted_differences[1:], True)
    answered = np.flatnonzero(affordable & is_last_of_equals)
    if not len(answered):
        return math.inf
    lowest = answered[-1]
    below = sorted_differences[lowest + 1] if lowest + 1 < len(sureness) else 0.0
    return float((sorted_differences[lowest] + below) / 2)
