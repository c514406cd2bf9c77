from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

Buffer = NDArray[Any]

class Encoder:
    """A BERT encoder with int8 weights."""

    def __init__(
        self,
        num_hidden_layers: int,
        hidden_size: int,
        num_attention_heads: int,
        intermediate_size: int,
        vocab_size: int,
        max_position_embeddings: int,
        layer_norm_eps: float,
        exit_layers: Sequence[int],
        tensors: Sequence[Buffer],
        instructions: str,
    ) -> None: ...
    def run(
        self, ids: Buffer, lengths: Buffer, exit_thresholds: Buffer, logits: Buffer, exit_index: Buffer, /
    ) -> None: ...

def instructions() -> list[str]: ...
def multiply(instructions: str, times: int, /) -> int: ...
