"""Progress bars, the same for a terminal, a notebook and a log.

A bar redraws its one line with a carriage return. Terminals and JupyterLab show that as one line that moves; the
pipeline keeps only the last state of it in an executed notebook.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

INTERVAL = "TQDM_MININTERVAL"  # tqdm's own variable: the pipeline sets it for its kernels, which see no terminal
LIVE_SECONDS, LOG_SECONDS = 0.5, 10.0


def progress(items: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """Return a tqdm bar on stderr over `items`, or of `total`; `options` are tqdm's."""
    return tqdm(items, file=sys.stderr, mininterval=float(os.environ.get(INTERVAL, seconds_between())), **options)


def seconds_between() -> float:
    """Return how long a bar waits between updates: in a log each of them is a line of its own."""
    is_kernel = "ipykernel" in sys.modules
    return LIVE_SECONDS if is_kernel or sys.stderr.isatty() else LOG_SECONDS
