"""A private folder for each running server below SCRATCH_DIR, for its sockets, metrics, log pipes and unpacked model.

Two servers on one machine share SCRATCH_DIR, and a restarted container finds the files of its previous run. The
folder's name is random because process ids repeat. A lock file in it distinguishes a folder in use from one whose
server was killed: the kernel releases the lock when the last process that holds it has ended.
"""

import fcntl
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bert_textclassification.errors import ConfigurationError

PREFIX = "server-"
LOCK = "lock"
MAX_NAME_BYTES = len(f"/{PREFIX}12345678/retry.sock")  # the longest socket path below the scratch folder
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107  # sun_path without its NUL: unix(4), unix(7)


@contextmanager
def private_folder(scratch_dir: Path) -> Iterator[tuple[Path, int]]:
    """Yield a new folder below `scratch_dir` and the descriptor of its lock; remove the folder at the end.

    Processes that inherit the descriptor keep the folder even if this process is killed. First, folders of this user
    whose processes have all ended are removed.

    Raises:
        ConfigurationError: the path is too long for a Unix socket, or the folder is not writable.
    """
    scratch_dir = scratch_dir.absolute()
    _check_path_length(scratch_dir)
    try:
        _remove_abandoned(scratch_dir)
        folder, lock = _create(scratch_dir)
    except OSError as problem:
        raise ConfigurationError(
            f"Cannot create a folder in {scratch_dir} ({problem.strerror}); set SCRATCH_DIR to a writable folder."
        ) from None
    try:
        yield folder, lock
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _check_path_length(scratch_dir: Path) -> None:
    longest = SOCKET_PATH_BYTES - MAX_NAME_BYTES
    length = len(os.fsencode(scratch_dir))
    if length > longest:
        raise ConfigurationError(
            f"The path {scratch_dir} has {length} bytes, and the limit for the sockets in it is {longest}; set "
            "SCRATCH_DIR to a shorter path, such as /tmp."
        )


def _create(scratch_dir: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=scratch_dir))
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        if _acquire(lock) and os.fstat(lock).st_nlink:  # another server may have removed it as abandoned
            return folder, lock
        os.close(lock)


def _remove_abandoned(scratch_dir: Path) -> None:
    for folder in scratch_dir.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's or program's folder, or removed in the meantime
            status = folder.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if _acquire(lock):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _acquire(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
