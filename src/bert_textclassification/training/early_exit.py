"""How sure the early exit must be to answer: the margin between its logits, chosen on validation."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def smallest_margin(
    targets: Sequence[int], early: NDArray[np.float32], last: NDArray[np.float32], max_loss: float
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
    lost = ((early[:, 1] >= early[:, 0]) != truth) & ((last[:, 1] >= last[:, 0]) == truth)
    order = np.argsort(-margins, kind="stable")
    sorted_margins = margins[order]
    affordable = np.cumsum(lost[order]) <= max_loss / 100 * len(truth)
    is_last_of_equals = np.append(sorted_margins[:-1] > sorted_margins[1:], True)
    answered = np.flatnonzero(affordable & is_last_of_equals)
    if not len(answered):
        return math.inf
    lowest = answered[-1]
    below = sorted_margins[lowest + 1] if lowest + 1 < len(truth) else 0.0
    return float((sorted_margins[lowest] + below) / 2)
