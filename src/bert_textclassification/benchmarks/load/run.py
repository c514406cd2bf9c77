"""What the server gives of what the model could give: throughput, waiting and processor time of the real stack.

    make load MODEL=runs/demo/model DATA=texts.csv SETTINGS="--rounds 5"
    bert-textclassification benchmark load --model runs/demo/model --data texts.csv --seconds 5

Each round runs the model in process, then nginx and gunicorn as the container starts them: at each number of
connections, then on a fixed schedule at half of the in-process rate, then with texts that come again, with and without
the answer cache. Everything shares the cores of this machine, the load generator included, and stays on loopback.
Tables and the targets go to stdout, and one line of JSON at the end; `--output` keeps the figures of every round.
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
    """What is measured, and for how long."""

    model: Path
    data: Path
    variant: str | None = None
    seconds: float = 2.5
    rounds: int = 3
    connections: Sequence[int] = CONNECTIONS

    @property
    def threads(self) -> int:
        """Texts computed at a time, in process and by the server: one for each whole core."""
        return max(1, int(available_cores()))


def run_load_test(settings: Settings, output: Path | None = None, summary_file: Path | None = None) -> None:
    """Run the load test, print its tables and its summary as JSON, and write the files that are asked for.

    Args:
        settings: what is measured, and for how long.
        output: gets the figures and latencies of every round, as JSON.
        summary_file: gets the summary alone.

    Raises:
        UserError: the data or the model cannot be used, or the server does not answer.
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
    """Return what each load of each round gave.

    Raises:
        UserError: the data or the model cannot be used, or the server does not answer.
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
    """Yield the case and the figures of each load: the model in process, then the servers without and with a cache."""
    seconds, model = settings.seconds, str(settings.model)
    outcome = run_load(
        "in_process", texts, seconds, model_dir=model, variant=settings.variant, threads=settings.threads
    )
    alone = figures(outcome)
    yield load_report.IN_PROCESS, alone
    for connections in settings.connections:
        point = over_http(plain, "closed_loop", texts, seconds, connections=connections)
        yield load_report.CLOSED, point | next_to(alone, point)
    rate = alone["requests_per_second"]
    yield load_report.HALF_RATE, over_http(plain, "open_loop", texts, seconds, rate=rate / 2)
    mixed = load_generator.with_repeats(new, 1 + round(2 * rate * seconds))
    yield load_report.NO_CACHE, over_http(plain, "closed_loop", mixed, seconds, connections=CACHE_CONNECTIONS)
    cached = over_http(caching, "closed_loop", mixed, seconds, connections=CACHE_CONNECTIONS)
    yield load_report.CACHE, cached
    known = mixed[: cached["requests"]]
    yield load_report.HITS, over_http(caching, "closed_loop", known, seconds, connections=CACHE_CONNECTIONS)


def over_http(server: LocalServer, load: str, texts: Sequence[str], seconds: float, **job: float) -> dict[str, Any]:
    """Return the figures of one load on `server`, with what the server has counted and used meanwhile.

    Raises:
        UserError: the load failed, or nothing was answered.
    """
    counted, used = counts(server), cpu_seconds(server)
    point = job | figures(run_load(load, texts, seconds, port=server.port, **job))
    cpu_ms = {name: 1000 * (value - used[name]) / point["requests"] for name, value in cpu_seconds(server).items()}
    cpu_ms |= {"server": sum(cpu_ms.values()), "generator": point.pop("cpu_ms_per_request")}
    point |= {f"{name}_cpu_ms_per_request": value for name, value in cpu_ms.items()}
    point |= {name: value - counted[name] for name, value in counts(server).items()}
    return point | {"hit_share": point["cache_hits"] / point["requests"]}


def next_to(alone: dict[str, Any], point: dict[str, Any]) -> dict[str, float]:
    """Return how a load over HTTP stands to the same round's load in process."""
    return {
        "share_of_in_process": point["requests_per_second"] / alone["requests_per_second"],
        "web_cpu_ms_per_request": point["server_cpu_ms_per_request"] - alone["cpu_ms_per_request"],
    }


def run_load(load: str, texts: Sequence[str], seconds: float, **job: Any) -> dict[str, Any]:
    """Run one load of `load_generator` in a process of its own and return its outcome.

    Raises:
        UserError: it failed.
    """
    asked = orjson.dumps({"load": load, "texts": texts, "seconds": seconds} | job)
    done = subprocess.run([sys.executable, "-m", load_generator.__name__], input=asked, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UserError(f"The load {load} stopped ({reason}); see with `make serve` whether the server runs.")
    outcome: dict[str, Any] = orjson.loads(done.stdout)
    return outcome


def figures(outcome: dict[str, Any]) -> dict[str, Any]:
    """Return requests, rate, percentiles and processor time of an outcome of `load_generator`.

    Raises:
        UserError: nothing was answered.
    """
    latencies = outcome["latencies_ms"]
    if not latencies:
        raise UserError(f"No text was answered, only refused: {outcome['errors']}; see why with `make serve`.")
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
    """Return how many predictions the server says that it has answered with 200 so far, and how many it remembered."""
    _, reply = server.request("GET", "/metrics")
    samples = [one for family in text_string_to_metric_families(reply.decode()) for one in family.samples]
    answered = {"route": "/invocations", "method": "POST", "status": "200"}
    requests = (one.value for one in samples if one.name == f"{PREFIX}_requests_total" and one.labels == answered)
    hits = (one.value for one in samples if one.name == f"{PREFIX}_cache_hits_total")
    return {"server_requests": int(sum(requests)), "cache_hits": int(sum(hits))}


def cpu_seconds(server: LocalServer) -> dict[str, float]:
    """Return the processor time in seconds that nginx and gunicorn, with all of their processes, have used so far.

    From /proc/<pid>/stat: the parent is field 4, the ticks in user and in kernel mode are 14 and 15 (proc(5)).
    """
    parents, programs, seconds = {}, {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            name, _, rest = path.read_bytes().rpartition(b")")
            fields, pid = rest.split(), int(path.parent.name)  # from field 3 on
            parents[pid], programs[pid] = int(fields[1]), "nginx" if name.endswith(b"(nginx") else "gunicorn"
            seconds[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    used = {"nginx": 0.0, "gunicorn": 0.0}
    for pid in _below(server.process.pid if server.process else 0, parents):
        used[programs[pid]] += seconds[pid]
    return used


def usage() -> NDArray[np.float64]:
    """Return the time, and the processor time of this machine that went elsewhere, both in seconds.

    Elsewhere is what /proc/stat counts as busy or stolen, less this process and its children that have ended.

    Raises:
        UserError: this is not Linux.
    """
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
    except OSError:
        raise UserError("There is no /proc here to read processor times from; run the load test on Linux.") from None
    busy = (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK")  # fields 4 and 5 are idle
    return np.array([time.monotonic(), busy - sum(os.times()[:4])])


def _below(root: int, parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent == root or parent in found} - found:
        found |= more
    return found


def read_texts(path: Path) -> list[str]:
    """Return the different texts of a CSV file, or of the splits test and train of a folder.

    Raises:
        DataError: there is no such file, or no column `text` with texts in it.
    """
    try:
        found = find_files(path)
        files = [file for split in ("test", "train") for file in found.get(split, [])]
        frame = pd.concat([pd.read_csv(file, usecols=["text"], dtype=str) for file in files])
    except (OSError, ValueError) as problem:
        raise DataError(f"{path} cannot be read ({problem}); give CSV files with a column text.") from None
    texts = [text for text in frame["text"].dropna().str.rstrip().unique() if text]
    if not texts:
        raise DataError(f"{path} has no texts in its column text; give some.")
    return texts


def _server(settings: Settings, cache_size: int) -> LocalServer:
    return LocalServer(SERVE, settings.model, CACHE_SIZE=str(cache_size), MODEL_VARIANT=settings.variant or "")
