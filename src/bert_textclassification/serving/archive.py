"""Unpack model archives safely: plain files with bare names, no links, a bounded size.

`tarfile` unpacks them with its data filter. The filter allows links, sub-folders and absolute names, which an artifact
never has: this module rejects them. It also bounds the size of a header, which `tarfile` reads before the caller does.
"""

import errno
import gzip
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from bert_textclassification.errors import ArtifactError

MAX_MODEL_BYTES = 4 * 1024**3
MAX_MEMBERS = 64
SUFFIXES = (".tar.gz", ".tgz")
_MAX_HEADER_BYTES = 16 * 1024  # of one member, with its extended headers; a usual one has 512 to 1,536
_CHUNK = 1024 * 1024


def extract(archive: Path, scratch_dir: Path) -> Path:
    """Unpack a `.tar.gz` into a new folder below `scratch_dir` and return the folder.

    Raises:
        ArtifactError: the archive is damaged, unsafe or too large, or the disk is full.
    """

    def fill(folder: Path) -> None:
        try:
            with gzip.open(archive) as stream:
                _unpack(_LimitedStream(stream), folder)
        except (EOFError, ValueError, zlib.error, tarfile.TarError, gzip.BadGzipFile) as problem:
            raise ArtifactError(
                f"{archive} is not a usable model archive ({problem}); copy it again, or pack the files of the model "
                "folder again with `tar czf model.tar.gz -C FOLDER .`."
            ) from None

    with archive.open("rb") as file:  # RFC 1952: the last four bytes are the expanded size modulo 2^32: only a hint
        file.seek(max(0, archive.stat().st_size - 4))
        size = int.from_bytes(file.read(4), "little")
    return in_fresh_folder(scratch_dir, str(archive), size, fill)


def in_fresh_folder(scratch_dir: Path, source: str, size: int, fill: Callable[[Path], None]) -> Path:
    """Create a folder, fill it with `fill` and return it; remove it if `fill` fails."""
    scratch_dir.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="model-", suffix=".partial", dir=scratch_dir))
    try:
        fill(partial)
        return partial.rename(partial.with_suffix(""))
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ArtifactError(
            f"The disk of {scratch_dir} is too full for {source}, which needs {size:,} bytes; make room, or choose "
            "another folder with SCRATCH_DIR."
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # it no longer exists after the rename


def safe_parts(name: str) -> list[str]:
    """Return the components of a relative name; ValueError if it could leave its folder."""
    parts = name.removeprefix("./").split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\\" in name or "\0" in name:
        raise ValueError(f"{name!a} is not a bare name")
    return parts


class _Tar(tarfile.TarFile):
    # Python 3.11.4 added the filter; Debian 12 has 3.11.2, where only the checks of this module apply.
    extraction_filter = staticmethod(getattr(tarfile, "data_filter", lambda member, path: member))


class _LimitedStream:
    """A stream with a read budget, so that `TarFile` cannot read a header or sparse map of unbounded size."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream, self._allowed, self.last = stream, _MAX_HEADER_BYTES, b""

    def allow(self, size: int) -> None:
        """Let the next `size` bytes be read, and no more."""
        self._allowed = size

    def read(self, size: int) -> bytes:
        self._take(size)
        self.last = self._stream.read(size)
        return self.last

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, position: int) -> int:
        self._take(position - self._stream.tell())  # a backward seek would decompress everything again
        return self._stream.seek(position)

    def _take(self, size: int) -> None:
        if not 0 <= size <= self._allowed:
            raise ValueError(f"it has a header of more than {_MAX_HEADER_BYTES:,} bytes")
        self._allowed -= size


def _unpack(stream: _LimitedStream, folder: Path) -> None:
    """Write the plain files of a tar into `folder`, without their common top folder."""
    room, top_folders, count = MAX_MODEL_BYTES, set(), 0
    tar = _Tar(fileobj=stream)  # type: ignore[arg-type]  # it reads, seeks and tells
    while (member := tar.next()) is not None:
        count += 1
        if count > MAX_MEMBERS:
            raise ValueError(f"it has more than {MAX_MEMBERS} members")
        if not 0 <= member.size <= room:
            raise ValueError(f"its files exceed {MAX_MODEL_BYTES:,} bytes in total")
        room -= member.size
        if not member.isdir():
            top_folders.add(top := _strip_folder(member))
            if "/" in top or len(top_folders) > 1 or (folder / member.name).exists():
                raise ValueError(f"{member.name!a} is in a second folder or a duplicate")
            stream.allow(member.size)
            tar.extract(member, folder, set_attrs=False)
        stream.allow(_MAX_HEADER_BYTES)
    _check_end(stream)


def _strip_folder(member: tarfile.TarInfo) -> str:
    """Remove the folder from the name of a plain file and return it; ValueError if it is not a plain file."""
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise ValueError(f"{member.name!a} is not a plain file")
    *top, member.name = safe_parts(member.name)
    return "/".join(top)


def _check_end(stream: _LimitedStream) -> None:
    """Raise an error if `TarFile` stopped at a damaged header or a truncated file, not at the end marker."""
    if len(stream.last) < tarfile.BLOCKSIZE:
        raise EOFError("it is truncated")
    stream.allow(_CHUNK)
    if stream.last.strip(b"\0") or stream.read(_CHUNK).strip(b"\0"):  # to the end, so that gzip verifies its checksum
        raise ValueError("data follows its end")
