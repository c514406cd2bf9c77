"""Models of the Hugging Face Hub: a small server that redirects weights to another host, as the hub does."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bert_textclassification.artifact.store import Artifact, pack
from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving import object_stores
from bert_textclassification.serving.model_source import locate

pytest.importorskip("obstore", reason="pip install obstore")
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz"  # noqa: S105 - of no account


class _Server(ThreadingHTTPServer):
    """Files by the path of their address, or where each is to be fetched instead, and what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.files: dict[str, bytes] = {}
        self.elsewhere = ""  # address of the server that has the weights
        self.secret = ""  # refuses who does not send it
        self.seconds = 0.0  # before each answer
        self.seen: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_) -> None:  # a client that no longer waits closes the connection
        pass


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        authorization = self.headers["Authorization"]
        self.server.seen.append((self.path, authorization))
        time.sleep(self.server.seconds)
        name = self.path.partition("?")[0]
        if self.server.secret and authorization != f"Bearer {self.server.secret}":
            self._answer(401, b"Invalid username or password.")
        elif self.server.elsewhere and name.endswith((".onnx", ".tar.gz")):
            self._answer(302, b"", {"Location": f"{self.server.elsewhere}{name}?X-Amz-Signature=signed"})
        elif name in self.server.files:
            self._answer(200, self.server.files[name])
        else:
            self._answer(404, b"Entry not found")

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@contextmanager
def running():
    with _Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def weights():
    """The host that the hub sends a client to for large files."""
    with running() as server:
        yield server


@pytest.fixture
def hub(weights, monkeypatch):
    with running() as server:
        server.elsewhere = weights.address
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


def publish(hub, weights, folder: Path, base: str) -> None:
    for path in folder.iterdir():
        (weights if path.suffix == ".onnx" else hub).files[f"{base}/{path.name}"] = path.read_bytes()


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("hf://owner/repo", "/owner/repo/resolve/main"),
        ("HF://owner/repo/", "/owner/repo/resolve/main"),
        ("hf://owner/repo.name@v1.0", "/owner/repo.name/resolve/v1.0"),
        ("hf://owner/repo@refs%2Fpr%2F1/a b/v1/", "/owner/repo/resolve/refs%2Fpr%2F1/a%20b/v1"),
    ],
)
def test_the_files_that_the_manifest_names_are_downloaded(hub, weights, tiny_artifact, scratch, address, base):
    publish(hub, weights, tiny_artifact.folder, base)
    folder = locate(address, scratch)
    artifact = Artifact.load(folder)
    assert artifact.version == tiny_artifact.version
    assert artifact.model_path(artifact.manifest.default_variant).is_file()
    assert list(scratch.iterdir()) == [folder]


def test_an_archive_in_a_repository_is_extracted(hub, weights, tiny_artifact, tmp_path, scratch):
    archive = pack(tiny_artifact.folder, tmp_path / "model.tar.gz")
    weights.files["/owner/repo/resolve/main/v1/model.tar.gz"] = archive.read_bytes()
    folder = locate("hf://owner/repo/v1/model.tar.gz", scratch)
    assert Artifact.load(folder).version == tiny_artifact.version
    assert list(scratch.iterdir()) == [folder]


def test_the_token_goes_to_the_hub_and_nowhere_else(hub, weights, tiny_artifact, scratch, monkeypatch):
    publish(hub, weights, tiny_artifact.folder, "/owner/repo/resolve/main")
    hub.secret = TOKEN
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n")
    locate("hf://owner/repo", scratch)
    assert {authorization for _, authorization in hub.seen} == {f"Bearer {TOKEN}"}
    assert weights.seen[0][0].endswith("?X-Amz-Signature=signed")
    assert {authorization for _, authorization in weights.seen} == {None}


@pytest.mark.parametrize("token", ["hf_of_somebody_else", "hf_with\x07a_control_character"])
def test_a_refusal_names_the_variable_and_not_the_token(hub, scratch, monkeypatch, caplog, token):
    hub.secret = TOKEN
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ArtifactError, match=r"^hf://owner/repo cannot be read as a model .*HF_TOKEN") as refusal:
        locate("hf://owner/repo", scratch)
    assert "\n" not in str(refusal.value)
    assert token[3:] not in str(refusal.value) + caplog.text
    assert not scratch.exists()


def test_a_signed_address_stays_out_of_the_message(hub, weights, tiny_artifact, scratch):
    publish(hub, weights, tiny_artifact.folder, "/owner/repo/resolve/main")
    weights.files.clear()
    with pytest.raises(ArtifactError, match=r"^hf://owner/repo cannot be read .*not found") as refusal:
        locate("hf://owner/repo", scratch)
    assert "signed" not in str(refusal.value)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    "address", ["hf://", "hf://repo", "hf://owner/repo@", "hf://owner/repo?token=x", "hf://../repo"]
)
def test_an_incomplete_address_is_refused(hub, scratch, address):
    with pytest.raises(ArtifactError, match=r"write hf://OWNER/REPO, .*@REVISION/PATH"):
        locate(address, scratch)
    assert hub.seen == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size_bytes": 7}, "does not have the 7 bytes that it was listed with"),
        ({"size_bytes": -1}, "must hold 1 to 64 objects"),
        ({"size_bytes": 5 * 1024**3}, "at most 4,294,967,296 bytes together"),
        ({"file": "../evil"}, r"hf://owner/repo/manifest\.json is damaged"),
    ],
)
def test_a_manifest_that_is_not_to_be_trusted_is_refused(hub, weights, tiny_artifact, scratch, changes, reason):
    publish(hub, weights, tiny_artifact.folder, "/owner/repo/resolve/main")
    manifest = json.loads(hub.files["/owner/repo/resolve/main/manifest.json"])
    manifest["tokenizer"] |= changes
    hub.files["/owner/repo/resolve/main/manifest.json"] = json.dumps(manifest).encode()
    with pytest.raises(ArtifactError, match=reason):
        locate("hf://owner/repo", scratch)
    assert not scratch.exists() or list(scratch.iterdir()) == []


def test_a_store_that_does_not_answer_is_given_up(hub, scratch, monkeypatch):
    bound_s = sum(
        limit.total_seconds()
        for limit in (object_stores.CONNECT_TIMEOUT, object_stores.READ_TIMEOUT, object_stores.RETRY_TIMEOUT)
    )
    assert bound_s < 60
    hub.seconds = 60
    monkeypatch.setattr(object_stores, "READ_TIMEOUT", object_stores.READ_TIMEOUT / 100)
    monkeypatch.setattr(object_stores, "RETRY_TIMEOUT", object_stores.RETRY_TIMEOUT / 100)
    started = time.monotonic()
    with pytest.raises(ArtifactError, match=r"^hf://owner/repo cannot be read as a model"):
        locate("hf://owner/repo", scratch)
    assert time.monotonic() - started < 30
    assert len(hub.seen) <= object_stores.MAX_RETRIES + 1
