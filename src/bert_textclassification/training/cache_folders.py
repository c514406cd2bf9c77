"""Writable caches for the Hugging Face libraries if the home folder is not writable.

A container that runs as an arbitrary user ID (`docker run --user 12345`) has HOME=/, and the libraries create their
cache folders there even for data that they keep in memory.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def use_writable_caches() -> None:
    """Point HF_HOME to a temporary folder if the current one is not writable; call it before importing the libraries.

    Models and a token in the current folder stay in use.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.path.expanduser(os.environ.get("HF_HOME") or f"{cache}/huggingface"))
    if _is_writable(home):
        return
    folder = tempfile.mkdtemp(prefix="huggingface-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["HF_HOME"] = folder
    for variable, name in (("HF_HUB_CACHE", "hub"), ("HF_TOKEN_PATH", "token")):
        if (home / name).exists():
            os.environ.setdefault(variable, str(home / name))


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
