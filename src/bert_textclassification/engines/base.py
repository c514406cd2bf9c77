"""The interface of inference engines: token ids in, logits out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Result = TypeVar("Result")


class Scheduler(Protocol):
    """Runs work when it may run; a server's scheduler waits for a free core."""

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Run the work and return its result."""
        ...


def run_inline(work: Callable[[], Result]) -> Result:
    """Run the work immediately."""
    return work()


class Outputs(NamedTuple):
    """A model's outputs for some texts, in order.

    Attributes:
        logits: float32 [texts, 2].
        layers: int32 [texts], the number of layers that ran for each text; None without early exits.
        exit_index: int32 [texts], the exit of each text, from 0; the last one is after the last layer. None as above.
    """

    logits: NDArray[np.float32]
    layers: NDArray[np.int32] | None = None
    exit_index: NDArray[np.int32] | None = None


class Engine(ABC):
    """A loaded model. Calls from several threads run in parallel, each on its own core."""

    @abstractmethod
    def run(self, token_ids: Sequence[Sequence[int]], scheduler: Scheduler = run_inline) -> Outputs:
        """Run the model on each text.

        Args:
            token_ids: the ids of each text, including special tokens.
            scheduler: runs each batch.
        """

    def logits(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return only the logits, float32 [texts, 2]."""
        return self.run(token_ids).logits
