"""How sure the early exits must be to answer: the margin between the logits of each, chosen on validation."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bert_textclassification.artifact import Decision
from bert_textclassification.training.decision import labels_of


def smallest_margins(
    targets: Sequence[int],
    early: Sequence[NDArray[np.float32]],
    last: NDArray[np.float32],
    max_loss: float,
    decision: Decision | None = None,
) -> tuple[float, ...]:
    """Return the margin of each exit in order; each may lose an equal share of what those before it left of `max_loss`.

    Args:
        targets: 0 or 1 for each row.
        early: logits of each exit for every row, [rows, 2].
        last: logits of the last layer, [rows, 2].
        max_loss: of all exits together, in points of accuracy.
        decision: how logits become labels; the larger one wins without it.
    """
    truth, rows = np.asarray(targets, dtype=bool), np.arange(len(targets))
    right = labels_of(last, decision) == truth
    losses = [right & (labels_of(logits, decision) != truth) for logits in early]
    budget = max_loss / 100 * len(truth)
    margins = []
    for number, logits in enumerate(early):
        share = budget / (len(early) - number)
        sureness = np.abs(logits[rows, 1] - logits[rows, 0])
        lost = losses[number][rows]
        margins.append(smallest_margin(sureness, lost, share))
        answered = sureness >= margins[-1]
        budget -= np.sum(lost & answered)
        rows = rows[~answered]
    return tuple(margins)


def smallest_margin(margins: NDArray[np.float32], lost: NDArray[np.bool_], most_lost: float) -> float:
    """Return the smallest margin at which the early exit loses at most `most_lost` rows.

    None that the early exit alone gets right are set against the lost ones: on few rows the margin would otherwise be
    where luck is largest.

    Args:
        margins: how far apart the logits of the early exit are, for each row.
        lost: which rows the last layer gets right and the early exit wrong.
        most_lost: how many of these may be answered early.

    Returns:
        The margin, or infinity when the exit may answer nothing.
    """
    order = np.argsort(-margins, kind="stable")
    sorted_margins = margins[order]
    affordable = np.cumsum(lost[order]) <= most_lost
    is_last_of_equals = np.append(sorted_margins[:-1] > sorted_margins[1:], True)
    answered = np.flatnonzero(affordable & is_last_of_equals)
    if not len(answered):
        return math.inf
    lowest = answered[-1]
    below = sorted_margins[lowest + 1] if lowest + 1 < len(margins) else 0.0
    return float((sorted_margins[lowest] + below) / 2)
