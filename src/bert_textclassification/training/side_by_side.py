"""Many texts at once on all cores, where it is about what a model says and not about how fast it is."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from bert_textclassification.serving.engine import Engine, Outputs
from bert_textclassification.serving.resources import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
_PARTS_PER_CORE = 4  # so that no core waits long for another whose texts are longer


def in_parts(work: Callable[[Sequence[Item]], Result], items: Sequence[Item], cores: int | None = None) -> list[Result]:
    """Return what `work` makes of each part of the items, in order; it runs on all cores and lets other threads run.

    Args:
        work: is called by several threads.
        items: are cut into parts of about equal length, at least one.
        cores: threads; all cores of this process when None.
    """
    threads = cores or max(1, int(available_cores()))
    size = max(1, -(-len(items) // (threads * _PARTS_PER_CORE)))
    parts = [items[start : start + size] for start in range(0, len(items), size)] or [items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def run_side_by_side(engine: Engine, token_ids: Sequence[Sequence[int]]) -> Outputs:
    """Return what `engine` says of the texts, as `engine.run` does, in less time."""
    logits, layers, exit_index = zip(*in_parts(engine.run, token_ids), strict=True)
    if layers[0] is None:
        return Outputs(np.concatenate(logits))
    return Outputs(np.concatenate(logits), np.concatenate(layers), np.concatenate(exit_index))
