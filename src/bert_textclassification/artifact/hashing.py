"""The hash that verifies the files of an artifact."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
