"""The behaviour of the built image under real faults.

SOAK_SECONDS=1800 SOAK_MODEL=runs/sst2/model .venv/bin/python -m pytest tests/container/test_faults.py -k flat -s
runs the mixed traffic for half an hour with that model, and prints the memory every five minutes.
"""

import contextlib
import gzip
import http.client
import itertools
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.conftest import wait_until
from tests.container.conftest import JSON, SCRATCH, Container, docker, readable

pytestmark = pytest.mark.container

ONE_WORKER = ("--env=SERVING_WORKERS=1", "--env=CACHE_SIZE=0")  # without a cache every text is computed
SOME_MILLISECONDS = json.dumps(["the socket in the nursery has started to crackle " * 20] * 40).encode()


class Clients:
    """Threads that send requests during the context."""

    def __init__(self, container: Container, count: int) -> None:
        self.container = container
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: int) -> None:
        with contextlib.closing(self.container.connect()) as connection:
            for number in itertools.count():
                if self._stopped.is_set():
                    return
                self.send(connection, f"{client}-{number}")

    def send(self, connection: http.client.HTTPConnection, name: str) -> None:
        raise NotImplementedError


class Load(Clients):
    """Clients that keep their connections and repeat the same request.

    Attributes:
        outcomes: by request id, the status, or the name of the exception without a complete response.
    """

    def __init__(self, container: Container, clients: int = 8, body: bytes = SOME_MILLISECONDS) -> None:
        super().__init__(container, clients)
        self._body = body
        self.outcomes: dict[str, int | str] = {}

    def wait_for(self, answers: int) -> None:
        """Wait until `answers` more requests have an outcome."""
        enough = len(self.outcomes) + answers
        wait_until(lambda: len(self.outcomes) >= enough)

    def ids(self, *outcomes: int | str) -> set[str]:
        return {name for name, outcome in self.outcomes.items() if outcome in outcomes}

    def send(self, connection: http.client.HTTPConnection, name: str) -> None:
        self.outcomes[name] = self._ask(connection, name) if _is_connected(connection) else NOT_CONNECTED

    def _ask(self, connection: http.client.HTTPConnection, name: str) -> int | str:
        try:
            connection.request("POST", "/invocations", self._body, {**JSON, "X-Request-Id": name})
            reply = connection.getresponse()
            reply.read()
            clear = reply.status != 503 or reply.headers["Retry-After"]
            return reply.status if clear else "503 without Retry-After"
        except (OSError, http.client.HTTPException) as problem:
            connection.close()
            return type(problem).__name__


def _is_connected(connection: http.client.HTTPConnection) -> bool:
    """Connect if necessary; return whether it succeeded. A stopped container may not even refuse a connection."""
    if connection.sock is None:
        try:
            connection.sock = socket.create_connection((connection.host, connection.port), timeout=1)
        except OSError:
            time.sleep(0.05)
            return False
        connection.sock.settimeout(connection.timeout)
    return True


class MixedTraffic(Clients):
    """Clients that send requests of every kind over new connections; one in ten disconnects before the response.

    Attributes:
        answers: kind of each request, which begins with the expected status, and the actual status.
    """

    def __init__(self, container: Container) -> None:
        super().__init__(container, 4)
        self.answers: list[tuple[str, int | str]] = []

    def send(self, connection: http.client.HTTPConnection, name: str) -> None:
        choice = random.Random(name)  # noqa: S311 - the same traffic each time
        texts = [" ".join(choice.choices(WORDS, k=choice.randint(3, 40))) for _ in range(3)]
        kind, (path, body, headers) = choice.choice(list(requests_of_every_kind(texts).items()))
        try:
            connection.request("POST" if body else "GET", path, body, headers)
            if choice.random() > 0.1:
                self.answers.append((kind, connection.getresponse().status))
        except (OSError, http.client.HTTPException) as problem:
            self.answers.append((kind, type(problem).__name__))
        finally:
            connection.close()


def requests_of_every_kind(texts: list[str]) -> dict[str, tuple[str, bytes | None, dict[str, str]]]:
    """Return path, body and headers by a name that begins with the expected status."""
    instances = json.dumps({"instances": texts}).encode()
    everything = {"all_scores": True, "raw_logits": True, "truncation": "windows"}
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return {
        "200 JSON": ("/invocations", instances, JSON),
        "200 everything": ("/score", json.dumps({"instances": texts * 9, "parameters": everything}).encode(), JSON),
        "200 one long text": ("/invocations", json.dumps([" ".join(texts) * 50]).encode(), JSON),
        "200 CSV": ("/invocations", "\n".join(texts).encode(), {"Content-Type": "text/csv"}),
        "200 JSON Lines": ("/invocations", "\n".join(map(json.dumps, texts)).encode(), {"Content-Type": LINES}),
        "200 text": ("/invocations", "\n".join(texts).encode(), {"Content-Type": "text/plain", "Accept": LINES}),
        "200 gzip": ("/invocations", gzip.compress(instances), {**JSON, "Content-Encoding": "gzip"}),
        "200 KServe": ("/v1/models/model:predict", instances, JSON),
        "200 Open Inference": ("/v2/models/model/infer", json.dumps({"inputs": [tensor]}).encode(), JSON),
        "200 large": ("/invocations", instances.ljust(3_000_000), JSON),
        "200 metrics": ("/metrics", None, {}),
        "400 malformed": ("/invocations", instances[:-1], JSON),
        "400 empty": ("/invocations", b'{"instances": []}', JSON),
        "400 gzip": ("/invocations", instances, {**JSON, "Content-Encoding": "gzip"}),
        "404 nowhere": ("/nowhere/" + texts[0].replace(" ", "/"), None, {}),
        "413 too large": ("/invocations", b" ", {**JSON, "Content-Length": "7000000"}),
        "415 image": ("/invocations", instances, {"Content-Type": "image/png"}),
    }


@pytest.fixture(scope="module")
def server(images, model) -> Iterator[Container]:
    """A shared container that survives the faults of its tests."""
    with Container(images, model, *ONE_WORKER) as container:
        yield container.ready()


# -- the end of a process


def test_no_request_that_was_accepted_is_lost_by_sigterm(images, model):
    with Container(images, model, *ONE_WORKER) as container:
        container.ready()
        with Load(container) as load:
            load.wait_for(100)
            started = time.monotonic()
            docker("stop", "--time", "20", container.id)
            seconds = time.monotonic() - started
        logged = {line["request_id"]: line["status"] for line in container.log() if line.get("path") == "/invocations"}
        assert logged == dict.fromkeys(load.ids(200), 200)
        assert set(load.outcomes.values()) <= {200, NOT_CONNECTED, *CLOSED_WHILE_IDLE}
        assert (container.exit_status(), seconds < 10) == (0, True)


def test_a_killed_worker_is_replaced_and_every_client_gets_an_answer(server):
    (before,) = server.workers()
    with Load(server) as load:
        load.wait_for(50)
        server.kill(before["pid"])
        load.wait_for(100)
    (after,) = server.workers()
    assert after["pid"] != before["pid"]
    assert set(load.outcomes.values()) <= {200, 503}
    assert load.ids(200)


# -- exhausted resources


def test_when_memory_runs_out_a_worker_is_ended_and_replaced_and_the_container_lives(images, model):
    with Container(images, model, "--memory", "160m", "--memory-swap", "160m", *ONE_WORKER) as container:
        container.ready()
        with Load(container) as load:
            load.wait_for(10)
            docker("exec", container.id, "python", "-c", _TAKE_MEMORY)  # the kernel may kill this process too
        assert "out of memory?" in docker("logs", container.id).stdout
        wait_until(container.is_ready)
        assert container.predict("hello")[0] == 200
        assert set(load.outcomes.values()) <= {200, 503}


def test_a_container_with_too_little_memory_for_the_model_never_says_it_is_ready(images, model):
    # Little enough for an immediate kill: with somewhat more, the kernel reads pages from disk for minutes.
    with Container(images, model, "--memory", "48m", "--memory-swap", "48m") as container:
        # The kernel kills a worker, which is replaced repeatedly, or gunicorn, which ends the container.
        wait_until(container.has_lost_a_process)
        assert not container.is_ready()


@pytest.fixture
def full_disk(server) -> Iterator[Container]:
    """The container with a full scratch folder."""
    server.python(_FILL)
    yield server
    server.python(f"import os; os.remove('{SCRATCH}/filler')")


def test_on_a_full_disk_small_requests_are_answered(full_disk):
    assert full_disk.predict("hello")[0] == 200
    assert full_disk.request("POST", "/invocations", b'["hello"]'.ljust(1_000_000), JSON)[0] == 200


def test_on_a_full_disk_a_large_body_is_refused_with_the_reason(full_disk):
    status, answer = full_disk.request("POST", "/invocations", b'["hello"]'.ljust(2_000_000), JSON)
    assert (status, json.loads(answer)["error"]["code"]) == (507, "no_space")


def test_on_a_full_disk_a_large_answer_is_whole(full_disk):
    status, answer = full_disk.predict(*["hello"] * 10_000)
    assert (status, len(json.loads(answer)["predictions"])) == (200, 10_000)


def test_on_a_full_disk_every_route_is_counted_and_no_worker_dies(full_disk):
    before = full_disk.workers()
    for path in json.loads(full_disk.request("GET", "/openapi.json")[1])["paths"]:
        full_disk.request("GET", path)
        full_disk.request("POST", path, b'["hello"]', JSON)
    status, metrics = full_disk.request("GET", "/metrics")
    assert (status, b'route="/score"' in metrics) == (200, True)
    assert [process["pid"] for process in full_disk.workers()] == [process["pid"] for process in before]


def test_a_worker_killed_on_a_full_disk_ends_the_container_with_the_reason(images, model):
    with Container(images, model) as container:
        container.ready().python(_FILL)
        container.kill(container.workers()[0]["pid"])
        assert container.exit_status() == 1
        assert SCRATCH in container.errors() + docker("logs", container.id).stdout


# -- a damaged model


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _renew(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 3}))


@pytest.mark.parametrize(
    ("name", "damage", "problem", "remedy"),
    [
        ("int8.safetensors", _flip, "does not match the SHA-256", "copy the artifact again"),
        ("tokenizer.json", _flip, "does not match the SHA-256", "copy the artifact again"),
        ("int8.safetensors", _cut, "the manifest says", "copy the artifact again"),
        ("manifest.json", _cut, "is not valid JSON", "copy the artifact again"),
        ("int8.safetensors", Path.unlink, "lacks", "copy the whole folder again"),
        ("tokenizer.json", Path.unlink, "lacks", "copy the whole folder again"),
        ("manifest.json", Path.unlink, "is not a finished model artifact", "train again or point to"),
        ("manifest.json", _renew, "was written by a newer release", "serve it with the release"),
    ],
)
def test_a_damaged_model_ends_the_container_with_the_file_and_the_remedy(
    images, copied_artifact, name, damage, problem, remedy
):
    damage(copied_artifact / name)
    with Container(images, readable(copied_artifact)) as container:
        assert container.exit_status() == 2
        assert container.log() == []
        (sentence,) = container.errors().splitlines()
    assert sentence.startswith("error: ")
    assert all(part in sentence for part in (name, problem, remedy))


# -- unusual environments


def test_without_a_network_it_serves(images, model):
    with Container(images, model, "--network", "none") as container:
        answer = json.loads(container.python(_ASK_FROM_INSIDE))
    assert len(answer["predictions"]) == 1


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_clock_that_jumps_harms_no_request_and_no_worker(images, model, tmp_path):
    clock, options = _clock(tmp_path)
    with Container(images, model, *ONE_WORKER, *options) as container:
        before = container.ready().workers()
        with Load(container, clients=4) as load:
            for hours in (2, -2, 0):
                _set(clock, hours * 3600)
                load.wait_for(60)
        assert set(load.outcomes.values()) == {200}
        assert [process["pid"] for process in container.workers()] == [process["pid"] for process in before]
        assert len({line["time"][:13] for line in container.log()}) >= 3  # three different hours: the clock jumped


def _clock(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Return a file, and options that make every process of a container add the file's seconds to the wall clock.

    libfaketime 0.9.10 does not work: it breaks Python's `time.sleep` unless the monotonic clock jumps too.
    """
    clock, library = folder / "clock", folder / "clock.so"
    clock.write_bytes(bytes(8))
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), "-x", "c", "-"]
    subprocess.run(command, input=_CLOCK, text=True, check=True)
    readable(folder)
    mounts = (f"--volume={path}:/{path.name}:ro" for path in (clock, library))
    return clock, (*mounts, "--env=LD_PRELOAD=/clock.so")


def _set(clock: Path, seconds: int) -> None:
    with clock.open("r+b") as file:  # in place, because the file is mapped
        file.write(struct.pack("q", seconds))


# -- memory over time


def test_memory_is_flat_under_mixed_traffic(images, model):
    mounted = Path(os.environ.get("SOAK_MODEL", model)).resolve()
    options = ("--memory=512m", "--env=CACHE_SIZE=2000", *os.environ.get("SOAK_OPTIONS", "").split())
    with Container(images, mounted, *options) as container, MixedTraffic(container.ready()) as traffic:
        memory = list(_memory_of(traffic, float(os.environ.get("SOAK_SECONDS", "24"))))
    assert [(kind, status) for kind, status in traffic.answers if not kind.startswith(str(status))] == []
    assert max(memory[3:]) < max(memory[1:3]) + FLAT_BYTES


def _memory_of(traffic: MixedTraffic, seconds: float) -> Iterator[int]:
    """Yield the bytes of all processes at the start and after each of six intervals; the first two are a warm-up."""
    for number in range(7):
        sizes = [process["proportional"] for process in traffic.container.processes()]
        memory = f"{sum(sizes) / 1e6:.1f} MB, {max(sizes) / 1e6:.1f} of it in the worker"
        print(f"{seconds * number / 6:.0f} s: {memory}, {len(traffic.answers)} answers", flush=True)
        yield sum(sizes)
        if number < 6:
            time.sleep(seconds / 6)
    for (kind, status), count in sorted(Counter(traffic.answers).items(), key=str):
        print(f"{status} to {count} of {kind!r}")


LINES = "application/jsonlines"
WORDS = ("the", "boiler", "socket", "nursery", "rent", "card", "dryer", "smoke", "stolen", "leaking", "gas", "urgent")
FLAT_BYTES = 20_000_000  # tolerance for current bodies of 3 MB and memory that the allocator keeps
NOT_CONNECTED = "not connected"
# A server may close an idle connection while a request is sent on it: that request was not accepted.
CLOSED_WHILE_IDLE = ("ConnectionResetError", "RemoteDisconnected", "BrokenPipeError")
# A process that exceeds the memory limit together with the worker, but is smaller than the worker.
_TAKE_MEMORY = """
import time
held = []
for _ in range(80):
    held.append(b"x" * 1_000_000)
    time.sleep(0.02)
"""

_FILL = f"""
with open("{SCRATCH}/filler", "wb", buffering=0) as file:
    for size in (65536, 512):
        try:
            while file.write(bytes(size)):
                pass
        except OSError:
            pass
"""
_CLOCK = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *shift;

__attribute__((constructor)) static void map(void) {
    shift = mmap(0, sizeof *shift, PROT_READ, MAP_SHARED, open("/clock", O_RDONLY | O_CLOEXEC), 0);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int status = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += *shift;
    return status;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int status = syscall(SYS_gettimeofday, now, zone);
    now->tv_sec += *shift;
    return status;
}
time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
"""
_ASK_FROM_INSIDE = """
import time, urllib.error, urllib.request
json = {"Content-Type": "application/json"}
request = urllib.request.Request("http://127.0.0.1:8080/invocations", b'["hello"]', json)
while True:
    try:
        print(urllib.request.urlopen(request, timeout=60).read().decode())
        break
    except urllib.error.URLError:
        time.sleep(0.05)
"""
