"""gunicorn's threaded worker, without a change of threads between the requests of a busy connection."""

import select
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

LINGER_MS = 10


class LingeringWorker(ThreadWorker):
    """A thread that has answered waits a moment for the next request of the same connection.

    The threaded worker gives a connection back to its main loop after each request and takes it from there for the
    next, which costs about a third of the worker's own time when nginx keeps few connections busy.
    """

    def handle(self, conn: Any) -> Any:
        """Answer the requests of a connection until it pauses; return what becomes of it, as the base class does."""
        kept = super().handle(conn)
        while kept is True and self.alive and _has_data(conn.sock):
            kept = super().handle(conn)
        return kept


def _has_data(connection: Any) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(LINGER_MS))
