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

READY_WITHIN_S = 180  # for slow machines; a server that ends raises at once
_READ_ONLY = ["--rm", "--read-only", "--tmpfs", "/tmp:size=64m,mode=1777"]  # noqa: S108 - the container's own folder


class LocalServer:
    """`container/serve` as a process of this machine, on a free port, with its own scratch folder."""

    def __init__(self, command: str | Path, model_dir: str | Path, **environment: str) -> None:
        """Prepare to run `command` with the settings in `environment`; those of the shell are ignored."""
        self._command = [sys.executable, str(Path(command).resolve())]
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._scratch = tempfile.TemporaryDirectory(prefix="serve-")
        ignored = ServingConfig.variables() | {"GUNICORN_CMD_ARGS"}
        self._environment = {name: value for name, value in os.environ.items() if name not in ignored} | {
            "MODEL_DIR": str(Path(model_dir).resolve()),
            "PORT": str(self.port),
            "SCRATCH_DIR": self._scratch.name,
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the stack and wait until it is ready.

        Raises:
            UserError: it ended or was not ready within READY_WITHIN_S; the message has the end of its log.
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
        """Stop the stack with SIGTERM, as platforms do, and return its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def log(self) -> str:
        """Return the log of the stack so far."""
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
        """Send one request without a proxy and return status and body; error statuses do not raise."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, reply.read()

    def _ready(self) -> bool:
        try:
            return self.request("GET", "/ping")[0] == 200
        except OSError:  # not listening yet
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
    """The stack in the serving image, with a read-only file system except for the scratch folder, as on platforms."""

    def __init__(self, image: str, model_dir: str | Path, **environment: str) -> None:
        """Prepare to run `image` with Docker; `environment` has settings of the server."""
        super().__init__(image, model_dir)
        mounted = ["--volume", f"{Path(model_dir).resolve()}:/opt/ml/model:ro"]
        published = ["--publish", f"127.0.0.1:{self.port}:8080"]
        settings = [f"--env={name}={value}" for name, value in environment.items()]
        self._command = ["docker", "run", *_READ_ONLY, *mounted, *published, *settings, image, "serve"]
        self._environment = dict(os.environ)  # of the docker command


def local_stack(source: str | Path, model_dir: str | Path, **environment: str) -> LocalServer:
    """Return the stack, not started: a process if `source` is a file, else a container of the image `source`."""
    kind = LocalServer if Path(source).is_file() else LocalContainer
    return kind(str(source), model_dir, **environment)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
