"""Plan the capacity for a model: measure the local server under load, then plan for the given traffic."""

import json
import sys
from pathlib import Path

from bert_textclassification.benchmarks.capacity import planning
from bert_textclassification.benchmarks.load.run import SERVE, read_texts
from bert_textclassification.benchmarks.local_server import LocalServer
from bert_textclassification.benchmarks.request_latency import time_requests
from bert_textclassification.training.export.timing import sample_stream
from bert_textclassification.training.settings.prices import read_prices

_REQUESTS = 200  # of one client, one after another


def plan_for_model(model: Path, data: Path, traffic: planning.Traffic, prices: Path, seconds: float) -> None:
    """Measure the server with the model, and print plans for `traffic`; the last line is one JSON object.

    Args:
        model: folder of the artifact.
        data: texts for the requests: a CSV file with the column text, or a folder of splits.
        traffic: the expected traffic and the reserves.
        prices: YAML table of instances.
        seconds: length of each load.

    Raises:
        UserError: the model, the texts or the prices cannot be used, or no request succeeded.
    """
    table = read_prices(prices)
    texts = sample_stream(read_texts(data), _REQUESTS, seed=0)
    with LocalServer(SERVE, model, CACHE_SIZE="0") as server:  # no cache
        alone = time_requests(server.port, texts)
        print(f"measuring under load, 4 x {seconds:g} s", file=sys.stderr, flush=True)
        service, waiting = planning.under_load(server.port, texts, alone["samples"], seconds)
    print(f"One core serves {service.rate_per_core:.0f} requests per second. {table.note}")
    print(f"\nLatency measured and by Erlang C (model_*):\n{waiting.round(2).to_string(index=False)}")
    print(f"\nCheapest plans:\n{planning.cheapest_plans(service, traffic, table).round(2).to_string()}")
    plan = planning.plan(service, traffic, table)
    print(f"\nAll types at {traffic.requests_per_day:,.0f} requests per day:\n{plan.round(2).to_string()}")
    record = {"requests_per_day": traffic.requests_per_day, "rate_per_core": service.rate_per_core}
    print(json.dumps(record | {"prices": table.note, "plan": plan.to_dict("index")}))
