"""Latency of the variants compared with torch: the contenders and the tables of the measurements.

times = time_interleaved(contenders(model, artifact, threads=1), stream, rounds=5)
latency_table(times, baseline=TORCH)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.engines.select import load_engine
from bert_textclassification.training.evaluation.inference import torch_logits
from bert_textclassification.training.export.timing import Contender, machine, single
from bert_textclassification.training.modeling.classifier import TextClassifier

TORCH_PADDED = "torch fp32, padded"
TORCH = "torch fp32"


def contenders(model: TextClassifier, artifact: Artifact, threads: int) -> dict[str, Contender]:
    """Return the contenders: torch padded to the maximum length, torch without padding, and each variant."""
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
    """Return the section of notebook 03 in the results of a run: the default variant, its quality and the latencies.

    Args:
        artifact: the artifact of the run.
        table: the latencies, with a row for each contender.
        stream: token ids of the timed texts.
        threads: threads of each contender.
        rounds: number of passes over the stream.
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
        "quality": manifest.model_dump(include=quality),
        "variants": {name: variant.model_dump() for name, variant in manifest.variants.items()},
        "table": table.to_dict("index"),
    }


def latency_table(times: dict[str, NDArray[np.float64]], baseline: str) -> pd.DataFrame:
    """Return p50, p95 and mean in ms, texts per second, and the speed-up over `baseline` with its range.

    The speed-up of a round is the baseline's time for the whole stream divided by the contender's. The table has the
    median, the minimum and the maximum over rounds.
    """
    rows = {}
    for name, milliseconds in times.items():
        ratios = times[baseline].sum(axis=1) / milliseconds.sum(axis=1)
        rows[name] = {
            "p50_ms": float(np.median(milliseconds)),
            "p95_ms": float(np.percentile(milliseconds, 95)),
            "mean_ms": float(milliseconds.mean()),
            "texts_per_second": float(1000 / milliseconds.mean()),
            "speedup": float(np.median(ratios)),
            "speedup_low": float(ratios.min()),
            "speedup_high": float(ratios.max()),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def with_quality(latencies: pd.DataFrame, artifact: Artifact) -> pd.DataFrame:
    """Return `latencies` with test accuracy, agreement with torch on test and file size of each contender.

    The torch rows have the accuracy of FP32 in ONNX, which equals torch up to rounding.
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


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Limit torch to `threads` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _padded_logits(model: TextClassifier, ids: list[int], longest: int) -> torch.Tensor:
    padding = longest - len(ids)
    mask = torch.tensor([[1] * len(ids) + [0] * padding])
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([ids + [0] * padding]), mask).logits
    return logits
