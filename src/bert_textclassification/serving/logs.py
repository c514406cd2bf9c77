"""Log records as one line of JSON each. nginx writes the access log; this is for all other records."""

import json
import logging
import time
from typing import Any


class JsonFormatter(logging.Formatter):
    """Formats time, level, logger, message, the fields of `extra={"fields": {...}}`, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configuration(level: str = "INFO", stream: str = "ext://sys.stdout") -> dict[str, Any]:
    """Return the `logging.config` of the server: every record to stdout or another stream, as JSON."""
    handlers = ["stream"]
    quiet = {"level": "WARNING", "handlers": handlers, "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": f"{__name__}.JsonFormatter"}},
        "handlers": {"stream": {"class": "logging.StreamHandler", "formatter": "json", "stream": stream}},
        "root": {"level": level, "handlers": handlers},
        "loggers": {"gunicorn.error": quiet, "gunicorn.access": quiet},
    }
