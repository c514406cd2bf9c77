"""Which checkpoint to keep: of those that validation rows cannot tell apart, the one with the lowest log loss.

On some hundred rows two of them decide which accuracy is the highest. The log loss of a temperature-scaled model uses
how sure the model is of every row, so that it tells more there.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation of validation measured.

    Attributes:
        value: the judged metric; higher is better.
        standard_error: of `value`, over the rows.
        log_loss: in nats, at the temperature that suits these rows best.
    """

    value: float
    standard_error: float
    log_loss: float


def kept(evaluations: Sequence[Evaluation]) -> int:
    """Return the index of the evaluation whose checkpoint is kept after all of them.

    A checkpoint is kept instead of the one before if its value lies within one standard error of the highest so far
    (the one-standard-error rule of Breiman et al. 1984) and its log loss is no higher, or if the one before lies below
    that. It depends on the evaluations so far alone: only the checkpoint that is kept stays on the disk.
    """
    best = highest = 0
    for number, one in enumerate(evaluations):
        if one.value > evaluations[highest].value:
            highest = number
        least = evaluations[highest].value - evaluations[highest].standard_error
        has_fallen_behind = evaluations[best].value < least
        if has_fallen_behind or (one.value >= least and one.log_loss <= evaluations[best].log_loss):
            best = number
    return best
