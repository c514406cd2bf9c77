"""Plan capacity for a model: measure the server of this machine under load, then plan for a given traffic."""

import json
import sys
from pathlib import Path

from bert_textclassification.benchmarks.capacity import planning
from bert_textclassification.benchmarks.load.run import SERVE, read_texts
from bert_textclassification.benchmarks.local_server import LocalServer
from bert_textclassification.benchmarks.request_latency import time_requests
from bert_textclassification.training.export.timing import sample_stream
from bert_textclassification.training.settings.prices import read_prices

_REQUESTS = 200  # of one caller who waits for each answer


def plan_for_model(model: Path, data: Path, traffic: planning.Traffic, prices: Path, seconds: float) -> None:
    """Measure the model behind the server, and print plans for `traffic`; the last line is one JSON object.

    Args:
        model: folder of the artifact.
        data: texts to ask: a CSV file with the column text, or a folder of splits.
        traffic: what is asked, and how much room is left.
        prices: YAML table of instances.
        seconds: length of each load.

    Raises:
        UserError: the model, the texts or the prices cannot be used, or nothing was answered.
    """
    table = read_prices(prices)
    texts = sample_stream(read_texts(data), _REQUESTS, seed=0)
    with LocalServer(SERVE, model, CACHE_SIZE="0") as server:  # no answer is remembered: all are computed
        alone = time_requests(server.port, texts)
        print(f"measuring under load, 4 x {seconds:g} s", file=sys.stderr, flush=True)
        service, waiting = planning.under_load(server.port, texts, alone["samples"], seconds)
    print(f"A core answers {service.rate_per_core:.0f} requests a second. {table.note}")
    print(f"\nMeasured beside the model of waiting:\n{waiting.round(2).to_string(index=False)}")
    print(f"\nCheapest plans:\n{planning.cheapest_plans(service, traffic, table).round(2).to_string()}")
    plan = planning.plan(service, traffic, table)
    print(f"\nAll types at {traffic.requests_per_day:,.0f} requests a day:\n{plan.round(2).to_string()}")
    record = {"requests_per_day": traffic.requests_per_day, "rate_per_core": service.rate_per_core}
    print(json.dumps(record | {"prices": table.note, "plan": plan.to_dict("index")}))
