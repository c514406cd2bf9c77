"""Models in Google Cloud Storage, by Google's own client library where it is installed."""

import importlib
from itertools import islice
from pathlib import Path
from typing import Any

from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving.archive import MAX_MEMBERS, MAX_MODEL_BYTES, SUFFIXES, in_fresh_folder, safe_parts

ELSEWHERE = "copy the model to a folder and set MODEL_DIR to that"


def download(address: str, scratch_dir: Path) -> Path:
    """Return a new folder with the objects under `address`, which is bucket/prefix."""

    def fill(folder: Path) -> None:
        for name, blob in objects.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            blob.download_to_filename(str(folder / name), raw_download=True)  # as stored: no more than was listed

    try:
        storage = importlib.import_module("google.cloud.storage")
        objects = _objects(storage.Client(project=None), address)  # reading a bucket needs no project
        return in_fresh_folder(scratch_dir, f"gs://{address}", sum(blob.size for blob in objects.values()), fill)
    except ImportError:
        raise ArtifactError(
            f"gs://{address} needs Google's client library; `pip install google-cloud-storage`, or {ELSEWHERE}."
        ) from None
    except Exception as problem:  # Google's libraries raise many kinds; one with an error number is of the local disk
        if isinstance(problem, ArtifactError) or getattr(problem, "errno", None) is not None:
            raise
        raise ArtifactError(
            f"gs://{address} cannot be read as a model ({problem}); check the address and that the service account "
            f"may read it, or {ELSEWHERE}."
        ) from problem


def _objects(client: Any, address: str) -> dict[str, Any]:
    """List the objects under bucket/prefix by relative name; ValueError if they cannot be an artifact."""
    bucket, _, prefix = address.partition("/")
    base = prefix.rpartition("/")[0] if prefix.endswith(SUFFIXES) else prefix.rstrip("/")
    base = f"{base}/" if base else ""
    start = prefix if prefix.endswith(SUFFIXES) else base
    listed = list(islice(client.list_blobs(bucket, prefix=start), MAX_MEMBERS + 1))
    files = [blob for blob in listed if not blob.name.endswith("/")]  # consoles make empty objects as "folders"
    if not files or len(listed) > MAX_MEMBERS or sum(blob.size for blob in files) > MAX_MODEL_BYTES:
        raise ValueError(f"it must hold 1 to {MAX_MEMBERS} objects of at most {MAX_MODEL_BYTES:,} bytes together")
    for blob in files:
        if blob.content_encoding and not blob.name.endswith(SUFFIXES):
            raise ValueError(f"{blob.name!a} is stored compressed: upload it without content encoding")
    return {"/".join(safe_parts(blob.name.removeprefix(base))): blob for blob in files}
