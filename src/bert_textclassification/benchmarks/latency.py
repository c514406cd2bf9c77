"""How fast the variants are beside torch: what is compared, and tables of what was measured.

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
        "quality": manifest.model_dump(include=quality),
        "variants": {name: variant.model_dump() for name, variant in manifest.variants.items()},
        "table": table.to_dict("index"),
    }


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


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Hold torch to a number of threads."""
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
