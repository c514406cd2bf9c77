"""Progress bars for terminals, notebooks and logs.

A bar redraws its line with a carriage return. Terminals and JupyterLab show one line that changes; an executed notebook
keeps only its last state.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

INTERVAL = "TQDM_MININTERVAL"  # tqdm's variable: the pipeline sets it for its kernels, which have no terminal
LIVE_SECONDS, LOG_SECONDS = 0.5, 10.0


def progress(items: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """Return a tqdm bar on stderr over `items`, or of `total`; `options` are tqdm's."""
    return tqdm(items, file=sys.stderr, mininterval=float(os.environ.get(INTERVAL, seconds_between())), **options)


def seconds_between() -> float:
    """Return the seconds between two updates of a bar: longer in a log, where each update is a new line."""
    is_kernel = "ipykernel" in sys.modules
    return LIVE_SECONDS if is_kernel or sys.stderr.isatty() else LOG_SECONDS
