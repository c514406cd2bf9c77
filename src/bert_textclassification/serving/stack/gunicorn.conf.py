"""gunicorn's settings, all derived from ServingConfig. `container/serve` starts gunicorn with this file."""

import gc
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from bert_textclassification.serving import logs
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.worker import assign_slot, keep_own_sockets

serving = ServingConfig.from_environment()

wsgi_app = "bert_textclassification.serving.wsgi:app"
bind = [f"unix:{path}" for path in (*serving.sockets, serving.retry_socket)]
worker_class = "bert_textclassification.serving.worker.NginxWorker"
workers = serving.workers or 1
threads = serving.request_threads
worker_connections = threads + serving.connections
preload_app = False  # an inference engine's threads do not survive a fork
timeout = 60  # for a worker's main loop, which requests never block; the application enforces their deadline
graceful_timeout = serving.drain_timeout_s
keepalive = 75
worker_tmp_dir = str(serving.scratch_dir)
control_socket_disable = True
limit_request_line = limit_request_field_size = 0  # nginx has its own limits, with JSON errors
accesslog = None  # nginx writes the access log
logconfig_dict = logs.configuration()


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker its own socket."""
    assign_slot(server, worker, workers)


def post_fork(server: Any, worker: Any) -> None:
    """Listen on the worker's own socket and on the shared one, and log to the worker's own pipe."""
    from bert_textclassification.serving import metrics  # it reads the environment variable of its folder on import

    metrics.check_room(serving.scratch_dir)
    prefer_to_be_killed()
    keep_own_sockets(worker)
    with suppress(FileNotFoundError):  # without container/serve there is no pipe: log to standard output
        log = os.open(serving.worker_logs[worker.slot], os.O_WRONLY)
        os.dup2(log, 1)
        os.close(log)


def prefer_to_be_killed() -> None:
    """Make the OOM killer choose a worker, which is replaced, rather than gunicorn's main process."""
    with suppress(OSError):  # missing on other systems, or read-only
        Path("/proc/self/oom_score_adj").write_text("500")


def post_worker_init(worker: Any) -> None:
    """Allocate the disk space of the metric files that the application created, and freeze loaded objects."""
    gc.collect()
    gc.freeze()  # loaded objects live forever: do not let a collection traverse them during a request

    from bert_textclassification.serving import metrics

    if os.environ.get(metrics.MULTIPROCESS_DIR):
        metrics.reserve_files()
