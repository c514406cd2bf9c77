"""How fast, honestly: the same token ids and threads for every contender, warmed up, interleaved, several rounds.

times = time_interleaved({"torch": ..., "int8": ...}, stream, rounds=5)
latency_table(times, baseline="torch")
"""

import http.client
import os
import platform
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from bert_textclassification.artifact import PASSED, Artifact, Manifest
from bert_textclassification.serving.engine import Engine, load_engine
from bert_textclassification.training.fine_tuning import torch_logits
from bert_textclassification.training.model import TextClassifier

Contender = Callable[[list[int]], Any]  # the token ids of one text -> its logits
Item = TypeVar("Item")
WARM_UP = 20
TORCH_PADDED = "torch fp32, padded"
TORCH = "torch fp32"


def contenders(model: TextClassifier, artifact: Artifact, threads: int) -> dict[str, Contender]:
    """Return what is compared: torch padded to the maximum length, torch at the text's own length, each variant."""
    longest = artifact.manifest.max_length
    engines = {
        name: load_engine(artifact.model_path(name), variant, threads)
        for name, variant in artifact.manifest.variants.items()
    }
    return {
        TORCH_PADDED: lambda ids: _padded_logits(model, ids, longest),
        TORCH: lambda ids: torch_logits(model, [ids]),
        **{name: single(engine) for name, engine in engines.items()},
    }


def record(
    artifact: Artifact, table: pd.DataFrame, stream: Sequence[Sequence[int]], threads: int, rounds: int
) -> dict[str, Any]:
    """Return what notebook 03 leaves in the results of a run: what was chosen, how good it is, and how fast.

    Args:
        artifact: the artifact that was made.
        table: of the latencies, with a row for each contender.
        stream: token ids of the texts that were timed.
        threads: cores that each contender had.
        rounds: times that each ran over the stream.
    """
    manifest = artifact.manifest
    quality = {"decision", "metrics", "baseline", "comparisons", "calibration", "review", "seeds", "warnings"}
    return {
        "machine": machine(),
        "threads": threads,
        "texts": len(stream),
        "mean_tokens": sum(map(len, stream)) / len(stream),
        "rounds": rounds,
        "default_variant": manifest.default_variant,
        "default_reason": manifest.default_reason,
        "served": served_sentence(manifest, table),
        "quality": manifest.model_dump(include=quality),
        "variants": {name: variant.model_dump() for name, variant in manifest.variants.items()},
        "table": table.to_dict("index"),
    }


def served_sentence(manifest: Manifest, table: pd.DataFrame) -> str:
    """Return how fast the default variant is in `table`, and why no faster one is served: figures of `table` alone."""
    name = manifest.default_variant
    own, fastest = table.loc[name], str(table.loc[list(manifest.variants), "speedup"].idxmax())
    sentences = [
        f"{name} is served: {own['speedup']:.1f} times the speed of {TORCH} ({own['speedup_low']:.1f} to "
        f"{own['speedup_high']:.1f} between rounds).",
        *(f"{other} {one.verdict}." for other, one in manifest.variants.items() if one.verdict != PASSED),
    ]
    if fastest != name and manifest.variants[fastest].verdict == PASSED:
        sentences.append(
            f"{fastest} is faster in these rounds ({table.loc[fastest, 'speedup']:.1f} times); when the artifact was "
            "made, it was not, or not beyond the measured spread."
        )
    return " ".join(sentences)


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
    with tqdm(total=rounds * len(names), desc="benchmark", unit="pass") as bar:
        for number in range(rounds):
            start = number % len(names)
            for name in names[start:] + names[:start]:
                times[name][number] = _milliseconds(contenders[name], stream)
                bar.update()
    return times


def latency_table(times: dict[str, NDArray[np.float64]], baseline: str) -> pd.DataFrame:
    """Return p50, p95 and mean in ms, texts a second, and the speed-up over `baseline` with its spread.

    The speed-up is the time of the baseline for the whole stream over the contender's in the same round: the median
    over rounds, and the smallest and largest.
    """
    rows = {}
    for name, own in times.items():
        ratios = times[baseline].sum(axis=1) / own.sum(axis=1)
        rows[name] = {
            "p50_ms": float(np.median(own)),
            "p95_ms": float(np.percentile(own, 95)),
            "mean_ms": float(own.mean()),
            "texts_per_second": float(1000 / own.mean()),
            "speedup": float(np.median(ratios)),
            "speedup_low": float(ratios.min()),
            "speedup_high": float(ratios.max()),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def with_quality(latencies: pd.DataFrame, artifact: Artifact) -> pd.DataFrame:
    """Return `latencies` with test accuracy, agreement with torch on test and file size of each contender.

    FP32 ONNX is the torch model to within rounding, so torch rows carry its accuracy.
    """
    variants = artifact.manifest.variants
    reference = artifact.manifest.variants["fp32"]
    quality = {
        name: {
            "accuracy": variants.get(name, reference).accuracy["test"],
            "agreement": variants[name].agreement["test"] if name in variants else 1.0,
            "size_mb": variants.get(name, reference).size_bytes / 1e6,
        }
        for name in latencies.index
    }
    return latencies.join(pd.DataFrame.from_dict(quality, orient="index"))


def time_requests(port: int, texts: Sequence[str]) -> dict[str, Any]:
    """Return the latencies in ms of one request for each text over one kept-alive connection to this machine's `port`.

    Raises:
        RuntimeError: the server did not answer 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with closing(connection):
        for text in texts[:WARM_UP]:
            _request(connection, text)
        samples = [_request(connection, text) for text in texts]
    return {
        "samples": samples,
        "p50": float(np.median(samples)),
        "p95": float(np.percentile(samples, 95)),
        "p99": float(np.percentile(samples, 99)),
    }


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Hold torch to a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
        "torch": torch.__version__.partition("+")[0],
    }


def _request(connection: http.client.HTTPConnection, text: str) -> float:
    start = time.perf_counter_ns()
    connection.request(
        "POST", "/invocations", orjson.dumps({"instances": [text]}), {"Content-Type": "application/json"}
    )
    reply = connection.getresponse()
    body = reply.read()
    if reply.status != 200:
        raise RuntimeError(f"the server answered {reply.status}: {body[:500]!r}")
    return (time.perf_counter_ns() - start) / 1e6


def single(engine: Engine) -> Contender:
    """Return `engine` as a contender."""
    return lambda ids: engine.logits([ids])


def _padded_logits(model: TextClassifier, ids: list[int], longest: int) -> torch.Tensor:
    padding = longest - len(ids)
    mask = torch.tensor([[1] * len(ids) + [0] * padding])
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([ids + [0] * padding]), mask).logits
    return logits


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
