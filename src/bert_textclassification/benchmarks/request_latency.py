"""Latency of requests to a server."""

import http.client
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import orjson

from bert_textclassification.training.export.timing import WARM_UP


def time_requests(port: int, texts: Sequence[str]) -> dict[str, Any]:
    """Send one request per text over one keep-alive connection to the local `port`; return the latencies in ms.

    Raises:
        RuntimeError: the server returned another status than 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with closing(connection):
        for text in texts[:WARM_UP]:
            _request(connection, text)
        samples = [_request(connection, text) for text in texts]
    return {
        "samples": samples,
        "p50": float(np.median(samples)),
        "p95": float(np.percentile(samples, 95)),
        "p99": float(np.percentile(samples, 99)),
    }


def _request(connection: http.client.HTTPConnection, text: str) -> float:
    start = time.perf_counter_ns()
    connection.request(
        "POST", "/invocations", orjson.dumps({"instances": [text]}), {"Content-Type": "application/json"}
    )
    reply = connection.getresponse()
    body = reply.read()
    if reply.status != 200:
        raise RuntimeError(f"the server answered {reply.status}: {body[:500]!r}")
    return (time.perf_counter_ns() - start) / 1e6
