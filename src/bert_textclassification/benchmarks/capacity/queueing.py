"""Latency under load: the Erlang C formula with the measured variability of service times.

The queue is M/G/c: Poisson arrivals, one first-in-first-out queue for the cores of an instance, one core per text. The
probability of waiting is that of M/M/c (Erlang C). The waiting times are exponential, with the mean scaled by
(1 + squared coefficient of variation) / 2 (Allen and Cunneen, in: Allen, Probability, Statistics and Queueing Theory,
1990). This is exact for exponential service times.

The model ignores other programs, pauses and the work of the server apart from texts: treat its p99 as a lower bound. In
the published load test of SST-2, on 2 cores at 74 %, p50 is 4.9 ms (model: 4.5) and p99 is 39 ms (model: 18).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

QUANTILES = 2000


@dataclass(frozen=True)
class Service:
    """The service times of requests on one core.

    Attributes:
        times_ms: measured times in milliseconds, [requests].
    """

    times_ms: NDArray[np.float64]

    @classmethod
    def of_samples(cls, times_ms: Sequence[float]) -> Self:
        """Return the service times measured by one client that sends one request after another, without a queue."""
        return cls(np.asarray(times_ms, dtype=np.float64))

    @classmethod
    def of_percentiles(cls, p50_ms: float, p99_ms: float) -> Self:
        """Return the log-normal service times with these percentiles."""
        deviation = np.log(p99_ms / p50_ms) / norm.ppf(0.99)
        shares = (np.arange(QUANTILES) + 0.5) / QUANTILES
        return cls(p50_ms * np.exp(deviation * norm.ppf(shares)))

    @classmethod
    def of_load_test(cls, summary: Mapping[str, Any]) -> Self:
        """Return the service times of a load test's summary: variability of one connection, rate at full load."""
        (alone,) = [row for row in summary["by_connections"] if row["connections"] == 1]
        service = cls.of_percentiles(alone["p50_ms"], alone["p99_ms"])
        return service.at_rate(summary["requests_per_second"] / summary["threads"])

    def at_rate(self, per_core: float) -> Self:
        """Return the service times scaled to `per_core` requests per second and core, with the same variability."""
        return type(self)(self.times_ms * (self.rate_per_core / per_core))

    @property
    def mean_ms(self) -> float:
        """Mean time in milliseconds."""
        return float(self.times_ms.mean())

    @property
    def rate_per_core(self) -> float:
        """Requests per second at which one core is fully utilised."""
        return 1000 / self.mean_ms

    @property
    def squared_variation(self) -> float:
        """Squared coefficient of variation: 0 for constant times, 1 for exponential ones."""
        return float(self.times_ms.var()) / self.mean_ms**2


def erlang_c(cores: int, utilisation: float) -> float:
    """Return the probability that a request has to wait; `utilisation` is in [0, 1)."""
    offered, blocked = cores * utilisation, 1.0
    for core in range(1, cores + 1):  # Erlang B, by recursion over the cores
        blocked = offered * blocked / (core + offered * blocked)
    return blocked / (1 - utilisation * (1 - blocked))


def latency_ms(service: Service, cores: int, utilisation: float, share: float = 0.99) -> float:
    """Return the latency in milliseconds, waiting included, that the given share of requests does not exceed."""
    waiting = erlang_c(cores, utilisation)
    per_ms = cores * (1 - utilisation) / service.mean_ms * 2 / (1 + service.squared_variation)

    def without_answer(after_ms: float) -> float:
        left = np.maximum(after_ms - service.times_ms, 0)
        return float(np.where(service.times_ms > after_ms, 1, waiting * np.exp(-per_ms * left)).mean())

    longest = float(service.times_ms.max()) - np.log((1 - share) / 2) / per_ms
    return float(brentq(lambda after_ms: without_answer(after_ms) - (1 - share), 0, longest))
