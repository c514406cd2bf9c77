"""The server's metrics for Prometheus, summed over worker processes.

    requests_total{route,method,status}   request_seconds{route}    queue_seconds
    text_tokens (histogram: its count is the number of classified texts, its sum their tokens)
    score (histogram of the positive label's score)                 truncated_total    cache_hits_total
    drift_psi{of="score"|"tokens"}        model_info{version,variant,name}

All names have the prefix `textclassifier_`. `container/serve` sets PROMETHEUS_MULTIPROC_DIR before this module is first
imported: then each worker writes to files there, and any worker exports the sums.
"""

import errno
import itertools
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from bert_textclassification.artifact import manifest as artifact
from bert_textclassification.artifact.manifest import SCORE_EDGES, TOKEN_EDGES
from bert_textclassification.artifact.store import Artifact
from bert_textclassification.errors import ConfigurationError
from bert_textclassification.serving.predictor import Prediction

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 600)
MIN_TEXTS_FOR_DRIFT = 100
PREFIX = "textclassifier"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))  # others share one label
FILES_BYTES = 1024 * 1024  # an upper bound of the metric files of one worker
MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """The metrics of one application."""

    def __init__(self, served: Artifact, variant: str, model_name: str) -> None:
        self._own = CollectorRegistry()
        self._facts = {"version": served.version, "variant": variant, "name": model_name}
        self._reference = served.manifest.reference
        self._positive = served.manifest.labels[1]
        self._requests = self._counter("requests", "HTTP requests", ("route", "method", "status"))
        self._seconds = self._histogram("request_seconds", "Seconds to process a request", SECONDS, ("route",))
        self._queue = self._histogram("queue_seconds", "Seconds waiting for a free core", SECONDS)
        self._truncated = self._counter("truncated", "Truncated texts")
        self._cache_hits = self._counter("cache_hits", "Texts whose output was cached")
        self._scores = self._histogram("score", "Calibrated score of the positive label", SCORE_EDGES)
        self._lengths = self._histogram("text_tokens", "Tokens of a text", TOKEN_EDGES)

    def expect(self, routes: Iterable[str]) -> None:
        """Create the series of each route now, so that `reserve_files` sees the files at their final size."""
        for route in routes:
            self._seconds.labels(route)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request, whatever its status."""
        self._requests.labels(route, method if method in METHODS else "other", status).inc()
        self._seconds.labels(route).observe(seconds)

    def count_predictions(self, predictions: Sequence[Prediction], waited_s: float) -> None:
        """Count the predictions of one request."""
        self._queue.observe(waited_s)
        if truncated := sum(prediction.truncated for prediction in predictions):
            self._truncated.inc(truncated)
        if hits := sum(prediction.cached for prediction in predictions):
            self._cache_hits.inc(hits)
        for prediction in predictions:
            self._scores.observe(prediction.scores[self._positive])
            self._lengths.observe(prediction.tokens)

    def exposition(self) -> bytes:
        """Return every metric in the text format of Prometheus."""
        registry = CollectorRegistry()
        registry.register(_Summed(self))
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the counted metrics of all workers, then the metrics derived from them."""
        counted = list(_collect_from_workers() if os.environ.get(MULTIPROCESS_DIR) else self._own.collect())
        yield from counted
        info = GaugeMetricFamily(f"{PREFIX}_model_info", "The served model", labels=list(self._facts))
        info.add_metric(list(self._facts.values()), 1)
        yield info
        if self._reference is not None:
            yield self._drift(counted, self._reference)

    def _drift(self, counted: Sequence[Metric], reference: artifact.Reference) -> GaugeMetricFamily:
        drift = GaugeMetricFamily(
            f"{PREFIX}_drift_psi",
            "Population stability index of live traffic against the validation set; over 0.2 is usually called a shift",
            labels=["of"],
        )
        compared = (
            ("score", "score", reference.scores, SCORE_EDGES),
            ("tokens", "text_tokens", reference.tokens, TOKEN_EDGES),
        )
        for of, name, expected, edges in compared:
            live = bucket_counts(counted, f"{PREFIX}_{name}")
            if sum(live) >= MIN_TEXTS_FOR_DRIFT and expected.edges == edges:
                drift.add_metric([of], population_stability_index(expected.counts, live))
        return drift

    def _counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"{PREFIX}_{name}", meaning, labels, registry=self._own)

    def _histogram(self, name: str, meaning: str, edges: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", meaning, labels, registry=self._own, buckets=edges)


class _Summed:
    """A collector of the metrics of all workers, for the registry of one scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self.collect = metrics.collect


def check_room(folder: Path) -> None:
    """Check that the disk has room for the metrics of a worker.

    Raises:
        ConfigurationError: the disk of `folder` has less than FILES_BYTES left.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            _claim(probe, FILES_BYTES)
    except OSError as problem:
        raise ConfigurationError(
            f"A worker needs {FILES_BYTES:,} bytes in {folder} ({problem.strerror}); make room, or set SCRATCH_DIR to "
            "another folder."
        ) from None


def reserve_files() -> None:
    """Allocate the disk space of this worker's metric files now.

    The files are sparse and memory-mapped: without this, a full disk would kill the worker with SIGBUS.
    prometheus_client does not document their names; tests/serving/test_metrics.py checks them.
    """
    for path in Path(os.environ[MULTIPROCESS_DIR]).glob(f"*_{os.getpid()}.db"):
        with path.open("r+b") as file:
            _claim(file, path.stat().st_size)


def _claim(file: IO[bytes], size: int) -> None:
    """Allocate the disk space of the first `size` bytes of a file; keep its content."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except (AttributeError, OSError) as problem:  # missing on macOS and on some file systems
        if getattr(problem, "errno", errno.ENOSYS) not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        content = file.read(size).ljust(size, b"\0")
        file.seek(0)
        file.write(content)
        file.flush()


def bucket_counts(metrics: Iterable[Metric], name: str) -> list[int]:
    """Return the counts of a histogram without labels, one per bin; the last bin is above the last edge."""
    buckets = {
        float(sample.labels["le"]): sample.value
        for metric in metrics
        if metric.name == name
        for sample in metric.samples
        if sample.name.endswith("_bucket")
    }
    cumulative = [0.0, *(buckets[edge] for edge in sorted(buckets))]
    return [int(upper - lower) for lower, upper in itertools.pairwise(cumulative)]


def population_stability_index(expected: Sequence[int], live: Sequence[int]) -> float:
    """Return the PSI of two histograms with the same bins: sum of (p - q) ln(p / q) over the bins.

    Half a count of the smaller histogram is added to every bin of both, as a share. So a bin that is empty in one
    histogram gives a large finite value, and a bin that is empty in both gives 0.
    Source: Siddiqi, Credit Risk Scorecards (2006); 0.1 to 0.25 is considered a small shift, more a large one.
    """
    total_expected, total_live = sum(expected), sum(live)
    floor = 0.5 / min(total_expected, total_live)
    total = 1 + floor * len(expected)
    shares = [
        ((q / total_expected + floor) / total, (p / total_live + floor) / total)
        for q, p in zip(expected, live, strict=True)
    ]
    return sum((p - q) * math.log(p / q) for q, p in shares)


def _collect_from_workers() -> Iterable[Metric]:
    return MultiProcessCollector(CollectorRegistry()).collect()  # type: ignore[no-untyped-call, no-any-return]
