"""Waiting times, checked against published values of Erlang's C formula, closed forms and a simulated queue."""

import heapq
import math

import numpy as np
import pytest

from bert_textclassification.benchmarks.capacity.queueing import Service, erlang_c, latency_ms

SHARES = (np.arange(20_000) + 0.5) / 20_000
EXPONENTIAL = Service(-10 * np.log(1 - SHARES))  # a mean of 10 ms


def simulated_p99(service, cores, utilisation):
    """Return the p99 latency in ms of 200,000 independent arrivals that are served in order."""
    rng = np.random.default_rng(0)
    gaps = rng.exponential(service.mean_ms / (cores * utilisation), 200_000)
    free, latencies = [0.0] * cores, []
    for arrival, busy in zip(gaps.cumsum(), rng.choice(service.times_ms, len(gaps)), strict=True):
        done = max(arrival, heapq.heappop(free)) + busy
        heapq.heappush(free, done)
        latencies.append(done - arrival)
    return np.percentile(latencies, 99)


@pytest.mark.parametrize(
    ("cores", "utilisation", "expected"),
    [(1, 0.7, 0.7), (2, 0.5, 1 / 3), (3, 2 / 3, 4 / 9), (10, 0.8, 0.4092), (100, 0.9, 0.2169)],
)
def test_the_probability_to_wait_is_erlangs(cores, utilisation, expected):
    assert erlang_c(cores, utilisation) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("utilisation", [0.1, 0.5, 0.9])
def test_one_core_with_exponential_times_is_the_closed_form(utilisation):
    expected = -math.log(0.01) * 10 / (1 - utilisation)  # of M/M/1, whose latency is exponential
    assert latency_ms(EXPONENTIAL, 1, utilisation) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("cores", [1, 2, 8])
@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.85])
@pytest.mark.parametrize("p99_ms", [6, 12])
def test_the_p99_is_that_of_a_simulated_queue(cores, utilisation, p99_ms):
    service = Service.of_percentiles(3, p99_ms)
    assert latency_ms(service, cores, utilisation) == pytest.approx(
        simulated_p99(service, cores, utilisation), rel=0.15
    )


def test_an_idle_server_takes_the_service_time():
    service = Service.of_percentiles(3, 6)
    assert latency_ms(service, 4, 0.01) == pytest.approx(6, rel=0.01)
    assert latency_ms(service, 4, 0.01, 0.5) == pytest.approx(3, rel=0.01)


def test_a_service_of_percentiles_has_these_percentiles():
    percentiles = np.percentile(Service.of_percentiles(3, 6).times_ms, [50, 99])
    assert percentiles == pytest.approx([3, 6], rel=0.01)


def test_a_rate_changes_the_times_and_not_their_spread():
    service = Service.of_samples([1, 2, 3])
    assert service.at_rate(100).mean_ms == pytest.approx(10)
    assert service.at_rate(100).squared_variation == pytest.approx(service.squared_variation)


def test_a_load_test_gives_the_rate_of_a_core():
    alone = {"connections": 1, "p50_ms": 3.2, "p99_ms": 6.3}
    summary = {"by_connections": [alone, {"connections": 4}], "requests_per_second": 600, "threads": 2}
    assert Service.of_load_test(summary).rate_per_core == pytest.approx(300)
