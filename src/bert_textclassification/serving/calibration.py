"""From logits to calibrated log-odds: one scale of scores, at whichever exit a text left the model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bert_textclassification.artifact.manifest import ExitScale
from bert_textclassification.engines.base import Outputs


def margins(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far the second logit lies above the first, for logits of shape [texts, 2]."""
    found: NDArray[np.float64] = logits[:, 1].astype(np.float64) - logits[:, 0]
    return found


def calibrated_log_odds(outputs: Outputs, scales: Sequence[ExitScale]) -> NDArray[np.float64]:
    """Return the calibrated log-odds of the positive label, [texts].

    Args:
        outputs: what an engine says of the texts.
        scales: of each exit in order, the last layer's last.
    """
    found = margins(outputs.logits)
    if outputs.exit_index is None:
        return scales[-1].log_odds(found)
    for index, scale in enumerate(scales):
        left_here = outputs.exit_index == index
        found[left_here] = scale.log_odds(found[left_here])
    return found
