"""Plan instances from measured service times: their number, their cost, and the latency.

    service = Service.of_load_test(json.loads(Path("notebooks/results/load/sst2.json").read_text()))
    prices = read_prices("ops/config/prices.yaml")
    plan(service, Traffic(requests_per_day=10_000), prices)      # a row for each type of instance
    cheapest_plans(service, Traffic(requests_per_day=10_000), prices)  # a row for each of several traffics

The plans assume that a core of an instance is as fast as a core of the measured machine.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bert_textclassification.benchmarks.capacity.queueing import Service, latency_ms
from bert_textclassification.benchmarks.load.run import figures, run_load
from bert_textclassification.errors import ConfigurationError
from bert_textclassification.serving.resources import available_cores
from bert_textclassification.training.settings.prices import Instance, Prices

HOURS_PER_MONTH = 730
UTILISATIONS = (0.3, 0.5, 0.7)
REQUESTS_PER_DAY = (1e4, 1e6, 1e8, 1e9)


@dataclass(frozen=True)
class Traffic:
    """The expected traffic and the reserves.

    Attributes:
        requests_per_day: with one text each.
        peak_over_mean: rate in the busiest minutes, relative to the mean of the day.
        utilisation: maximum utilisation of an instance's cores at the peak, in (0, 1).
        spare_instances: number of instances that may fail at the peak without exceeding `utilisation`.

    Raises:
        ConfigurationError: one of them is out of bounds.
    """

    requests_per_day: float
    peak_over_mean: float = 3
    utilisation: float = 0.6
    spare_instances: int = 1

    def __post_init__(self) -> None:
        bounds = {
            "requests_per_day": self.requests_per_day > 0,
            "peak_over_mean": self.peak_over_mean >= 1,
            "utilisation": 0 < self.utilisation < 1,
            "spare_instances": self.spare_instances >= 0,
        }
        for name, is_kept in bounds.items():
            if not is_kept:
                wanted = (
                    "requests over 0, a peak of 1 or more, a utilisation between 0 and 1, 0 or more spare instances"
                )
                raise ConfigurationError(f"{name}={getattr(self, name)!r} is out of bounds; give {wanted}.")

    @property
    def peak_per_second(self) -> float:
        """Requests per second in the busiest minutes."""
        return self.requests_per_day / 86_400 * self.peak_over_mean


def plan(service: Service, traffic: Traffic, prices: Prices) -> pd.DataFrame:
    """Return the number and the cost of instances of each type, cheapest first.

    All run all day. An autoscaler that follows the traffic can lower the cost by up to a factor of `peak_over_mean`.
    """
    rows = {name: _row(service, traffic, instance) for name, instance in prices.instances.items()}
    return pd.DataFrame.from_dict(rows, orient="index").sort_values("dollars_per_month")


def cheapest_plans(
    service: Service, traffic: Traffic, prices: Prices, requests_per_day: Sequence[float] = REQUESTS_PER_DAY
) -> pd.DataFrame:
    """Return the cheapest row of `plan` for each of `requests_per_day` and for `traffic`, least traffic first."""
    rows = []
    for requests in sorted({*requests_per_day, traffic.requests_per_day}):
        scaled = replace(traffic, requests_per_day=requests)
        cheapest = plan(service, scaled, prices).iloc[0]
        rows.append(
            {"requests_per_day": f"{requests:,.0f}", "peak_per_second": scaled.peak_per_second, "type": cheapest.name}
            | cheapest.to_dict()
        )
    return pd.DataFrame(rows).set_index("requests_per_day").astype({"cores": int, "instances": int})


def _row(service: Service, traffic: Traffic, instance: Instance) -> dict[str, float]:
    capacity = instance.cores * service.rate_per_core
    count = math.ceil(traffic.peak_per_second / (capacity * traffic.utilisation)) + traffic.spare_instances
    utilisation = traffic.peak_per_second / (count * capacity)
    dollars_per_month = count * instance.dollars_per_hour * HOURS_PER_MONTH
    return {
        "cores": instance.cores,
        "instances": count,
        "requests_per_second_each": traffic.peak_per_second / count,
        "utilisation": utilisation,
        "p99_ms": latency_ms(service, instance.cores, utilisation),
        "dollars_per_month": dollars_per_month,
        "dollars_per_million": dollars_per_month / (traffic.requests_per_day * HOURS_PER_MONTH / 24) * 1e6,
    }


def curves(service: Service, cores: Sequence[int]) -> pd.DataFrame:
    """Return the p99 in milliseconds for a range of utilisations (rows) and numbers of cores (columns)."""
    utilisations = [percent / 100 for percent in range(5, 95, 5)]
    columns = {count: [latency_ms(service, count, busy) for busy in utilisations] for count in cores}
    return pd.DataFrame(columns, utilisations)


def under_load(
    port: int, texts: Sequence[str], alone_ms: Sequence[float], seconds: float
) -> tuple[Service, pd.DataFrame]:
    """Measure a local server under load and compare the latencies with the queueing model.

    Args:
        port: of the server, which should have no cache.
        texts: the texts of the requests, repeated.
        alone_ms: latencies of one client that sends one request after another.
        seconds: length of each load.

    Returns:
        The service times, scaled to the rate of a core when all are busy; and, for each of UTILISATIONS with Poisson
        arrivals, the measured latencies (`p50_ms`, `p99_ms`) and those of the queueing model (`model_p50_ms`,
        `model_p99_ms`).

    Raises:
        UserError: no request succeeded.
    """
    cores = max(1, int(available_cores()))
    most = figures(run_load("closed_loop", texts, seconds, port=port, connections=2 * cores))["requests_per_second"]
    service = Service.of_samples(alone_ms).at_rate(most / cores)
    rows = []
    for utilisation in UTILISATIONS:
        load = run_load("open_loop", texts, seconds, port=port, rate=most * utilisation, independent=True)
        measured = {name: figures(load)[name] for name in ("requests_per_second", "p50_ms", "p99_ms")}
        shares = {"model_p50_ms": 0.5, "model_p99_ms": 0.99}
        model = {name: latency_ms(service, cores, utilisation, share) for name, share in shares.items()}
        rows.append({"utilisation": utilisation, "cores": cores} | measured | model)
    return service, pd.DataFrame(rows)
