"""Token ids in, logits out: the one seam behind which an inference engine stands."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Result = TypeVar("Result")


class Scheduler(Protocol):
    """What does a piece of work when it may be done: a server's waits for a free core."""

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Do the work and return its result."""
        ...


def run_inline(work: Callable[[], Result]) -> Result:
    """Do the work without waiting."""
    return work()


class Outputs(NamedTuple):
    """What a model says of some texts, in the order given.

    Attributes:
        logits: float32 [texts, 2].
        layers: int32 [texts], how many layers each text went through; None from a model without an early exit.
        exit_index: int32 [texts], at which exit each text left, from 0, the last layer's being the last; None as above.
    """

    logits: NDArray[np.float32]
    layers: NDArray[np.int32] | None = None
    exit_index: NDArray[np.int32] | None = None


class Engine(ABC):
    """A loaded model. Calls from several threads run side by side, each on its own core."""

    @abstractmethod
    def run(self, token_ids: Sequence[Sequence[int]], scheduler: Scheduler = run_inline) -> Outputs:
        """Return what the model says of each text.

        Args:
            token_ids: the ids of each text, special ones included.
            scheduler: what does the work of each batch.
        """

    def logits(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the logits alone, float32 [texts, 2]."""
        return self.run(token_ids).logits
