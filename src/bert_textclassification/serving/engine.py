"""Token ids in, logits out: the one seam behind which an inference engine stands."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bert_textclassification.artifact import Variant

Result = TypeVar("Result")


class Turn(Protocol):
    """What does a piece of work when it may be done: a server's waits for a free core."""

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Do the work and return its result."""
        ...


def at_once(work: Callable[[], Result]) -> Result:
    """Do the work without waiting."""
    return work()


class Engine(Protocol):
    """A loaded model. Calls from several threads run side by side, each on its own core."""

    def logits(self, token_ids: Sequence[Sequence[int]], turn: Turn = at_once) -> NDArray[np.float32]:
        """Return logits, float32 of shape [texts, 2], in the order given.

        Args:
            token_ids: the ids of each text, special ones included.
            turn: what does the work of each batch.
        """
        ...


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
        from bert_textclassification.serving.native_engine import NativeEngine

        return NativeEngine(path, threads)
    from bert_textclassification.serving.onnx_engine import OnnxEngine  # its import alone takes 0.1 s

    return OnnxEngine(path, variant.batch_size, threads)
