"""Archives of a model, unpacked safely: plain files with bare names, no links, a bounded size.

They are read header by header and not with `TarFile`: that one interprets long names, sparse maps and extended
headers, of any size, before its caller can refuse them, and an artifact needs none of them.
"""

import errno
import gzip
import re
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
_MAX_EXTENDED_HEADER = 16 * 1024  # bytes; a usual one has 512
_CHUNK = 1024 * 1024


def extract(archive: Path, scratch_dir: Path) -> Path:
    """Unpack a `.tar.gz` into a new folder below `scratch_dir` and return that.

    Raises:
        ArtifactError: the archive is damaged, unsafe or too large, or the disk is full.
    """

    def fill(folder: Path) -> None:
        try:
            with gzip.open(archive) as stream:
                _unpack(stream, folder)
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


def _unpack(stream: gzip.GzipFile, folder: Path) -> None:
    """Write the plain files of a tar into `folder`, without the top folder they may share."""
    room, top_folders, count = MAX_MODEL_BYTES, set(), 0
    while (member := _next_member(stream)) is not None:
        count += 1
        if count > MAX_MEMBERS:
            raise ValueError(f"it has more than {MAX_MEMBERS} members")
        if member.isdir():
            continue
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise ValueError(f"{member.name!a} is not a plain file with a short name")
        *top, name = safe_parts(member.name)
        top_folders.add("/".join(top))
        if len(top) > 1 or len(top_folders) > 1 or (folder / name).exists():
            raise ValueError(f"{member.name!a} is in a second folder or there twice")
        if not 0 <= member.size <= room:
            raise ValueError(f"its files have more than {MAX_MODEL_BYTES:,} bytes together")
        room -= member.size
        _write(stream, folder / name, member.size)
    if stream.read(_CHUNK).strip(b"\0"):  # reading to the end also makes gzip check its sum
        raise ValueError("something follows its end")


def _next_member(stream: gzip.GzipFile) -> tarfile.TarInfo | None:
    """Read up to the next header that is not an extended one; None at the end of the archive."""
    for _ in range(3):  # an extended header for the whole archive, one for this member, the member
        block = _read(stream, tarfile.BLOCKSIZE)
        if not any(block):
            return None
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if member.type not in (tarfile.XHDTYPE, tarfile.XGLTYPE):
            return member
        if not 0 <= member.size <= _MAX_EXTENDED_HEADER:
            raise ValueError("it has an extended header that is too large")
        extended = _read(stream, member.size + -member.size % tarfile.BLOCKSIZE)
        if re.search(rb" (path|size|linkpath|GNU\.sparse\.\w+)=", extended):  # times and owners do no harm
            raise ValueError("it has an extended header that renames or resizes a file")
    raise ValueError("it has too many extended headers")


def _write(stream: gzip.GzipFile, path: Path, size: int) -> None:
    with path.open("xb") as file:
        for start in range(0, size, _CHUNK):
            file.write(_read(stream, min(_CHUNK, size - start)))
    _read(stream, -size % tarfile.BLOCKSIZE)


def _read(stream: gzip.GzipFile, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("it ends too early")
    return data
