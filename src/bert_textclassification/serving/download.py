"""Models downloaded from Amazon S3, Google Cloud Storage, Azure Blob Storage and the Hugging Face Hub."""

import re
from pathlib import Path
from typing import Any

from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving.archive import SUFFIXES, in_fresh_folder
from bert_textclassification.serving.object_stores import SCHEMES, StoredObject

ELSEWHERE = "copy the model to a folder and set MODEL_DIR to that"
_CHUNK = 1024 * 1024


def download(scheme: str, address: str, scratch_dir: Path) -> Path:
    """Return a new folder with the objects that `address` names; `scheme` is one of `SCHEMES`.

    Raises:
        ArtifactError: the library is missing, or the objects cannot be read or are no artifact.
        OSError: the disk cannot be written.
    """
    source = f"{scheme}://{address}"

    def fill(folder: Path) -> None:
        for name, stored in objects.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _fetch(store, stored, folder / name)

    try:
        store, objects = SCHEMES[scheme].open(address)
        return in_fresh_folder(scratch_dir, source, sum(stored.size for stored in objects.values()), fill)
    except ImportError:
        raise ArtifactError(
            f"{source} needs obstore; `pip install 'bert-textclassification[object-storage]'`, or {ELSEWHERE}."
        ) from None
    except Exception as problem:  # obstore raises many kinds; one with an error number is of the local disk
        if isinstance(problem, ArtifactError) or getattr(problem, "errno", None) is not None:
            raise
        raise ArtifactError(
            f"{source} cannot be read as a model ({_in_one_line(problem)}); {SCHEMES[scheme].remedy}, or {ELSEWHERE}."
        ) from None  # the cause may hold a signed address


def _fetch(store: Any, stored: StoredObject, path: Path) -> None:
    """Write an object to `path`; ValueError if it is not as long as it was listed."""
    reply = store.get(stored.path)
    if reply.attributes.get("Content-Encoding") and not path.name.endswith(SUFFIXES):
        raise ValueError(f"{stored.path!a} is stored compressed: upload it without content encoding")
    received = 0
    with path.open("xb") as file:
        for chunk in reply.stream(min_chunk_size=_CHUNK):
            received += len(chunk)
            if received > stored.size:
                break
            file.write(chunk)
    if received != stored.size:
        raise ValueError(f"{stored.path!a} does not have the {stored.size:,} bytes that it was listed with")


def _in_one_line(problem: Exception) -> str:
    """Return what obstore says without its debugging lines and without the query of an address, which may be signed."""
    text = str(problem).partition("Debug source:")[0]
    return re.sub(r"\?[^\s\"')]*", "", " ".join(text.split()))[:500]
