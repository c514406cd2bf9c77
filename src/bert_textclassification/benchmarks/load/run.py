"""Load test of the serving stack: throughput, latency and processor time, compared with the model in process.

    make load MODEL=runs/demo/model DATA=texts.csv SETTINGS="--rounds 5"
    bert-textclassification benchmark load --model runs/demo/model --data texts.csv --seconds 5

Each round runs the model in process, then nginx and gunicorn as in the container: a closed loop at each number of
connections, an open loop at half of the in-process rate, then repeated texts, with and without the cache. The load
generator shares the cores of this machine; all traffic stays on loopback. Tables and targets go to stdout, with one
line of JSON at the end; `--output` writes the figures of every round.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from bert_textclassification.benchmarks.load import generator as load_generator
from bert_textclassification.benchmarks.load import report as load_report
from bert_textclassification.benchmarks.local_server import LocalServer
from bert_textclassification.errors import DataError, UserError
from bert_textclassification.serving.metrics import PREFIX
from bert_textclassification.serving.resources import available_cores
from bert_textclassification.serving.stack import supervisor
from bert_textclassification.training.data.files import find_files
from bert_textclassification.training.display.progress import progress
from bert_textclassification.training.export.timing import sample_stream

SERVE = Path(supervisor.__file__)
CONNECTIONS = (1, 2, 4, 8, 16, 32)
MOST_TEXTS = 2000
CACHE_CONNECTIONS = 8
SEED = 0


@dataclass(frozen=True)
class Settings:
    """The settings of a load test."""

    model: Path
    data: Path
    variant: str | None = None
    seconds: float = 2.5
    rounds: int = 3
    connections: Sequence[int] = CONNECTIONS

    @property
    def threads(self) -> int:
        """Number of texts computed in parallel, in process and by the server: one per whole core."""
        return max(1, int(available_cores()))


def run_load_test(settings: Settings, output: Path | None = None, summary_file: Path | None = None) -> None:
    """Run the load test, print its tables and its summary as JSON, and write the requested files.

    Args:
        settings: of the load test.
        output: JSON file for the figures and latencies of every round.
        summary_file: JSON file for the summary.

    Raises:
        UserError: the data or the model cannot be used, or no request succeeded.
    """
    facts = load_report.facts(settings.model, settings.variant)
    before = usage()
    points = measure(settings)
    passed_s, others_s = (usage() - before).tolist()
    summary = load_report.summary(points) | facts
    summary |= {"threads": settings.threads, "rounds": settings.rounds, "seconds_per_load": settings.seconds}
    summary["other_programs_cores"] = round(max(0.0, others_s / passed_s), 2)
    if output:
        output.write_bytes(orjson.dumps({"summary": summary, "points": points}, option=orjson.OPT_INDENT_2))
    if summary_file:
        summary_file.write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2) + b"\n")
    print(load_report.text(points, summary))
    print(json.dumps(summary))


def measure(settings: Settings) -> list[dict[str, Any]]:
    """Return the figures of each load of each round.

    Raises:
        UserError: the data or the model cannot be used, or no request succeeded.
    """
    texts = sample_stream(read_texts(settings.data), MOST_TEXTS, SEED)
    new = load_generator.new_to_a_cache(texts)
    points = []
    with _server(settings, cache_size=0) as plain, _server(settings, load_report.CACHE_SIZE) as caching:
        for server in (plain, caching):  # warm up
            over_http(server, "closed_loop", texts, settings.seconds, connections=max(settings.connections))
        with progress(total=settings.rounds * (len(settings.connections) + 5), desc="load test", unit="load") as bar:
            for number in range(settings.rounds):
                for case, point in one_round(settings, plain, caching, texts, new):
                    points.append({"round": number, "case": case} | point)
                    bar.update()
    return points


def one_round(
    settings: Settings, plain: LocalServer, caching: LocalServer, texts: Sequence[str], new: Iterator[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the case and the figures of each load: in process, then the servers without and with a cache."""
    seconds, model = settings.seconds, str(settings.model)
    outcome = run_load(
        "in_process", texts, seconds, model_dir=model, variant=settings.variant, threads=settings.threads
    )
    alone = figures(outcome)
    yield load_report.IN_PROCESS, alone
    for connections in settings.connections:
        point = over_http(plain, "closed_loop", texts, seconds, connections=connections)
        yield load_report.CLOSED, point | compared_with(alone, point)
    rate = alone["requests_per_second"]
    yield load_report.HALF_RATE, over_http(plain, "open_loop", texts, seconds, rate=rate / 2)
    mixed = load_generator.with_repeats(new, 1 + round(2 * rate * seconds))
    yield load_report.NO_CACHE, over_http(plain, "closed_loop", mixed, seconds, connections=CACHE_CONNECTIONS)
    cached = over_http(caching, "closed_loop", mixed, seconds, connections=CACHE_CONNECTIONS)
    yield load_report.CACHE, cached
    known = mixed[: cached["requests"]]
    yield load_report.HITS, over_http(caching, "closed_loop", known, seconds, connections=CACHE_CONNECTIONS)


def over_http(server: LocalServer, load: str, texts: Sequence[str], seconds: float, **job: float) -> dict[str, Any]:
    """Return the figures of one load on `server`, with the server's counts and processor time during it.

    Raises:
        UserError: the load failed, or no request succeeded.
    """
    counted, used = counts(server), cpu_seconds(server)
    point = job | figures(run_load(load, texts, seconds, port=server.port, **job))
    cpu_ms = {name: 1000 * (value - used[name]) / point["requests"] for name, value in cpu_seconds(server).items()}
    cpu_ms |= {"server": sum(cpu_ms.values()), "generator": point.pop("cpu_ms_per_request")}
    point |= {f"{name}_cpu_ms_per_request": value for name, value in cpu_ms.items()}
    point |= {name: value - counted[name] for name, value in counts(server).items()}
    return point | {"hit_share": point["cache_hits"] / point["requests"]}


def compared_with(alone: dict[str, Any], point: dict[str, Any]) -> dict[str, float]:
    """Return the comparison of a load over HTTP with the in-process load of the same round."""
    return {
        "share_of_in_process": point["requests_per_second"] / alone["requests_per_second"],
        "web_cpu_ms_per_request": point["server_cpu_ms_per_request"] - alone["cpu_ms_per_request"],
    }


def run_load(load: str, texts: Sequence[str], seconds: float, **job: Any) -> dict[str, Any]:
    """Run one load of `load_generator` in a separate process and return its outcome.

    Raises:
        UserError: it failed.
    """
    request = orjson.dumps({"load": load, "texts": texts, "seconds": seconds} | job)
    done = subprocess.run([sys.executable, "-m", load_generator.__name__], input=request, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UserError(f"The load {load} failed ({reason}); check with `make serve` whether the server runs.")
    outcome: dict[str, Any] = orjson.loads(done.stdout)
    return outcome


def figures(outcome: dict[str, Any]) -> dict[str, Any]:
    """Return requests, rate, percentiles and processor time of an outcome of `load_generator`.

    Raises:
        UserError: no request succeeded.
    """
    latencies = outcome["latencies_ms"]
    if not latencies:
        raise UserError(f"All requests failed: {outcome['errors']}; find the cause with `make serve`.")
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]).tolist()
    return {
        "requests": len(latencies),
        "failed": sum(outcome["errors"].values()),
        "errors": outcome["errors"],
        "requests_per_second": len(latencies) / outcome["seconds"],
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "p99_over_p50": p99 / p50,
        "cpu_ms_per_request": 1000 * outcome["cpu_seconds"] / len(latencies),
        "latencies_ms": latencies,
    }


def counts(server: LocalServer) -> dict[str, int]:
    """Return the server's own counts so far: successful prediction requests (status 200) and cache hits."""
    _, reply = server.request("GET", "/metrics")
    samples = [sample for family in text_string_to_metric_families(reply.decode()) for sample in family.samples]
    labels = {"route": "/invocations", "method": "POST", "status": "200"}
    requests = (
        sample.value for sample in samples if sample.name == f"{PREFIX}_requests_total" and sample.labels == labels
    )
    hits = (sample.value for sample in samples if sample.name == f"{PREFIX}_cache_hits_total")
    return {"server_requests": int(sum(requests)), "cache_hits": int(sum(hits))}


def cpu_seconds(server: LocalServer) -> dict[str, float]:
    """Return the processor time in seconds of all processes of nginx and of gunicorn so far.

    In /proc/<pid>/stat, the parent is field 4, and the ticks in user and kernel mode are fields 14 and 15 (proc(5)).
    """
    parents, programs, seconds = {}, {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has ended
            name, _, rest = path.read_bytes().rpartition(b")")
            fields, pid = rest.split(), int(path.parent.name)  # from field 3 on
            parents[pid], programs[pid] = int(fields[1]), "nginx" if name.endswith(b"(nginx") else "gunicorn"
            seconds[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    used = {"nginx": 0.0, "gunicorn": 0.0}
    for pid in _below(server.process.pid if server.process else 0, parents):
        used[programs[pid]] += seconds[pid]
    return used


def usage() -> NDArray[np.float64]:
    """Return the current time and the processor time that other programs have used, both in seconds.

    The latter is the busy and stolen time in /proc/stat, less that of this process and its ended children.

    Raises:
        UserError: the system is not Linux.
    """
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
    except OSError:
        raise UserError("There is no /proc here to read processor times from; run the load test on Linux.") from None
    busy = (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK")  # fields 4 and 5 are idle
    return np.array([time.monotonic(), busy - sum(os.times()[:4])])


def _below(root: int, parents: dict[int, int]) -> set[int]:
    below: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent == root or parent in below} - below:
        below |= more
    return below


def read_texts(path: Path) -> list[str]:
    """Return the distinct texts of a CSV file, or of the splits test and train of a folder.

    Raises:
        DataError: the file is missing, or has no column `text` with texts.
    """
    try:
        files_by_split = find_files(path)
        files = [file for split in ("test", "train") for file in files_by_split.get(split, [])]
        frame = pd.concat([pd.read_csv(file, usecols=["text"], dtype=str) for file in files])
    except (OSError, ValueError) as problem:
        raise DataError(f"{path} cannot be read ({problem}); give CSV files with a column text.") from None
    texts = [text for text in frame["text"].dropna().str.rstrip().unique() if text]
    if not texts:
        raise DataError(f"{path} has no texts in its column text; give some.")
    return texts


def _server(settings: Settings, cache_size: int) -> LocalServer:
    return LocalServer(SERVE, settings.model, CACHE_SIZE=str(cache_size), MODEL_VARIANT=settings.variant or "")
