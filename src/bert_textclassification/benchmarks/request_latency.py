"""Latency of requests to a server."""

import selectors
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np

from bert_textclassification.benchmarks.http_client import PATIENCE_S, Client, prediction_request
from bert_textclassification.training.export.timing import WARM_UP


def time_requests(port: int, texts: Sequence[str]) -> dict[str, Any]:
    """Send one request per text over one keep-alive connection to the local `port`; return the latencies in ms.

    Raises:
        RuntimeError: the server returned another status than 200.
        TimeoutError: it did not reply.
    """
    warm_up = texts[:WARM_UP]
    with closing(Client(port, 1, selectors.DefaultSelector())) as client:
        for request in [prediction_request(text) for text in [*warm_up, *texts]]:
            client.send(request, time.perf_counter())
            while client.busy:
                client.wait(PATIENCE_S)
    if client.errors:
        raise RuntimeError(f"the server answered {', '.join(client.errors)} instead of 200")
    samples = client.latencies_ms[len(warm_up) :]
    return {
        "samples": samples,
        "p50": float(np.median(samples)),
        "p95": float(np.percentile(samples, 95)),
        "p99": float(np.percentile(samples, 99)),
    }
