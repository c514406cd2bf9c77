"""Start the serving stack on this machine, as a process or as a container, for notebook 04 and the tests.

with LocalServer("container/serve", "runs/demo/model") as server:
    server.predict(["my boiler is leaking gas"])
"""

import atexit
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from bert_textclassification.errors import UserError
from bert_textclassification.serving.config import ServingConfig

READY_WITHIN_S = 180  # on a slow machine; one that ends is told at once
_CLOSED = ["--rm", "--read-only", "--tmpfs", "/tmp:size=64m,mode=1777"]  # noqa: S108 - the container's own folder


class LocalServer:
    """`container/serve` as a process of this machine, on a free port, with its own scratch folder."""

    def __init__(self, command: str | Path, model_dir: str | Path, **environment: str) -> None:
        """Prepare to run `command` with the settings in `environment`, and not with those of the shell."""
        self._command = [sys.executable, str(Path(command).resolve())]
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._scratch = tempfile.TemporaryDirectory(prefix="serve-")
        not_ours = ServingConfig.variables() | {"GUNICORN_CMD_ARGS"}
        self._environment = {name: value for name, value in os.environ.items() if name not in not_ours} | {
            "MODEL_DIR": str(Path(model_dir).resolve()),
            "PORT": str(self.port),
            "SCRATCH_DIR": self._scratch.name,
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the stack and wait until it answers.

        Raises:
            UserError: it ended or did not get ready in time; the message has the end of its log.
        """
        self._log = (Path(self._scratch.name) / "log").open("wb")
        try:
            self.process = subprocess.Popen(
                self._command, env=self._environment, stdout=self._log, stderr=subprocess.STDOUT
            )
        except FileNotFoundError:
            raise UserError(f"{self._command[0]} is not installed, or not on the PATH.") from None
        atexit.register(self.stop)
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise UserError(f"The server did not get ready; the end of its log: {self.log()[-1500:]}")
            time.sleep(0.05)
        return self

    def stop(self) -> int:
        """End the stack as a platform does, with SIGTERM, and return its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def log(self) -> str:
        """Return what the stack has written so far."""
        return (Path(self._scratch.name) / "log").read_text(errors="replace")

    def predict(self, texts: list[str], **parameters: Any) -> list[dict[str, Any]]:
        """Send `texts` in one request and return the predictions."""
        body = orjson.dumps({"instances": texts, "parameters": parameters})
        status, reply = self.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        if status != 200:
            raise UserError(f"The server answered {status}: {reply.decode(errors='replace')}")
        predictions: list[dict[str, Any]] = orjson.loads(reply)["predictions"]
        return predictions

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send one request, never through a proxy, and return status and body, whatever the status."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, reply.read()

    def _ready(self) -> bool:
        try:
            return self.request("GET", "/ping")[0] == 200
        except OSError:  # nothing listens yet
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._log.close()
        self._scratch.cleanup()


class LocalContainer(LocalServer):
    """The same in the serving image, closed as a platform would: nothing can be written but its scratch folder."""

    def __init__(self, image: str, model_dir: str | Path, **environment: str) -> None:
        """Prepare to run `image` with Docker; more settings of the server go in `environment`."""
        super().__init__(image, model_dir)
        mounted = ["--volume", f"{Path(model_dir).resolve()}:/opt/ml/model:ro"]
        published = ["--publish", f"127.0.0.1:{self.port}:8080"]
        settings = [f"--env={name}={value}" for name, value in environment.items()]
        self._command = ["docker", "run", *_CLOSED, *mounted, *published, *settings, image, "serve"]
        self._environment = dict(os.environ)  # of the docker command


def local_stack(source: str | Path, model_dir: str | Path, **environment: str) -> LocalServer:
    """Return the stack, not started yet: of the command `source` as a process, or of that image as a container."""
    kind = LocalServer if Path(source).is_file() else LocalContainer
    return kind(str(source), model_dir, **environment)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
