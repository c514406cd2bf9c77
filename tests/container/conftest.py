"""The images, built once, and containers with the restrictions of a cluster."""

import contextlib
import fcntl
import functools
import http.client
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import pytest

from tests.conftest import PATIENCE_S, ROOT, wait_until

IMAGE = "bert-textclassification-test"  # a tag for tests only
SCRATCH = "/tmp"  # noqa: S108 - the only writable folder of the container
JSON = {"Content-Type": "application/json"}


def docker(*arguments: str | Path, timeout: float = PATIENCE_S) -> subprocess.CompletedProcess:
    command = ["docker", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


@functools.cache
def build() -> str:
    command = ["make", "image", f"IMAGE={IMAGE}"]
    with (ROOT / "Makefile").open() as one_at_a_time:  # another pytest process may build the images too
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=5 * PATIENCE_S)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return IMAGE


@pytest.fixture(scope="module")
def images() -> str:
    return build()


def readable(folder: Path) -> Path:
    """Let the unprivileged user of the image read `folder`."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@pytest.fixture(scope="module")
def model(tiny_artifact, tmp_path_factory) -> Path:
    """The tiny artifact, to be mounted."""
    return readable(Path(shutil.copytree(tiny_artifact.folder, tmp_path_factory.mktemp("mounted") / "model")))


class Container:
    """A container of the serve image: read-only, with one scratch folder and the model mounted read-only."""

    def __init__(
        self, images: str, model: Path, *options: str | Path, at: str = "/opt/ml/model", port: int = 8080
    ) -> None:
        self.port = port
        scratch = ("--read-only", "--tmpfs", f"{SCRATCH}:rw,size=64m,mode=1777")
        mount = ("--volume", f"{model}:{at}:ro")
        run = docker("run", "--detach", *scratch, *mount, *options, f"{images}:serve")
        assert run.returncode == 0, run.stderr
        self.id = run.stdout.strip()
        # Use the container's own address: Docker's proxy on the host accepts connections even if no server listens.
        self.host = self.inspect("{{.NetworkSettings.IPAddress}}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        docker("rm", "--force", self.id)

    def inspect(self, template: str) -> str:
        return docker("inspect", "--format", template, self.id).stdout.strip()

    def connect(self, timeout: float = PATIENCE_S) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, reply.read()

    def predict(self, *texts: str) -> tuple[int, bytes]:
        return self.request("POST", "/invocations", json.dumps(texts).encode(), JSON)

    def has_lost_a_process(self) -> bool:
        """Whether SIGKILL has ended a worker, a server or the container's first process."""
        logged = "SIGKILL" in docker("logs", self.id).stdout or "-9" in self.errors()
        return logged or self.inspect("{{.State.ExitCode}}") == "137"

    def is_ready(self) -> bool:
        try:
            return self.request("GET", "/ping")[0] == 200
        except OSError:  # the server does not listen yet
            return False

    def ready(self) -> Self:
        wait_until(self.is_ready)
        return self

    def python(self, code: str) -> str:
        """Run `code` in the container and return its output."""
        done = docker("exec", self.id, "python", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def processes(self) -> list[dict[str, Any]]:
        """Return the description of each process in the container, by `_PROCESSES`."""
        return json.loads(self.python(_PROCESSES))

    def workers(self) -> list[dict[str, Any]]:
        processes = self.processes()
        (main,) = [
            process["pid"] for process in processes if process["parent"] == 1 and "gunicorn" in process["command"]
        ]
        return [process for process in self.processes() if process["parent"] == main]

    def kill(self, pid: int) -> None:
        self.python(f"import os; os.kill({pid}, 9)")

    def log(self) -> list[dict[str, Any]]:
        """Return the JSON lines of its standard output."""
        return [json.loads(line) for line in docker("logs", self.id).stdout.splitlines()]

    def errors(self) -> str:
        return docker("logs", self.id).stderr

    def exit_status(self) -> int:
        """Wait until it has ended."""
        wait_until(lambda: self.inspect("{{.State.Status}}") == "exited")
        return int(self.inspect("{{.State.ExitCode}}"))


_CONTENTS = """
import importlib.util, json, os
has = lambda name: importlib.util.find_spec(name) is not None
names = {name: has(name) for name in ("torch", "transformers", "pandas")}
print(json.dumps({**names, "training": has("bert_textclassification.training"), "user": os.getuid()}))
"""
_WRITABLE = """
import json, os
print(json.dumps([path for path in ("/", "/opt/program", "/opt/ml/model", "/tmp") if os.access(path, os.W_OK)]))
"""
_PROCESSES = """
import contextlib, json, os, pathlib
def about(folder):
    words = lambda name: (folder / name).read_text().rstrip(chr(0)).split(chr(0))
    memory = dict(line.split()[:2] for line in (folder / "smaps_rollup").read_text().splitlines()[1:])
    return {
        "pid": int(folder.name),
        "parent": int((folder / "stat").read_text().rpartition(")")[2].split()[1]),
        "command": " ".join(words("cmdline")),
        "environment": dict(word.partition("=")[::2] for word in words("environ")),
        "resident": int(memory["Rss:"]) * 1024,
        "proportional": int(memory["Pss:"]) * 1024,
    }
processes = []
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    with contextlib.suppress(OSError):  # the process has ended in the meantime
        processes.append(about(folder))
print(json.dumps([process for process in processes if process["pid"] != os.getpid()]))
"""
BASE = "/tiny-base"  # the mount point of the tiny base model
TINY = {
    "base_model": BASE, "epochs": "3", "batch_size": "16", "max_length": "64", "precision": "fp32",
    "max_accuracy_loss": "100", "learning_rate": "0.001", "exit_layers": "none", "dropout": "0",
}  # fmt: skip


def laid_out(base: Path, data: Path, hyperparameters: dict[str, str]) -> Path:
    """Create SageMaker's layout of `/opt/ml` in `base`, writable for everybody."""
    for split in ("train", "validation", "test"):
        channel = base / "input/data" / split
        channel.mkdir(parents=True)
        shutil.copyfile(data / f"{split}.csv", channel / f"part-0000{len(split)}.csv")
    (base / "input/config").mkdir()
    (base / "input/config/hyperparameters.json").write_text(json.dumps(hyperparameters))
    for name in ("model", "output", "checkpoints"):
        (base / name).mkdir()
    for path in (base, *base.rglob("*")):
        path.chmod(0o777)
    return base
