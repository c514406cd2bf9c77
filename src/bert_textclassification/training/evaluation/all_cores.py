"""Run a model on many texts on all cores: for its answers, never for its latency."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from bert_textclassification.engines.base import Engine, Outputs
from bert_textclassification.serving.resources import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
_PARTS_PER_CORE = 4  # parts differ in length: with several for each core, none is idle for long


def in_parts(work: Callable[[Sequence[Item]], Result], items: Sequence[Item], cores: int | None = None) -> list[Result]:
    """Cut the items into parts, call `work` on each part in a thread pool, and return the results in order.

    Args:
        work: is called from several threads at once.
        items: without any, `work` is called once on an empty sequence.
        cores: number of threads; when None, the cores this process may use.
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
