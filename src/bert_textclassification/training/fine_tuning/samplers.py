"""Training batches of texts of like length: little padding, in an order that seed and epoch alone determine.

The order must not depend on what the random number generator did before: a run that was interrupted goes on with the
batches that it would have had.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

_POOL = 50  # batches that are sorted by length together: large enough for little padding, small enough to mix


class ByLength(torch.utils.data.Sampler[int]):
    """Rows in batches of like length; which ones and in what order changes with `epoch`, which is asked each time."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = lengths, batch_size, seed, epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(rows_by_length(self._lengths, self._batch_size, self._seed, self._epoch()).tolist())


def rows_by_length(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return every row once, in an order whose consecutive batches have texts of like length; an odd rest comes last.

    Args:
        lengths: tokens of each text.
        batch_size: rows of a batch.
        seed: of the whole run.
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
    """Return which share of the tokens of the first epoch's batches is padding, in [0, 1)."""
    rows = rows_by_length(lengths, batch_size, seed, epoch=0)
    size = np.asarray(lengths)[rows]
    batches = [size[start : start + batch_size] for start in range(0, len(size), batch_size)]
    return 1 - float(size.sum()) / float(sum(len(batch) * batch.max() for batch in batches))
