"""What the server has done, for Prometheus, summed over worker processes.

    requests_total{route,method,status}   request_seconds{route}    queue_seconds
    text_tokens (histogram: its count is the texts answered, its sum the tokens)
    score (histogram of the positive label's score)                 truncated_total    cache_hits_total
    drift_psi{of="score"|"tokens"}        model_info{version,variant,name}

All are prefixed `textclassifier_`. When PROMETHEUS_MULTIPROC_DIR is set before this module is first imported, as
`container/serve` does, each worker writes to files there and any of them answers for all.
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
LEAST_TEXTS_FOR_DRIFT = 100
PREFIX = "textclassifier"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))  # others share a label: any may come
FILES_BYTES = 1024 * 1024  # more than the files of one worker have
MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """The metrics of one application."""

    def __init__(self, served: Artifact, variant: str, model_name: str) -> None:
        self._own = CollectorRegistry()
        self._facts = {"version": served.version, "variant": variant, "name": model_name}
        self._reference = served.manifest.reference
        self._positive = served.manifest.labels[1]
        self._requests = self._counter("requests", "HTTP requests", ("route", "method", "status"))
        self._seconds = self._histogram("request_seconds", "From the first byte to the reply", SECONDS, ("route",))
        self._queue = self._histogram("queue_seconds", "Waiting for a free core", SECONDS)
        self._truncated = self._counter("truncated", "Texts of which only the beginning was read")
        self._cache_hits = self._counter("cache_hits", "Texts whose answer was remembered")
        self._scores = self._histogram("score", "Calibrated score of the positive label", SCORE_EDGES)
        self._lengths = self._histogram("text_tokens", "Tokens of a text", TOKEN_EDGES)

    def expect(self, routes: Iterable[str]) -> None:
        """Make the series of each route now, so that `reserve_files` finds the files at their size."""
        for route in routes:
            self._seconds.labels(route)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered or refused."""
        self._requests.labels(route, method if method in METHODS else "other", status).inc()
        self._seconds.labels(route).observe(seconds)

    def count_predictions(self, predictions: Sequence[Prediction], waited_s: float) -> None:
        """Count the answers of one request."""
        self._queue.observe(waited_s)
        if truncated := sum(one.truncated for one in predictions):
            self._truncated.inc(truncated)
        if hits := sum(one.cached for one in predictions):
            self._cache_hits.inc(hits)
        for one in predictions:
            self._scores.observe(one.scores[self._positive])
            self._lengths.observe(one.tokens)

    def exposition(self) -> bytes:
        """Return every metric in the text format of Prometheus."""
        registry = CollectorRegistry()
        registry.register(_Summed(self))
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted in every worker, then what follows from it."""
        counted = list(_of_every_worker() if os.environ.get(MULTIPROCESS_DIR) else self._own.collect())
        yield from counted
        info = GaugeMetricFamily(f"{PREFIX}_model_info", "The model that answers", labels=list(self._facts))
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
            if sum(live) >= LEAST_TEXTS_FOR_DRIFT and expected.edges == edges:
                drift.add_metric([of], population_stability_index(expected.counts, live))
        return drift

    def _counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"{PREFIX}_{name}", meaning, labels, registry=self._own)

    def _histogram(self, name: str, meaning: str, edges: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", meaning, labels, registry=self._own, buckets=edges)


class _Summed:
    """What a registry asks for the metrics of every worker at the time of a scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self.collect = metrics.collect


def check_room(folder: Path) -> None:
    """Refuse to start a worker whose metrics would have no room on the disk.

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
    """Give the files of this worker's metrics their disk space now.

    They are sparse and written through memory: a disk that got full would kill the worker with SIGBUS otherwise.
    prometheus_client does not document their names; tests/serving/test_metrics.py says which ones it gives.
    """
    for path in Path(os.environ[MULTIPROCESS_DIR]).glob(f"*_{os.getpid()}.db"):
        with path.open("r+b") as file:
            _claim(file, path.stat().st_size)


def _claim(file: IO[bytes], size: int) -> None:
    """Give the first `size` bytes of a file their disk space; its content stays."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except (AttributeError, OSError) as problem:  # macOS has no such call, and not every file system supports it
        if getattr(problem, "errno", errno.ENOSYS) not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        content = file.read(size).ljust(size, b"\0")
        file.seek(0)
        file.write(content)
        file.flush()


def bucket_counts(metrics: Iterable[Metric], name: str) -> list[int]:
    """Return the counts between the edges of a histogram without labels, and the one over the last edge."""
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

    Half a count of the smaller histogram is added to every bin of both, as a share, so that a bin empty in one gives a
    large figure and not an infinite one, and a bin empty in both gives nothing.
    Source: Siddiqi, Credit Risk Scorecards (2006); 0.1 to 0.25 is read as a small shift, more as a large one.
    """
    total_expected, total_live = sum(expected), sum(live)
    least = 0.5 / min(total_expected, total_live)
    whole = 1 + least * len(expected)
    shares = [
        ((q / total_expected + least) / whole, (p / total_live + least) / whole)
        for q, p in zip(expected, live, strict=True)
    ]
    return sum((p - q) * math.log(p / q) for q, p in shares)


def _of_every_worker() -> Iterable[Metric]:
    return MultiProcessCollector(CollectorRegistry()).collect()  # type: ignore[no-untyped-call, no-any-return]
