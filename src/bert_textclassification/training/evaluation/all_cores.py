"""Run a model on many texts on all cores: for its outputs, not for latency measurements."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from bert_textclassification.engines.base import Engine, Outputs
from bert_textclassification.serving.resources import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
_PARTS_PER_CORE = 4  # parts take different times; several per core keep all cores busy


def in_parts(work: Callable[[Sequence[Item]], Result], items: Sequence[Item], cores: int | None = None) -> list[Result]:
    """Split the items into parts, call `work` on each part in a thread pool, and return the results in order.

    Args:
        work: must be thread-safe.
        items: if empty, `work` is called once with an empty sequence.
        cores: number of threads; None for the number of cores available to this process.
    """
    threads = cores or max(1, int(available_cores()))
    size = max(1, -(-len(items) // (threads * _PARTS_PER_CORE)))
    parts = [items[start : start + size] for start in range(0, len(items), size)] or [items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def run_on_all_cores(engine: Engine, token_ids: Sequence[Sequence[int]]) -> Outputs:
    """Return the outputs of `engine.run`, computed by several threads."""
    logits, layers, exit_index = zip(*in_parts(engine.run, token_ids), strict=True)
    if layers[0] is None:
        return Outputs(np.concatenate(logits))
    return Outputs(np.concatenate(logits), np.concatenate(layers), np.concatenate(exit_index))
