"""What the address of a model names in object storage: a store of obstore, and the objects to read from it.

obstore takes credentials from the usual variables of each cloud, or from the metadata service of the machine.
"""

import importlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

from bert_textclassification.artifact.store import MANIFEST, files_of, parse_manifest
from bert_textclassification.serving.archive import MAX_MEMBERS, MAX_MODEL_BYTES, SUFFIXES, safe_parts

# A store that does not answer is given up after about 40 s, so that a server without a model soon says so.
CONNECT_TIMEOUT = timedelta(seconds=5)
READ_TIMEOUT = timedelta(seconds=15)  # without a byte; obstore's default limits the whole download to 30 s
DOWNLOAD_TIMEOUT = timedelta(hours=1)
RETRY_TIMEOUT = timedelta(seconds=20)
MAX_RETRIES = 3
_MAX_MANIFEST_BYTES = 16 * 1024**2
_HUB_ADDRESS = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[^/]+))?(/(?P<path>.*))?", re.ASCII)


@dataclass(frozen=True)
class StoredObject:
    """An object by its path in the store, and its size in bytes."""

    path: str
    size: int


Objects = dict[str, StoredObject]  # by name relative to the folder of the artifact


@dataclass(frozen=True)
class Scheme:
    """What reads the addresses of a scheme, and what to check when one cannot be read."""

    open: Callable[[str], tuple[Any, Objects]]
    remedy: str


def open_bucket(scheme: str, address: str) -> tuple[Any, Objects]:
    """Return the store and the objects of `address`, which is bucket/prefix.

    Raises:
        ImportError: obstore is not installed.
        ValueError: the objects cannot be an artifact.
    """
    bucket, _, prefix = address.partition("/")
    # Google sends an object that is stored compressed as it is stored only to clients that accept that.
    headers = {"accept-encoding": "gzip"} if scheme == "gs" else {}
    endpoints = [os.environ.get(name, "") for name in _ENDPOINTS[scheme]]
    store = _obstore().from_url(f"{scheme}://{bucket}", **_connection(endpoints, headers))
    prefix = prefix.rstrip("/")
    is_archive = prefix.endswith(SUFFIXES)
    base = prefix.rpartition("/")[0] if is_archive else prefix
    listed = [store.head(prefix)] if is_archive else _listed(store, prefix)
    files = [StoredObject(item["path"], item["size"]) for item in listed if item["size"]]  # empty ones mark folders
    start = f"{base}/" if base else ""
    _check_budget(len(listed), files)
    return store, {"/".join(safe_parts(file.path.removeprefix(start))): file for file in files}


def open_hub(address: str) -> tuple[Any, Objects]:
    """Return the store and the objects of `address`, which is owner/repo[@revision][/path] of the Hugging Face Hub.

    The hub cannot be listed as a bucket: the manifest of the artifact names the other files.

    Raises:
        ArtifactError: the manifest is damaged, or from a newer release.
        ImportError: obstore is not installed.
        ValueError: the address is incomplete, or the files cannot be an artifact.
    """
    parts = _HUB_ADDRESS.fullmatch(address)
    if parts is None:
        raise ValueError("write hf://OWNER/REPO, hf://OWNER/REPO/PATH or hf://OWNER/REPO@REVISION/PATH")
    revision = quote(unquote(parts["revision"] or "main"), safe="")
    path = (parts["path"] or "").strip("/")
    store = _hub_store(f"{parts['repo']}/resolve/{revision}")
    if path.endswith(SUFFIXES):
        objects = {path.rpartition("/")[2]: StoredObject(path, store.head(path)["size"])}
    else:
        objects = _named_by_manifest(store, f"{path}/" if path else "", f"hf://{address.rstrip('/')}/{MANIFEST}")
    _check_budget(len(objects), list(objects.values()))
    return store, objects


_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
SCHEMES = {
    "s3": Scheme(partial(open_bucket, "s3"), "check the address, AWS_REGION and the credentials"),
    "gs": Scheme(partial(open_bucket, "gs"), "check the address and that the service account may read it"),
    "az": Scheme(partial(open_bucket, "az"), "check the address, AZURE_STORAGE_ACCOUNT_NAME and the credentials"),
    "hf": Scheme(open_hub, "check the address, and HF_TOKEN if the repository is not public"),
}


def _obstore() -> Any:
    return importlib.import_module("obstore.store")


def _connection(endpoints: list[str], headers: dict[str, str]) -> dict[str, Any]:
    """Return the options of every store: bounded in time, and HTTPS except to an endpoint that is set to http://."""
    client = {
        "connect_timeout": CONNECT_TIMEOUT,
        "read_timeout": READ_TIMEOUT,
        "timeout": DOWNLOAD_TIMEOUT,
        "allow_http": any(endpoint.lower().startswith("http://") for endpoint in endpoints),
        "default_headers": headers,
    }
    return {
        "client_options": client,
        "retry_config": {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT},
    }


def _hub_store(path: str) -> Any:
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    token = os.environ.get("HF_TOKEN", "").strip()
    headers = {"accept-encoding": "identity"} | ({"authorization": f"Bearer {token}"} if token else {})
    return _obstore().HTTPStore(f"{endpoint}/{path}", **_connection([endpoint], headers))


def _listed(store: Any, prefix: str) -> list[Any]:
    """List the objects in the folder `prefix`, not more than one page beyond the limit."""
    listed: list[Any] = []
    for page in store.list(prefix or None, chunk_size=MAX_MEMBERS + 1):
        listed += page
        if len(listed) > MAX_MEMBERS:
            break
    return listed


def _named_by_manifest(store: Any, folder: str, source: str) -> Objects:
    """Return the manifest in `folder` and the files that it names."""
    reply = store.get(folder + MANIFEST)
    if reply.meta["size"] > _MAX_MANIFEST_BYTES:
        raise ValueError(f"its {MANIFEST} has more than {_MAX_MANIFEST_BYTES:,} bytes")
    raw = bytes(reply.bytes())
    files = {stored.file: stored.size_bytes for stored in files_of(parse_manifest(raw, source))}
    return {name: StoredObject(folder + name, size) for name, size in {MANIFEST: len(raw), **files}.items()}


def _check_budget(count: int, files: list[StoredObject]) -> None:
    sizes = [file.size for file in files]
    if not files or count > MAX_MEMBERS or min(sizes) < 0 or sum(sizes) > MAX_MODEL_BYTES:
        raise ValueError(f"it must hold 1 to {MAX_MEMBERS} objects of at most {MAX_MODEL_BYTES:,} bytes together")
