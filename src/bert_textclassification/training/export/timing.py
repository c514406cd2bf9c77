"""Compare speeds fairly: the same items for all engines, a warm-up, interleaved rounds; and describe the machine.

This module does not import torch, so that benchmarks of a server start fast.
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
    """Return a random sample of at most `texts` items; the random order mixes the lengths, as traffic does."""
    chosen = list(items)
    random.Random(seed).shuffle(chosen)  # noqa: S311 - a sample, not a secret
    return chosen[:texts]


def time_interleaved(
    contenders: Mapping[str, Callable[[Item], Any]], stream: Sequence[Item], rounds: int
) -> dict[str, NDArray[np.float64]]:
    """Return the milliseconds of each contender for each text of `stream`, at batch size 1, [rounds, texts].

    Each round runs every contender over the whole stream and starts with another one, so that a slow phase of the
    machine does not affect only one of them.
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
    """Return the median of the rounds as `value`, and the smallest and largest as `low` and `high`."""
    return {"value": float(np.median(values)), "low": float(np.min(values)), "high": float(np.max(values))}


def machine() -> dict[str, Any]:
    """Return the machine of the measurement: processor, relevant instruction sets, cores, versions."""
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
    """Return a function that runs `engine` at batch size 1."""
    return lambda ids: engine.logits([ids])
