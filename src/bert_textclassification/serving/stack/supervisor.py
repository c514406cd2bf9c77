"""Start gunicorn and nginx, and stop both when one ends.

nginx opens the port once every worker is ready. After SIGTERM accepted requests finish and the exit status is 0. When
gunicorn or nginx ends, the other is stopped and the exit status is not 0, so that the platform starts a new container.
"""

import contextlib
import errno
import http.client
import json
import os
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

from bert_textclassification.artifact.store import Artifact
from bert_textclassification.engines import processor
from bert_textclassification.errors import ConfigurationError, RequestError, UserError
from bert_textclassification.serving import resources
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.log_forwarder import LogForwarder
from bert_textclassification.serving.model_source import locate
from bert_textclassification.serving.protocols.errors import PLATFORM_PATHS, error_body, platform_error_body
from bert_textclassification.serving.scratch_folder import private_folder

HERE = Path(__file__).resolve().parent
WORKER_BYTES = 130_000_000  # memory of a worker without its model, which needs about twice its size while loading
READY_WITHIN_S = 170  # SageMaker's serverless endpoints time out after 180


class Stopped(Exception):
    """SIGTERM, SIGINT or SIGHUP arrived."""


def main() -> int:
    """Run the stack until a signal arrives or one of its programs ends; return the exit status."""
    for number in stop_signals():
        signal.signal(number, on_signal)
    open_standard_streams()
    try:
        config = ServingConfig.from_environment()
        for warning in ServingConfig.name_warnings(os.environ):
            print(f"warning: {warning}", file=sys.stderr)
        nginx()
        listening_addresses(config.port)  # fail before the model is loaded
        with private_folder(config.scratch_dir) as (folder, lock):
            config = prepare(config.model_copy(update={"scratch_dir": folder}))
            with LogForwarder([*config.worker_logs, config.gunicorn_log, config.access_log]):
                return run(config, lock)
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except Stopped:
        return 0


def run(config: ServingConfig, lock: int) -> int:
    """Start gunicorn and then nginx, and wait for one to end; return the exit status.

    Args:
        config: the settings, with this server's private folder.
        lock: descriptor of the folder's lock; the folder exists as long as a process holds it.

    Raises:
        UserError: no worker becomes ready, or the port is in use.
    """
    children: list[subprocess.Popen[bytes]] = []
    try:
        children.append(start_gunicorn(config, lock))
        if is_ready(config, children[0]):
            children.append(start_nginx(config, lock))
        ended = wait_for_first(children)
        print(f"error: {program(ended)} ended with {ended.returncode}; stopping.", file=sys.stderr)
        return 1
    finally:
        drain(children, config.drain_timeout_s)


def open_standard_streams() -> None:
    """Open /dev/null for each closed standard stream; otherwise another file would get its descriptor."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def nginx() -> str:
    """Return the path of nginx, which may be outside the PATH of ordinary users.

    Raises:
        UserError: it is not installed.
    """
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    if (path := shutil.which("nginx", path=folders)) is None:
        raise UserError("nginx is not installed; run `make system-packages`, or install it with your package manager.")
    return path


def listening_addresses(port: int) -> list[str]:
    """Return nginx's listen addresses for the IP versions of this machine.

    Raises:
        ConfigurationError: another program listens on the port, or this user has no permission.
    """
    addresses = []
    for family, host, address in (
        (socket.AF_INET, "0.0.0.0", f"{port}"),  # noqa: S104 - a server must be reachable
        (socket.AF_INET6, "::", f"[::]:{port} ipv6only=on"),
    ):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((host, port))
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:
                message = f"Port {port} is in use by another program; stop that one, or set PORT to a free port."
                raise ConfigurationError(message) from None
            if problem.errno == errno.EACCES:
                message = f"This user may not open port {port}; set PORT to 1024 or higher."
                raise ConfigurationError(message) from None
            continue  # this machine does not have the protocol
        addresses.append(address)
    return addresses


def prepare(config: ServingConfig) -> ServingConfig:
    """Fetch and check the model; return the settings with its folder, the workers and the threads.

    Raises:
        UserError: there is no model, or it is damaged.
    """
    config.metrics_dir.mkdir()
    folder = locate(config.model_source, config.scratch_dir)
    artifact = Artifact.load(folder)
    name, variant = artifact.variant(config.variant)
    artifact.tokenizer_path(), artifact.model_path(name)  # report a damaged file here, in one sentence
    if config.variant is None and processor.other_kind(artifact.manifest.measured_on):
        config = config.model_copy(update={"variant": measured_variant(folder)})
        name, variant = artifact.variant(config.variant)
    cores, memory = resources.available_cores(), resources.memory_limit_bytes()
    plan = resources.plan(cores, memory, WORKER_BYTES + 2 * variant.size_bytes, config.workers, config.threads)
    return config.model_copy(update={"model_source": str(folder), "workers": plan.workers, "threads": plan.threads})


def measured_variant(folder: Path) -> str:
    """Return the variant for this kind of processor, the same for all workers.

    Raises:
        UserError: the measurement failed; its process has printed the reason.
    """
    command = [sys.executable, "-m", "bert_textclassification.serving.variant_choice", str(folder)]
    measured = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if measured.returncode != 0:
        raise UserError("The variants could not be timed on this processor; set MODEL_VARIANT to one of them.")
    return measured.stdout.strip()


def environment(config: ServingConfig) -> dict[str, str]:
    """Return gunicorn's environment, without GUNICORN_CMD_ARGS, which would override our settings."""
    inherited = {name: value for name, value in os.environ.items() if name != "GUNICORN_CMD_ARGS"}
    return (
        inherited
        | ({} if config.variant is None else {"MODEL_VARIANT": config.variant})
        | {
            "MODEL_DIR": config.model_source,
            "SCRATCH_DIR": str(config.scratch_dir),
            "SERVING_WORKERS": str(config.workers),
            "SERVING_THREADS": str(config.threads),
            "PROMETHEUS_MULTIPROC_DIR": str(config.metrics_dir),
            # One heap per thread touches more memory: 0.2 ms more per request.
            "MALLOC_ARENA_MAX": "1",
        }
    )


def start_gunicorn(config: ServingConfig, lock: int) -> subprocess.Popen[bytes]:
    """Start gunicorn with this interpreter.

    It has its own process group, so that workers can be found after their main process was killed.
    """
    command = [sys.executable, "-m", "gunicorn", "--config", str(HERE / "gunicorn.conf.py")]
    with config.gunicorn_log.open("wb") as log:
        return subprocess.Popen(command, env=environment(config), stdout=log, pass_fds=[lock], start_new_session=True)


def start_nginx(config: ServingConfig, lock: int) -> subprocess.Popen[bytes]:
    """Write nginx's configuration and start it in this server's private folder; the configured paths are relative."""
    template = string.Template((HERE / "nginx.conf").read_text(encoding="utf-8"))
    # As root, nginx would run its workers as a user without access to the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    settings = config.model_dump() | {
        "user": user,
        "listen": "\n        ".join(f"listen {address} backlog=1024;" for address in listening_addresses(config.port)),
        "servers": "\n        ".join(f"server unix:{path.name} max_fails=0;" for path in config.sockets),
        "retry_socket": config.retry_socket.name,
        "access_log": config.access_log.name,
        "connections": config.connections,
        "proxy_timeout_s": config.proxy_timeout_s,
        **error_bodies(),
    }
    folder = config.scratch_dir
    (folder / "nginx.conf").write_text(template.safe_substitute(settings), encoding="utf-8")
    command = [nginx(), "-e", "stderr", "-p", str(folder), "-c", "nginx.conf"]
    return subprocess.Popen(command, cwd=folder, pass_fds=[lock], start_new_session=True)


def error_bodies() -> dict[str, str]:
    """Return the bodies of nginx's own errors, with its variables in place of the code and the message."""
    problem = RequestError("$code", "$reason")
    return {
        "error_body": json.dumps(error_body(problem), separators=(",", ":")),
        "platform_error_body": json.dumps(platform_error_body(problem), separators=(",", ":")),
        "platform_paths": PLATFORM_PATHS.pattern,
    }


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop the server; SIGHUP is among them unless it is ignored, as under nohup."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hang_up]


def on_signal(number: int, frame: object) -> None:
    """Raise `Stopped` for the first signal, and ignore later ones."""
    for other in stop_signals():
        signal.signal(other, signal.SIG_IGN)
    raise Stopped


def is_ready(config: ServingConfig, gunicorn: subprocess.Popen[bytes]) -> bool:
    """Wait until every worker is ready; return False if gunicorn ended before.

    Raises:
        UserError: it took too long, for example because the memory limit kills each worker while it loads the model.
    """
    deadline = time.monotonic() + READY_WITHIN_S
    while gunicorn.poll() is None:
        if all(is_worker_ready(path) for path in config.sockets):
            return True
        if time.monotonic() > deadline:
            message = f"Not every worker was ready within {READY_WITHIN_S} s; give the container more memory or cores."
            raise UserError(message)
        time.sleep(0.02)
    return False


def is_worker_ready(path: Path) -> bool:
    """Return whether the application behind the socket at `path` is ready."""
    connection = http.client.HTTPConnection("gunicorn")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.sock.connect(str(path))  # gunicorn's main process listens before a worker accepts
        connection.request("GET", "/readyz", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    return False


def program(child: subprocess.Popen[bytes]) -> str:
    """Return the name of a child's program."""
    return Path(cast("list[str]", child.args)[0]).name


def wait_for_first(children: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Wait until a child ends, and return it."""
    while True:
        for child in children:
            if child.returncode is not None:
                return child
        pid, status = os.wait()
        for child in children:
            if child.pid == pid:
                child.returncode = os.waitstatus_to_exitcode(status)


def drain(children: list[subprocess.Popen[bytes]], seconds: int) -> None:
    """Let nginx finish accepted requests, then stop gunicorn; kill the rest after `seconds`."""
    deadline = time.monotonic() + seconds
    for child in reversed(children):
        if child.poll() is None:
            child.send_signal(signal.SIGQUIT if program(child) == "nginx" else signal.SIGTERM)
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        with contextlib.suppress(ProcessLookupError):  # no process is left in the group
            os.killpg(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
