"""Token ids in, logits out: the one seam behind which an inference engine stands."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bert_textclassification.artifact.manifest import Variant

Result = TypeVar("Result")


class Turn(Protocol):
    """What does a piece of work when it may be done: a server's waits for a free core."""

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Do the work and return its result."""
        ...


def at_once(work: Callable[[], Result]) -> Result:
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
    def run(self, token_ids: Sequence[Sequence[int]], turn: Turn = at_once) -> Outputs:
        """Return what the model says of each text.

        Args:
            token_ids: the ids of each text, special ones included.
            turn: what does the work of each batch.
        """

    def logits(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the logits alone, float32 [texts, 2]."""
        return self.run(token_ids).logits


def load_engine(path: Path, variant: Variant, threads: int = 1) -> Engine:
    """Load the model file of a variant into the engine that it was made for.

    Args:
        path: the model file.
        variant: what the manifest says of it.
        threads: cores that one call may use.

    Raises:
        ArtifactError: the engine cannot load the file.
        EngineUnavailableError: this installation lacks the engine.
    """
    if variant.engine == "native":
        from bert_textclassification.engines.native.engine import NativeEngine

        return NativeEngine(path, threads, margins=variant.exit_margins)
    from bert_textclassification.engines.onnx import OnnxEngine  # its import alone takes 0.1 s

    return OnnxEngine(path, variant.batch_size, threads)
