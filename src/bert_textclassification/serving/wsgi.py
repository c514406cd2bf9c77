"""The WSGI application that gunicorn imports: `bert_textclassification.serving.wsgi:app`."""

import logging

from bert_textclassification.errors import UserError
from bert_textclassification.serving.api import create_app
from bert_textclassification.serving.config import ServingConfig

WORKER_BOOT_ERROR = 3  # gunicorn's exit status for a failed start: it stops instead of restarting the worker

try:
    app = create_app(ServingConfig.from_environment())
except UserError as problem:
    logging.getLogger(__name__).error("%s", problem)
    raise SystemExit(WORKER_BOOT_ERROR) from None
