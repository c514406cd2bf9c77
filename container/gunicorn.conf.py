"""gunicorn's settings, all derived from ServingConfig. `container/serve` starts gunicorn with this file."""

from bert_textclassification.serving.config import ServingConfig

serving = ServingConfig.from_environment()

wsgi_app = "bert_textclassification.serving.wsgi:app"
bind = f"unix:{serving.scratch_dir}/gunicorn.sock"
worker_class = "gthread"
workers = serving.workers
threads = serving.threads
preload_app = False  # an inference engine's threads do not survive a fork
timeout = serving.request_timeout_s
graceful_timeout = serving.drain_timeout_s
keepalive = 75
worker_tmp_dir = str(serving.scratch_dir)
control_socket_disable = True
accesslog = None  # nginx writes the one access log
errorlog = "-"
loglevel = "warning"
