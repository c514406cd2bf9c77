"""Caches of the Hugging Face libraries where the home folder cannot be written.

A container that runs as any user ID (`docker run --user 12345`) has HOME=/ , and the libraries create their cache
folders there even for what they keep in memory.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def use_writable_caches() -> None:
    """Point HF_HOME to a temporary folder if its own cannot be written; before the libraries are imported.

    Models and a token that are already there stay in use.
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
