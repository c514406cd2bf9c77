"""gunicorn's settings, all derived from ServingConfig. `container/serve` starts gunicorn with this file."""

import gc
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from bert_textclassification.serving import logs
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.worker import keep_own_sockets, take_place

serving = ServingConfig.from_environment()

wsgi_app = "bert_textclassification.serving.wsgi:app"
bind = [f"unix:{path}" for path in (*serving.sockets, serving.retry_socket)]
worker_class = "bert_textclassification.serving.worker.NginxWorker"
workers = serving.workers or 1
threads = serving.request_threads
worker_connections = threads + serving.connections
preload_app = False  # an inference engine's threads do not survive a fork
timeout = 60  # of a worker's main loop, which never waits for a request: the application keeps their deadline
graceful_timeout = serving.drain_timeout_s
keepalive = 75
worker_tmp_dir = str(serving.scratch_dir)
control_socket_disable = True
limit_request_line = limit_request_field_size = 0  # nginx has its own limits, and says so as JSON
accesslog = None  # nginx writes the one access log
logconfig_dict = logs.configuration()


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker a socket of its own."""
    take_place(server, worker, workers)


def post_fork(server: Any, worker: Any) -> None:
    """Listen on the worker's own socket and on the one for all, and log to the worker's own pipe."""
    from bert_textclassification.serving import metrics  # not earlier: the variable of its folder has to be there

    metrics.check_room(serving.scratch_dir)
    prefer_to_be_killed()
    keep_own_sockets(worker)
    with suppress(FileNotFoundError):  # started without container/serve: to its standard output
        log = os.open(serving.worker_logs[worker.place], os.O_WRONLY)
        os.dup2(log, 1)
        os.close(log)


def prefer_to_be_killed() -> None:
    """Tell the kernel to end a worker first when memory runs out: it is replaced, where without its master all end."""
    with suppress(OSError):  # there is none on other systems, and it may be read-only
        Path("/proc/self/oom_score_adj").write_text("500")


def post_worker_init(worker: Any) -> None:
    """Claim the disk space of the metrics, once the application has made their files, and tidy up after loading."""
    gc.collect()
    gc.freeze()  # what is loaded stays: looking through it again would hold up a request now and then

    from bert_textclassification.serving import metrics

    if os.environ.get(metrics.MULTIPROCESS_DIR):
        metrics.reserve_files()
