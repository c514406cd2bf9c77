"""Archives of a model, unpacked safely: plain files with bare names, no links, a bounded size.

`tarfile` unpacks them, with its filter for data. The filter allows links, sub-folders and absolute names, which an
artifact never has: those are refused here. So is a header that is too long, which `tarfile` reads before its caller
sees it.
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
_MAX_HEADER_BYTES = 16 * 1024  # of one member, with what extends its header; a usual one has 512 to 1,536
_CHUNK = 1024 * 1024


def extract(archive: Path, scratch_dir: Path) -> Path:
    """Unpack a `.tar.gz` into a new folder below `scratch_dir` and return that.

    Raises:
        ArtifactError: the archive is damaged, unsafe or too large, or the disk is full.
    """

    def fill(folder: Path) -> None:
        try:
            with gzip.open(archive) as stream:
                _unpack(_Metered(stream), folder)
        except (EOFError, ValueError, zlib.error, tarfile.TarError, gzip.BadGzipFile) as problem:
            raise ArtifactError(
                f"{archive} is not a usable model archive ({problem}); copy it again, or pack the files of the model "
                "folder again with `tar czf model.tar.gz -C FOLDER .`."
            ) from None

    with archive.open("rb") as file:  # RFC 1952: the last four bytes are the expanded size modulo 2^32; a hint only
        file.seek(max(0, archive.stat().st_size - 4))
        size = int.from_bytes(file.read(4), "little")
    return in_fresh_folder(scratch_dir, str(archive), size, fill)


def in_fresh_folder(scratch_dir: Path, source: str, size: int, fill: Callable[[Path], None]) -> Path:
    """Return a new folder that `fill` has filled; nothing is left of it if that fails."""
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
        shutil.rmtree(partial, ignore_errors=True)  # after the rename there is none


def safe_parts(name: str) -> list[str]:
    """Return the components of a relative name; ValueError if it could lead out of its folder."""
    parts = name.removeprefix("./").split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\\" in name or "\0" in name:
        raise ValueError(f"{name!a} is not a bare name")
    return parts


class _Tar(tarfile.TarFile):
    # The filter came with Python 3.11.4, and Debian 12 has 3.11.2, where the checks of this module stand alone.
    extraction_filter = staticmethod(getattr(tarfile, "data_filter", lambda member, path: member))


class _Metered:
    """A stream that gives no more than was allowed, so that `TarFile` reads no header or sparse map of any size."""

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
        self._take(position - self._stream.tell())  # back to the start would expand everything again
        return self._stream.seek(position)

    def _take(self, size: int) -> None:
        if not 0 <= size <= self._allowed:
            raise ValueError(f"it has a header of more than {_MAX_HEADER_BYTES:,} bytes")
        self._allowed -= size


def _unpack(stream: _Metered, folder: Path) -> None:
    """Write the plain files of a tar into `folder`, without the top folder they may share."""
    room, top_folders, count = MAX_MODEL_BYTES, set(), 0
    tar = _Tar(fileobj=stream)  # type: ignore[arg-type]  # it reads, seeks and tells
    while (member := tar.next()) is not None:
        count += 1
        if count > MAX_MEMBERS:
            raise ValueError(f"it has more than {MAX_MEMBERS} members")
        if not 0 <= member.size <= room:
            raise ValueError(f"its files have more than {MAX_MODEL_BYTES:,} bytes together")
        room -= member.size
        if not member.isdir():
            top_folders.add(top := _leave_bare_name(member))
            if "/" in top or len(top_folders) > 1 or (folder / member.name).exists():
                raise ValueError(f"{member.name!a} is in a second folder or there twice")
            stream.allow(member.size)
            tar.extract(member, folder, set_attrs=False)
        stream.allow(_MAX_HEADER_BYTES)
    _check_end(stream)


def _leave_bare_name(member: tarfile.TarInfo) -> str:
    """Take the folder from the name of a plain file and return it; ValueError for what is no plain file."""
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise ValueError(f"{member.name!a} is not a plain file")
    *top, member.name = safe_parts(member.name)
    return "/".join(top)


def _check_end(stream: _Metered) -> None:
    """Refuse what `TarFile` takes for the end: a damaged header, and the end of the file."""
    if len(stream.last) < tarfile.BLOCKSIZE:
        raise EOFError("it ends too early")
    stream.allow(_CHUNK)
    if stream.last.strip(b"\0") or stream.read(_CHUNK).strip(b"\0"):  # to the end, so that gzip checks its sum
        raise ValueError("something follows its end")
