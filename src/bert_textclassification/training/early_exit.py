"""How sure the early exits must be to answer: the margin between the logits of each, chosen on validation."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def smallest_margins(
    targets: Sequence[int], early: Sequence[NDArray[np.float32]], last: NDArray[np.float32], max_loss: float
) -> tuple[float, ...]:
    """Return the margin of each exit in order; each may lose an equal share of what those before it left of `max_loss`.

    Args:
        targets: 0 or 1 for each row.
        early: logits of each exit for every row, [rows, 2].
        last: logits of the last layer, [rows, 2].
        max_loss: of all exits together, in points of accuracy.
    """
    truth, rows = np.asarray(targets), np.arange(len(targets))
    budget = max_loss / 100 * len(truth)
    margins = []
    for number, logits in enumerate(early):
        share = budget / (len(early) - number)
        margins.append(smallest_margin(truth[rows], logits[rows], last[rows], 100 * share / max(1, len(rows))))
        answered = np.abs(logits[rows, 1] - logits[rows, 0]) >= margins[-1]
        budget -= np.sum(lost(truth[rows], logits[rows], last[rows]) & answered)
        rows = rows[~answered]
    return tuple(margins)


def lost(truth: NDArray[Any], early: NDArray[np.float32], last: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which rows the last layer gets right and the early exit wrong."""
    wrong: NDArray[np.bool_] = (early[:, 1] >= early[:, 0]) != truth
    right: NDArray[np.bool_] = (last[:, 1] >= last[:, 0]) == truth
    return np.logical_and(wrong, right)


def smallest_margin(
    targets: Sequence[int] | NDArray[Any], early: NDArray[np.float32], last: NDArray[np.float32], max_loss: float
) -> float:
    """Return the smallest margin at which the early exit answers at most `max_loss` points wrongly.

    Only rows that the last layer gets right count, and none that the early exit alone gets right are set against them:
    on few rows the margin would otherwise be where luck is largest.

    Args:
        targets: 0 or 1 for each row.
        early: logits of the early exit, [rows, 2].
        last: logits of the last layer, [rows, 2].
        max_loss: in points of accuracy, that is percent of the rows.

    Returns:
        The margin, or infinity when the exit may answer nothing.
    """
    truth = np.asarray(targets)
    margins = np.abs(early[:, 1] - early[:, 0])
    order = np.argsort(-margins, kind="stable")
    sorted_margins = margins[order]
    affordable = np.cumsum(lost(truth, early, last)[order]) <= max_loss / 100 * len(truth)
    is_last_of_equals = np.append(sorted_margins[:-1] > sorted_margins[1:], True)
    answered = np.flatnonzero(affordable & is_last_of_equals)
    if not len(answered):
        return math.inf
    lowest = answered[-1]
    below = sorted_margins[lowest + 1] if lowest + 1 < len(truth) else 0.0
    return float((sorted_margins[lowest] + below) / 2)
