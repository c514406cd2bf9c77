from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

Buffer = NDArray[Any]

class Encoder:
    """A BERT encoder with int8 weights."""

    def __init__(
        self,
        layers: int,
        hidden: int,
        heads: int,
        expanded: int,
        words: int,
        positions: int,
        epsilon: float,
        after: Sequence[int],
        tensors: Sequence[Buffer],
        instructions: str,
    ) -> None: ...
    def run(self, ids: Buffer, lengths: Buffer, margins: Buffer, logits: Buffer, left_at: Buffer, /) -> None: ...

def instructions() -> list[str]: ...
def multiply(instructions: str, times: int, /) -> int: ...
