"""Find the artifact folder of a model source: a folder, an archive, a `file://` URI or an address in object storage.

SageMaker passes a folder, Azure ML a folder that contains `<name>/<version>/`, Vertex AI `gs://bucket/prefix`.
"""

import shutil
from pathlib import Path
from urllib.parse import unquote

from bert_textclassification.artifact.store import MANIFEST
from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving.archive import SUFFIXES, extract
from bert_textclassification.serving.download import ELSEWHERE, download
from bert_textclassification.serving.object_stores import SCHEMES

_LEVELS = ("", "[!.]*/", "[!.]*/[!.]*/")  # folder, <name>/, <name>/<version>/; never hidden ones


def locate(source: str, scratch_dir: Path) -> Path:
    """Return the artifact folder of `source`; `Artifact.load` checks its content.

    Args:
        source: a folder, a `.tar.gz` or `.tgz`, the `file://` URI of one; `s3://`, `gs://` or `az://` with
            bucket/prefix; or `hf://owner/repo[@revision][/path]`.
        scratch_dir: each call unpacks or downloads into a new folder below it.

    Raises:
        ArtifactError: the source is of another kind, unreadable, damaged, unsafe or too large, or the disk is full.
    """
    scheme, separator, rest = source.partition("://")
    try:
        if not separator:
            return _on_disk(Path(source), scratch_dir)
        if scheme.lower() == "file":
            return _on_disk(_path_of_file_uri(rest), scratch_dir)
        if scheme.lower() in SCHEMES:
            return _in_object_storage(scheme.lower(), rest, scratch_dir)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in a path
        raise ArtifactError(
            f"The model at {source} cannot be read or copied to {scratch_dir} ({problem}); fix the cause, "
            "or set MODEL_DIR or SCRATCH_DIR to another folder."
        ) from problem
    # The message does not contain the address, which may include a password or a signature.
    known = ", ".join(f"{name}://" for name in ("file", *SCHEMES))
    raise ArtifactError(f"A model can be a folder, a .tar.gz, or one of {known}, not {scheme}://; {ELSEWHERE}.")


def _path_of_file_uri(rest: str) -> Path:
    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost"):
        raise ArtifactError(f"file://{rest} names another machine, {host}; write file:///{path} for a folder here.")
    return Path(unquote(slash + path))


def _on_disk(path: Path, scratch_dir: Path) -> Path:
    if path.name.endswith(SUFFIXES) and not path.is_dir():
        return extract(path, scratch_dir)
    manifests = _below(path, MANIFEST)
    if len(manifests) == 1 or path / MANIFEST in manifests:
        return manifests[0].parent
    archives = _below(path, "[!.]*.tar.gz")
    return extract(archives[0], scratch_dir) if len(archives) == 1 else path


def _below(folder: Path, pattern: str) -> list[Path]:
    return [found for level in _LEVELS for found in folder.glob(level + pattern)]


def _in_object_storage(scheme: str, address: str, scratch_dir: Path) -> Path:
    downloaded, found = download(scheme, address, scratch_dir), scratch_dir
    try:
        found = _on_disk(downloaded, scratch_dir)
        return found
    finally:
        if not found.is_relative_to(downloaded):  # it was an archive, whose unpacked copy takes as much space again
            shutil.rmtree(downloaded, ignore_errors=True)
