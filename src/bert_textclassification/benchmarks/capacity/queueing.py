"""How long callers wait for a core: Erlang's C formula with the measured variability of service times.

Callers come independently of each other, the cores of an instance share one queue in order of arrival, and a text keeps
one core busy: M/G/c. That a caller waits at all has the probability that Erlang gives for M/M/c; the waits of those who
do are exponential, their mean scaled by (1 + squared coefficient of variation) / 2 (Allen and Cunneen, in: Allen,
Probability, Statistics and Queueing Theory, 1990). It is exact for exponential service times.

The model knows of no other programs, no pauses and no work of the server beside its texts: take its p99 for the least
there will be. In the published load test of SST-2, 2 cores at 74 %, p50 is 4.9 ms where the model says 4.5, and p99 is
39 ms where it says 18.
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
    """How long one core is busy with a request.

    Attributes:
        times_ms: measured times in milliseconds, shape [requests].
    """

    times_ms: NDArray[np.float64]

    @classmethod
    def of_samples(cls, times_ms: Sequence[float]) -> Self:
        """Return the service times measured by one caller who waits for each answer: nothing queues then."""
        return cls(np.asarray(times_ms, dtype=np.float64))

    @classmethod
    def of_percentiles(cls, p50_ms: float, p99_ms: float) -> Self:
        """Return the log-normal service times with these percentiles."""
        deviation = np.log(p99_ms / p50_ms) / norm.ppf(0.99)
        shares = (np.arange(QUANTILES) + 0.5) / QUANTILES
        return cls(p50_ms * np.exp(deviation * norm.ppf(shares)))

    @classmethod
    def of_load_test(cls, summary: Mapping[str, Any]) -> Self:
        """Return what a summary of `load_test` says: the spread of one caller's times, the rate of the most texts."""
        (alone,) = [row for row in summary["by_connections"] if row["connections"] == 1]
        service = cls.of_percentiles(alone["p50_ms"], alone["p99_ms"])
        return service.at_rate(summary["requests_per_second"] / summary["threads"])

    def at_rate(self, per_core: float) -> Self:
        """Return the same spread of times at another number of requests a second and core."""
        return type(self)(self.times_ms * (self.rate_per_core / per_core))

    @property
    def mean_ms(self) -> float:
        """Mean time in milliseconds."""
        return float(self.times_ms.mean())

    @property
    def rate_per_core(self) -> float:
        """Requests a second that keep one core busy."""
        return 1000 / self.mean_ms

    @property
    def squared_variation(self) -> float:
        """Variance over squared mean: 0 for equal times, 1 for exponential ones."""
        return float(self.times_ms.var()) / self.mean_ms**2


def erlang_c(cores: int, utilisation: float) -> float:
    """Return the probability that a caller has to wait; `utilisation` is in [0, 1)."""
    offered, blocked = cores * utilisation, 1.0
    for core in range(1, cores + 1):  # Erlang's B formula, one core after the other
        blocked = offered * blocked / (core + offered * blocked)
    return blocked / (1 - utilisation * (1 - blocked))


def latency_ms(service: Service, cores: int, utilisation: float, share: float = 0.99) -> float:
    """Return within how many milliseconds, waiting included, the given share of callers has its answer."""
    waiting = erlang_c(cores, utilisation)
    per_ms = cores * (1 - utilisation) / service.mean_ms * 2 / (1 + service.squared_variation)

    def without_answer(after_ms: float) -> float:
        left = np.maximum(after_ms - service.times_ms, 0)
        return float(np.where(service.times_ms > after_ms, 1, waiting * np.exp(-per_ms * left)).mean())

    longest = float(service.times_ms.max()) - np.log((1 - share) / 2) / per_ms
    return float(brentq(lambda after_ms: without_answer(after_ms) - (1 - share), 0, longest))
