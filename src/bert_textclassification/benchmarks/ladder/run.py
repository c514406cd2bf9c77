"""The ladder: measure each stage from BERT-base in torch to the served model, in one run on one machine.

    ladder = climb(artifact, texts, sample=100, rounds=5)

Rounds are interleaved. Every stage has one core unless its note says otherwise, and runs from text to scores.
"""

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.benchmarks.ladder.serving_gains import zipf_stream
from bert_textclassification.benchmarks.ladder.stages import (
    CACHED,
    EARLY,
    INT8,
    PADDED_BASE,
    TORCH,
    Answer,
    Stage,
    operations,
    stages,
)
from bert_textclassification.benchmarks.latency import torch_threads
from bert_textclassification.engines.native.engine import measure_peak
from bert_textclassification.serving.predictor import load_tokenizer
from bert_textclassification.training.display.progress import progress
from bert_textclassification.training.export.timing import machine, median_with_range, sample_stream

DOLLARS_PER_CORE_HOUR = 0.05
LARGEST_SPREAD = 0.1  # of a speed-up: half of its interquartile range, divided by its median
WARM_UP = 5
SHORTEST_ROUND_S = 0.2  # of a stage
ZIPF_REPEATS = 20  # requests to the cache per text of the sample

Samples = dict[str, NDArray[np.float64]]


def climb(
    artifact: Artifact, texts: Sequence[str], sample: int, rounds: int, with_memory: bool = True
) -> dict[str, Any]:
    """Measure every stage on `sample` of the texts and return the results.

    The result `noise` is the reason why the stages cannot be compared, or None; the figures are included in both cases.
    The resident memory is measured in a separate process for each stage.

    Raises:
        ArtifactError: the artifact lacks the native variant.
    """
    cores = len(os.sched_getaffinity(0))
    steps = stages(artifact, cores)
    stream = sample_stream(texts, sample, seed=0)
    with torch_threads(1):
        peak = measure_peak()
        milliseconds, rates = measure(steps, stream, zipf_stream(texts, ZIPF_REPEATS * sample, seed=0), rounds)
        peak = max(peak, measure_peak())
    measured = steps if with_memory else []
    memory = {stage.name: resident_megabytes(artifact, stage.name, stream[:WARM_UP]) for stage in measured}
    tokenizer = load_tokenizer(artifact.tokenizer_path(), artifact.manifest.max_length)
    tokens = [len(tokenizer.encode(text)) for text in stream]
    return {
        "machine": machine(),
        "texts": len(stream),
        "mean_tokens": statistics.mean(tokens),
        "rounds": rounds,
        "cores": cores,
        "dollars_per_core_hour": DOLLARS_PER_CORE_HOUR,
        "int8_peak_gops_per_core": peak / 1e9,
        "noise": noise(rates),
        "default_variant": artifact.manifest.default_variant,
        "stages": [_row(stage, artifact, milliseconds, rates, memory, tokens, peak) for stage in steps],
    }


def measure(steps: Sequence[Stage], stream: list[str], repeated: list[str], rounds: int) -> tuple[Samples, Samples]:
    """Return the milliseconds per text, [rounds, texts], and the texts per second and core, [rounds], of each stage.

    A fast stage runs over the stream several times per round, because very short measurements are noisy. The stage with
    the cache runs over `repeated`, a stream with repetitions, and starts each round with an empty cache.
    """
    answers = {stage.name: stage.load() for stage in steps}
    streams = {}
    for stage in steps:
        fastest_s = min(run(answers[stage.name], stream[:WARM_UP], threads=1)) / 1000
        passes = math.ceil(SHORTEST_ROUND_S / (fastest_s * len(stream)))
        streams[stage.name] = repeated if stage.name == CACHED else stream * stage.threads * passes
    milliseconds = {name: np.empty((rounds, len(texts))) for name, texts in streams.items()}
    rates = {stage.name: np.empty(rounds) for stage in steps}
    with progress(total=rounds * len(steps), desc="ladder", unit="pass") as bar:
        for number in range(rounds):
            for stage in steps:
                name = stage.name
                answer = stage.load() if name == CACHED else answers[name]
                start = time.perf_counter()
                milliseconds[name][number] = run(answer, streams[name], stage.threads)
                seconds = time.perf_counter() - start
                rates[name][number] = len(streams[name]) / seconds / stage.threads
                bar.update()
    return milliseconds, rates


def run(answer: Answer, texts: Sequence[str], threads: int) -> list[float]:
    """Return the milliseconds of each text, in `threads` parallel threads."""

    def timed(text: str) -> float:
        start = time.perf_counter_ns()
        answer(text)
        return (time.perf_counter_ns() - start) / 1e6

    if threads == 1:
        return [timed(text) for text in texts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(timed, texts))


def noise(rates: Samples) -> str | None:
    """Return the reason if the machine is too noisy to compare the stages, with the largest spread; else None."""
    spread = {name: _spread(rates, name) for name in rates}
    worst = max(spread, key=lambda name: spread[name])
    if spread[worst] <= LARGEST_SPREAD:
        return None
    return (
        f"The machine is too noisy to compare the stages: between rounds, the speed-up of {worst!r} varies by "
        f"{spread[worst]:.0%} (half of the interquartile range), and at most {LARGEST_SPREAD:.0%} is allowed; stop "
        "other programs and try again."
    )


def resident_megabytes(artifact: Artifact, name: str, texts: Sequence[str]) -> float:
    """Return the resident memory, in MB, of a new process that has classified `texts` with a stage."""
    command = [sys.executable, "-m", "bert_textclassification.benchmarks.ladder.stages", str(artifact.folder), name]
    lines = "\n".join(" ".join(text.split()) for text in texts)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, input=lines, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6


def _row(
    stage: Stage,
    artifact: Artifact,
    milliseconds: Samples,
    rates: Samples,
    memory: dict[str, float],
    tokens: Sequence[int],
    peak: float,
) -> dict[str, Any]:
    times, rate = milliseconds[stage.name], float(np.median(rates[stage.name]))
    variant = artifact.manifest.variants[stage.variant] if stage.variant else None
    work = statistics.mean(operations(stage.shape, stage.padded or length) for length in tokens)
    return {
        "name": stage.name,
        "note": stage.note,
        "threads": stage.threads,
        **{f"p{share}_ms": float(np.percentile(times, share)) for share in (50, 95, 99)},
        "texts_per_second_per_core": rate,
        "speedup": median_with_range(rates[stage.name] / rates[PADDED_BASE]),
        "spread": _spread(rates, stage.name),
        "speedup_over_torch": median_with_range(rates[stage.name] / rates[TORCH]),
        "speedup_over_int8": median_with_range(rates[stage.name] / rates[INT8]),
        "resident_mb": memory.get(stage.name),
        "disk_mb": stage.disk_bytes / 1e6,
        "accuracy": None if variant is None else variant.accuracy["test"],
        "agreement": None if variant is None else variant.agreement["test"],
        "share_of_int8_peak": None if stage.name in (EARLY, CACHED) else rate * work / peak,
        "dollars_per_million": DOLLARS_PER_CORE_HOUR / 3600 / rate * 1e6,
    }


def _spread(rates: Samples, name: str) -> float:
    """Return half of the interquartile range of a stage's speed-up, divided by its median."""
    first, median, third = np.percentile(rates[name] / rates[PADDED_BASE], [25, 50, 75])
    return float((third - first) / 2 / median)
