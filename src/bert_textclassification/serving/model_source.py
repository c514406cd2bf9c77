"""From what a platform names to an artifact folder on disk: a folder, an archive, `file://` or `gs://`.

SageMaker gives a folder, Azure ML one that holds `<name>/<version>/`, Vertex AI `gs://bucket/prefix`.

Archives are read header by header and not with `TarFile`: that one interprets long names, sparse maps and extended
headers, of any size, before its caller can refuse them, and an artifact needs none of them.
"""

import errno
import gzip
import importlib
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bert_textclassification.artifact import MANIFEST
from bert_textclassification.errors import ArtifactError

MAX_MODEL_BYTES = 4 * 1024**3
MAX_MEMBERS = 64
_MAX_EXTENDED_HEADER = 16 * 1024  # bytes; a usual one has 512
_CHUNK = 1024 * 1024
_ARCHIVES = (".tar.gz", ".tgz")
_LEVELS = ("", "[!.]*/", "[!.]*/[!.]*/")  # folder, <name>/, <name>/<version>/; never hidden ones
_ELSEWHERE = "copy the model to a folder and set MODEL_DIR to that"


def locate(source: str, scratch_dir: Path) -> Path:
    """Return the folder of the artifact that `source` names; `Artifact.load` still has to check it.

    Args:
        source: a folder, a `.tar.gz` or `.tgz`, the `file://` URI of one, or `gs://bucket/prefix`.
        scratch_dir: archives and objects go to a new folder in here, at each call.

    Raises:
        ArtifactError: the source is of another kind, unreadable, damaged, unsafe or too large, or the disk is full.
    """
    scheme, separator, rest = source.partition("://")
    try:
        if not separator:
            return _on_disk(Path(source), scratch_dir)
        if scheme.lower() == "file":
            return _on_disk(_path_of_file_uri(rest), scratch_dir)
        if scheme.lower() == "gs":
            return _in_google_storage(rest, scratch_dir)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in a path
        raise ArtifactError(
            f"The model at {source} cannot be read or brought to {scratch_dir} ({problem}); mend that, or set "
            "MODEL_DIR or SCRATCH_DIR to another folder."
        ) from problem
    # The address stays out of the message: it may carry a password or a signature.
    raise ArtifactError(f"A model can be a folder, a .tar.gz, file:// or gs://, not {scheme}://; {_ELSEWHERE}.")


def _path_of_file_uri(rest: str) -> Path:
    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost"):
        raise ArtifactError(f"file://{rest} names another machine, {host}; write file:///{path} for a folder here.")
    return Path(unquote(slash + path))


def _on_disk(path: Path, scratch_dir: Path) -> Path:
    if path.name.endswith(_ARCHIVES) and not path.is_dir():
        return _extract(path, scratch_dir)
    manifests = _below(path, MANIFEST)
    if len(manifests) == 1 or path / MANIFEST in manifests:
        return manifests[0].parent
    archives = _below(path, "[!.]*.tar.gz")
    return _extract(archives[0], scratch_dir) if len(archives) == 1 else path


def _below(folder: Path, pattern: str) -> list[Path]:
    return [found for level in _LEVELS for found in folder.glob(level + pattern)]


def _in_fresh_folder(scratch_dir: Path, source: str, size: int, fill: Callable[[Path], None]) -> Path:
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


def _extract(archive: Path, scratch_dir: Path) -> Path:
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
    return _in_fresh_folder(scratch_dir, str(archive), size, fill)


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
        *top, name = _safe_parts(member.name)
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


def _safe_parts(name: str) -> list[str]:
    """Return the components of a relative name; ValueError if it could lead out of its folder."""
    parts = name.removeprefix("./").split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\\" in name or "\0" in name:
        raise ValueError(f"{name!a} is not a bare name")
    return parts


def _in_google_storage(address: str, scratch_dir: Path) -> Path:
    downloaded, found = _download(address, scratch_dir), scratch_dir
    try:
        found = _on_disk(downloaded, scratch_dir)
        return found
    finally:
        if not found.is_relative_to(downloaded):  # it was an archive, which takes as much room again
            shutil.rmtree(downloaded, ignore_errors=True)


def _download(address: str, scratch_dir: Path) -> Path:
    """Return a new folder with the objects under `address`, which is bucket/prefix."""

    def fill(folder: Path) -> None:
        for name, blob in objects.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            blob.download_to_filename(str(folder / name), raw_download=True)  # as stored: no more than was listed

    try:
        storage = importlib.import_module("google.cloud.storage")
        objects = _objects(storage.Client(project=None), address)  # reading a bucket needs no project
        return _in_fresh_folder(scratch_dir, f"gs://{address}", sum(blob.size for blob in objects.values()), fill)
    except ImportError:
        raise ArtifactError(
            f"gs://{address} needs Google's client library; `pip install google-cloud-storage`, or {_ELSEWHERE}."
        ) from None
    except Exception as problem:  # Google's libraries raise many kinds; one with an error number is of the local disk
        if isinstance(problem, ArtifactError) or getattr(problem, "errno", None) is not None:
            raise
        raise ArtifactError(
            f"gs://{address} cannot be read as a model ({problem}); check the address and that the service account "
            f"may read it, or {_ELSEWHERE}."
        ) from problem


def _objects(client: Any, address: str) -> dict[str, Any]:
    """List the objects under bucket/prefix by relative name; ValueError if they cannot be an artifact."""
    bucket, _, prefix = address.partition("/")
    base = prefix.rpartition("/")[0] if prefix.endswith(_ARCHIVES) else prefix.rstrip("/")
    base = f"{base}/" if base else ""
    start = prefix if prefix.endswith(_ARCHIVES) else base
    listed = list(islice(client.list_blobs(bucket, prefix=start), MAX_MEMBERS + 1))
    files = [blob for blob in listed if not blob.name.endswith("/")]  # consoles make empty objects as "folders"
    if not files or len(listed) > MAX_MEMBERS or sum(blob.size for blob in files) > MAX_MODEL_BYTES:
        raise ValueError(f"it must hold 1 to {MAX_MEMBERS} objects of at most {MAX_MODEL_BYTES:,} bytes together")
    for blob in files:
        if blob.content_encoding and not blob.name.endswith(_ARCHIVES):
            raise ValueError(f"{blob.name!a} is stored compressed: upload it without content encoding")
    return {"/".join(_safe_parts(blob.name.removeprefix(base))): blob for blob in files}
