"""Training batches of texts with similar lengths, for little padding; only seed and epoch determine the order.

The order does not depend on the state of a random number generator, so that a resumed run gets the same batches as an
uninterrupted one.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

_POOL = 50  # batches that are sorted by length together: enough for little padding, few enough to shuffle


class ByLength(torch.utils.data.Sampler[int]):
    """Rows in batches of similar length; batches and their order change with `epoch()`, called for each iteration."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = lengths, batch_size, seed, epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(rows_by_length(self._lengths, self._batch_size, self._seed, self._epoch()).tolist())


def rows_by_length(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return every row once, so that consecutive batches have texts of similar length; an incomplete batch is last.

    Args:
        lengths: tokens of each text.
        batch_size: rows per batch.
        seed: of the run.
        epoch: counted from 0.
    """
    rng = np.random.default_rng([seed, epoch])
    rows = rng.permutation(len(lengths))
    full = len(rows) // batch_size * batch_size
    size = np.asarray(lengths)
    pools = [rows[start : start + _POOL * batch_size] for start in range(0, full, _POOL * batch_size)]
    pools = [pool[: full - number * _POOL * batch_size] for number, pool in enumerate(pools)]
    by_length = [pool[np.argsort(size[pool], kind="stable")] for pool in pools]
    batches = np.concatenate([np.empty(0, dtype=np.int64), *by_length]).reshape(-1, batch_size)
    return np.concatenate([rng.permutation(batches).ravel(), rows[full:]])


def padding_share(lengths: Sequence[int], batch_size: int, seed: int) -> float:
    """Return the share of padding among the tokens of the first epoch's batches, in [0, 1)."""
    rows = rows_by_length(lengths, batch_size, seed, epoch=0)
    size = np.asarray(lengths)[rows]
    batches = [size[start : start + batch_size] for start in range(0, len(size), batch_size)]
    return 1 - float(size.sum()) / float(sum(len(batch) * batch.max() for batch in batches))
