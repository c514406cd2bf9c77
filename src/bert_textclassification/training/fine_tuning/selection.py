"""Choose the checkpoint to keep: the one with the lowest log loss among those within one standard error of the best.

On a few hundred validation rows, two rows decide which accuracy is the highest. The log loss of a temperature-scaled
model uses the confidence of every row and discriminates better.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluation:
    """The result of one evaluation on validation.

    Attributes:
        value: the selection metric; higher is better.
        standard_error: of `value`, over the rows.
        log_loss: in nats, at the temperature fitted on these rows.
    """

    value: float
    standard_error: float
    log_loss: float


def best_evaluation(evaluations: Sequence[Evaluation]) -> int:
    """Return the index of the evaluation whose checkpoint is kept.

    A checkpoint replaces the kept one if its value is within one standard error of the highest so far (the
    one-standard-error rule of Breiman et al. 1984) and its log loss is no higher, or if the kept one is outside that
    range. The choice uses only the evaluations so far, because only the kept checkpoint stays on disk.
    """
    best = highest = 0
    for index, evaluation in enumerate(evaluations):
        if evaluation.value > evaluations[highest].value:
            highest = index
        lowest_value = evaluations[highest].value - evaluations[highest].standard_error
        best_is_outside = evaluations[best].value < lowest_value
        no_higher_loss = evaluation.log_loss <= evaluations[best].log_loss
        if best_is_outside or (evaluation.value >= lowest_value and no_higher_loss):
            best = index
    return best
