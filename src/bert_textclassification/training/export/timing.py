"""How fast, honestly: the same items for every contender, warmed up, interleaved, several rounds; and on what machine.

Nothing here needs torch, so that what only asks a server need not wait for it.
"""

import os
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bert_textclassification.engines.base import Engine
from bert_textclassification.training.display.progress import progress

Contender = Callable[[list[int]], Any]  # the token ids of one text -> its logits

Item = TypeVar("Item")
WARM_UP = 20


def sample_stream(items: Sequence[Item], texts: int, seed: int) -> list[Item]:
    """Return at most `texts` of the items, drawn by `seed`, in an order that mixes lengths as traffic does."""
    chosen = list(items)
    random.Random(seed).shuffle(chosen)  # noqa: S311 - a sample, not a secret
    return chosen[:texts]


def time_interleaved(
    contenders: Mapping[str, Callable[[Item], Any]], stream: Sequence[Item], rounds: int
) -> dict[str, NDArray[np.float64]]:
    """Return milliseconds, shape [rounds, texts], of each contender on each text of `stream`, one at a time.

    Each round runs every contender over the whole stream, starting with another one each time, so that a slow spell
    of the machine does not fall on one of them.
    """
    times = {name: np.empty((rounds, len(stream))) for name in contenders}
    for run in contenders.values():
        _milliseconds(run, stream[:WARM_UP])
    names = list(contenders)
    with progress(total=rounds * len(names), desc="benchmark", unit="pass") as bar:
        for number in range(rounds):
            start = number % len(names)
            for name in names[start:] + names[:start]:
                times[name][number] = _milliseconds(contenders[name], stream)
                bar.update()
    return times


def median_with_range(values: Sequence[float] | Any) -> dict[str, float]:
    """Return the median of some rounds, and the smallest and largest."""
    return {"value": float(np.median(values)), "low": float(np.min(values)), "high": float(np.max(values))}


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on: processor, the instructions that matter, cores, memory, versions."""
    info = _processor()
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "asimddp", "i8mm")
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return {
        "processor": info.get("model name") or platform.processor() or platform.machine(),
        "instructions": [name for name in wanted if name in flags],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch").partition("+")[0],
    }


def _milliseconds(run: Callable[[Item], Any], stream: Sequence[Item]) -> list[float]:
    taken = []
    for ids in stream:
        start = time.perf_counter_ns()
        run(ids)
        taken.append((time.perf_counter_ns() - start) / 1e6)
    return taken


def _processor() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    pairs = (line.partition(":") for line in path.read_text(encoding="utf-8").split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def single(engine: Engine) -> Contender:
    """Return `engine` as a contender."""
    return lambda ids: engine.logits([ids])
