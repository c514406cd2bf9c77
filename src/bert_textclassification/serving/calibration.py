"""Calibrate logits to log-odds, so that scores of all exits have the same scale."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bert_textclassification.artifact.manifest import ExitScale
from bert_textclassification.engines.base import Outputs


def margins(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the second logit minus the first, shape [texts], for logits of shape [texts, 2]."""
    differences: NDArray[np.float64] = logits[:, 1].astype(np.float64) - logits[:, 0]
    return differences


def calibrated_log_odds(outputs: Outputs, scales: Sequence[ExitScale]) -> NDArray[np.float64]:
    """Return the calibrated log-odds of the positive label, [texts].

    Args:
        outputs: the engine's outputs.
        scales: the scale of each exit in order; the last one is of the last layer.
    """
    log_odds = margins(outputs.logits)
    if outputs.exit_index is None:
        return scales[-1].log_odds(log_odds)
    for index, scale in enumerate(scales):
        exited_here = outputs.exit_index == index
        log_odds[exited_here] = scale.log_odds(log_odds[exited_here])
    return log_odds
