"""From what a platform names to an artifact folder: every source, and every archive that must not be trusted."""

import errno
import gzip
import io
import random
import shutil
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import pytest

from bert_textclassification.artifact.store import Artifact, pack
from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving import archive as archives
from bert_textclassification.serving.archive import MAX_MEMBERS
from bert_textclassification.serving.model_source import locate
from bert_textclassification.serving.object_stores import SCHEMES


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"  # not there yet: locate makes it


@pytest.fixture
def archive(tiny_artifact, tmp_path: Path) -> Path:
    return pack(tiny_artifact.folder, tmp_path / "packed/model.tar.gz")


# Folders and URIs


def test_a_folder_with_an_artifact_is_returned_as_it_is(tiny_artifact, scratch):
    assert locate(str(tiny_artifact.folder), scratch) == tiny_artifact.folder
    assert not scratch.exists()


@pytest.mark.parametrize("start", ["file://", "FILE://", "file://localhost"])
def test_a_file_uri_is_percent_decoded(copied_artifact, scratch, start):
    folder = copied_artifact.rename(copied_artifact.with_name("a model, 100% ü"))
    assert locate(start + folder.as_uri().removeprefix("file://"), scratch) == folder


@pytest.mark.parametrize("below", ["classifier", "classifier/3"])
def test_the_only_artifact_one_or_two_levels_down_is_found(copied_artifact, tmp_path, scratch, below):
    nested = tmp_path / "azure" / below
    nested.parent.mkdir(parents=True)
    assert locate(str(tmp_path / "azure"), scratch) == tmp_path / "azure"  # nothing there yet
    copied_artifact.rename(nested)
    assert locate(str(tmp_path / "azure"), scratch) == nested


def test_two_artifacts_in_a_folder_are_not_chosen_from(copied_artifact, tmp_path, scratch):
    shutil.copytree(copied_artifact, tmp_path / "azure/1")
    copied_artifact.rename(tmp_path / "azure/2")
    with pytest.raises(ArtifactError, match=r"has no manifest\.json"):
        Artifact.load(locate(str(tmp_path / "azure"), scratch))


def test_hidden_folders_are_not_looked_into(copied_artifact, tmp_path, scratch):
    copied_artifact.rename(tmp_path / ".trash")
    assert locate(str(tmp_path), scratch) == tmp_path


@pytest.mark.parametrize("source", ["nowhere", "file:///nowhere", "conftest.py"])
def test_a_folder_that_is_not_there_is_left_to_the_artifact(scratch, source):
    with pytest.raises(ArtifactError, match="There is no model folder"):
        Artifact.load(locate(source, scratch))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("ftp://bucket/model", r"not ftp://; copy the model to a folder"),
        ("https://name:secret@host/model.tar.gz?signature=secret", r"not https://; copy"),
        ("azureml://jobs/1/outputs/model", r"not azureml://; copy"),
        ("file://elsewhere/model", r"another machine, elsewhere; write file:///model"),
        ("file:///a%00b.tar.gz", r"cannot be read"),
        ("x" * 5000, r"cannot be read"),
        ("/nowhere/model.tar.gz", r"cannot be read .*No such file.*MODEL_DIR"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused_with_the_remedy(scratch, source, reason):
    with pytest.raises(ArtifactError, match=reason) as refusal:
        locate(source, scratch)
    assert "secret" not in str(refusal.value)


# Archives


@pytest.mark.parametrize("name", ["model.tar.gz", "model.tgz"])
@pytest.mark.parametrize("start", ["", "file://"])
def test_an_archive_is_extracted_to_a_fresh_folder(archive, tiny_artifact, scratch, name, start):
    moved = archive.rename(archive.with_name(name))
    first, second = locate(f"{start}{moved}", scratch), locate(f"{start}{moved}", scratch)
    assert Artifact.load(first).version == Artifact.load(second).version == tiny_artifact.version
    assert Artifact.load(first).model_path("int8").parent == first
    assert sorted(scratch.iterdir()) == sorted([first, second])


@pytest.mark.parametrize("below", ["", "classifier/3"])
def test_an_archive_that_nobody_extracted_is_found_in_its_folder(archive, tiny_artifact, tmp_path, scratch, below):
    (tmp_path / "platform" / below).mkdir(parents=True)
    archive.rename(tmp_path / "platform" / below / "model.tar.gz")
    assert Artifact.load(locate(str(tmp_path / "platform"), scratch)).version == tiny_artifact.version


def test_an_extracted_artifact_goes_before_the_archive_beside_it(archive, copied_artifact, scratch):
    archive.rename(copied_artifact / "model.tar.gz")
    assert locate(str(copied_artifact), scratch) == copied_artifact


@pytest.mark.parametrize("format_name", ["gnu", "pax", "ustar", "v7"])
@pytest.mark.parametrize("inside", [".", "model"])
def test_archives_of_the_tar_command_are_understood(copied_artifact, tmp_path, scratch, format_name, inside):
    folder = copied_artifact if inside == "." else tmp_path
    command = ["tar", f"--format={format_name}", "-czf", tmp_path / "made.tar.gz", "-C", folder, inside]
    subprocess.run(command, check=True)
    assert Artifact.load(locate(str(tmp_path / "made.tar.gz"), scratch)).folder.parent == scratch


def test_file_modes_are_ours(tmp_path, scratch):
    made = _archive(tmp_path, [_plain("manifest.json", b"{}", mode=0o7777, uid=4711)])
    mode = (locate(str(made), scratch) / "manifest.json").stat().st_mode
    assert mode & 0o7111 == 0


def _plain(name: str, data: bytes = b"x", **fields) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def _special(kind: bytes, **fields) -> tuple[tarfile.TarInfo, bytes]:
    return _plain("special", b"", type=kind, **fields)


def _sparse(data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    """A sparse file as GNU tar 1.0 writes it: its map, then its parts."""
    return _plain("a", data, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"})


def _tar(members, **options) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", **options) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return content.getvalue()


def _archive(folder: Path, members, **options) -> Path:
    path = folder / "made.tar.gz"
    path.write_bytes(gzip.compress(_tar(members, **options), compresslevel=1))
    return path


def _with(header: bytes, place: int, change: bytes) -> bytes:
    """A header with some bytes replaced and its checksum right again."""
    header = header[:place] + change + header[place + len(change) :]
    return header[:148] + b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:])) + header[156:]


def _refusal(path: Path, scratch: Path) -> str:
    """The sentence that refuses the archive at `path`, of which nothing may be left, in scratch or beside it."""
    before = sorted(path.parent.iterdir())
    with pytest.raises(ArtifactError) as refusal:
        locate(str(path), scratch)
    assert sorted(scratch.iterdir()) == []
    assert [found for found in sorted(path.parent.iterdir()) if found != scratch] == before
    assert str(path) in str(refusal.value)
    return str(refusal.value)


HOSTILE = {
    "a_parent_folder": ([_plain("../evil")], "bare name"),
    "a_parent_folder_further_in": ([_plain("model/../../evil")], "bare name"),
    "a_parent_folder_after_a_dot": ([_plain("./../evil")], "bare name"),
    "only_a_parent_folder": ([_plain("..")], "bare name"),
    "an_absolute_name": ([_plain("/tmp/evil")], "bare name"),  # noqa: S108
    "an_absolute_name_after_a_dot": ([_plain(".//tmp/evil")], "bare name"),
    "a_backslash": ([_plain("..\\evil")], "bare name"),
    "an_empty_name": ([_plain("")], "bare name"),
    "a_symbolic_link": ([_special(tarfile.SYMTYPE, linkname="/etc/passwd")], "plain file"),
    "a_hard_link": ([_plain("a"), _special(tarfile.LNKTYPE, linkname="a")], "plain file"),
    "a_character_device": ([_special(tarfile.CHRTYPE, devmajor=1, devminor=5)], "plain file"),
    "a_block_device": ([_special(tarfile.BLKTYPE, devmajor=8)], "plain file"),
    "a_fifo": ([_special(tarfile.FIFOTYPE)], "plain file"),
    "a_contiguous_file": ([_special(tarfile.CONTTYPE)], "plain file"),
    "an_unknown_type": ([_special(b"Z")], "plain file"),
    "an_old_sparse_file": ([_special(tarfile.GNUTYPE_SPARSE)], "plain file"),
    "a_sparse_file": ([_sparse(b"1\n0\n1\n".ljust(512, b"\0") + b"x")], "plain file"),
    "a_sparse_file_with_a_large_map": ([_sparse(b"99999\n" + b"0\n" * 99_999)], "header of more than 16,384 bytes"),
    "a_sparse_file_without_a_map": ([_sparse(b"x")], "not a usable model archive"),
    "a_name_in_an_extended_header": ([_plain("a", pax_headers={"path": "../evil"})], "bare name"),
    "an_absolute_name_in_an_extended_header": ([_plain("a", pax_headers={"path": "/evil"})], "bare name"),
    "a_size_in_an_extended_header": ([_plain("a", pax_headers={"size": "999999999999"})], "exceed 4,294,967,296"),
    "a_size_below_zero_in_an_extended_header": ([_plain("a", pax_headers={"size": "-1536"})], "not a usable"),
    "a_large_extended_header": ([_plain("a", pax_headers={"comment": "x" * 20_000})], "header of more than"),
    "a_chain_of_extended_headers": ([_plain("a", b"", type=tarfile.XHDTYPE)] * 99, "header of more than"),
    "only_extended_headers": ([_plain("a", b"", type=tarfile.XHDTYPE)] * 9, "end of file header"),
    "a_long_name": ([_plain("a" * 20_000)], "header of more than"),
    "a_long_name_in_a_parent_folder": ([_plain("../" + "a" * 200)], "bare name"),
    "a_sub_folder_of_the_folder": ([_plain("model/code/inference.py")], "second folder"),
    "two_folders": ([_plain("one/a"), _plain("two/b")], "second folder"),
    "a_file_beside_the_folder": ([_plain("one/a"), _plain("b")], "second folder"),
    "a_file_twice": ([_plain("a"), _plain("./a")], "or a duplicate"),
    "too_many_files": ([_plain(str(n)) for n in range(MAX_MEMBERS + 1)], "more than 64 members"),
    "too_many_folders": ([_special(tarfile.DIRTYPE)] * (MAX_MEMBERS + 1), "more than 64 members"),
}


@pytest.mark.parametrize(("members", "reason"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("has_filter", [True, False])
def test_a_hostile_archive_is_refused(tmp_path, scratch, members, reason, has_filter, monkeypatch):
    if not has_filter:  # as in Python 3.11.2
        monkeypatch.setattr(archives._Tar, "extraction_filter", staticmethod(lambda member, path: member))
    assert reason in _refusal(_archive(tmp_path, members, format=tarfile.PAX_FORMAT), scratch)


@pytest.mark.parametrize("name", ["../" + "a" * 200, "/" + "a" * 200, "a" * 200 + "/../../evil"])
def test_a_hostile_gnu_long_name_is_refused(tmp_path, scratch, name):
    assert "bare name" in _refusal(_archive(tmp_path, [_plain(name)], format=tarfile.GNU_FORMAT), scratch)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path, scratch, kind):
    header = _plain("a", b"", type=kind, size=2**32)[0].tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "made.tar.gz").write_bytes(gzip.compress(header + bytes(10**6)))
    assert "header of more than 16,384 bytes" in _refusal(tmp_path / "made.tar.gz", scratch)


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_long_name_is_understood(tmp_path, scratch, format_):
    made = _archive(tmp_path, [_plain("model/" + "ä" * 120)], format=format_)
    assert [path.name for path in locate(str(made), scratch).iterdir()] == ["ä" * 120]


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path, scratch):
    content = _tar([_plain("a"), _plain("b")])
    (tmp_path / "made.tar.gz").write_bytes(gzip.compress(content[:1024] + b"x" + content[1025:]))
    assert "data follows its end" in _refusal(tmp_path / "made.tar.gz", scratch)


def test_as_many_members_as_allowed_are_extracted(tmp_path, scratch):
    members = [_plain(f"file-{n}", mtime=0.5) for n in range(MAX_MEMBERS)]  # half a second takes an extended header
    made = _archive(tmp_path, members, format=tarfile.PAX_FORMAT, pax_headers={"comment": "for all of them"})
    assert len(list(locate(str(made), scratch).iterdir())) == MAX_MEMBERS


def test_a_size_below_zero_is_refused(tmp_path, scratch):
    header = _with(_plain("a")[0].tobuf(), 124, (2**96 - 512).to_bytes(12, "big"))  # -512 in base 256
    (tmp_path / "made.tar.gz").write_bytes(gzip.compress(header))
    assert "exceed" in _refusal(tmp_path / "made.tar.gz", scratch)


# Size


def test_a_bomb_is_refused_by_its_header_before_it_is_expanded(tmp_path, scratch):
    header = _plain("manifest.json", b"", size=archives.MAX_MODEL_BYTES + 1)[0].tobuf()
    (tmp_path / "made.tar.gz").write_bytes(gzip.compress(header))  # no data at all, and it is not missed
    assert "exceed 4,294,967,296 bytes" in _refusal(tmp_path / "made.tar.gz", scratch)


def test_the_files_are_bounded_together(tmp_path, scratch, monkeypatch):
    made = _archive(tmp_path, [_plain("a", b"x" * 600), _plain("b", b"x" * 400)])
    monkeypatch.setattr(archives, "MAX_MODEL_BYTES", 1000)
    assert len(list(locate(str(made), scratch).iterdir())) == 2
    shutil.rmtree(scratch)
    monkeypatch.setattr(archives, "MAX_MODEL_BYTES", 999)
    assert "exceed 999 bytes" in _refusal(made, scratch)


def test_what_follows_the_end_is_not_expanded(tmp_path, scratch, monkeypatch):
    monkeypatch.setattr(archives, "_CHUNK", 1000)
    content = _tar([_plain("a")])
    (tmp_path / "made.tar.gz").write_bytes(gzip.compress(content + b"\0" * 10**7 + b"beyond what is read"))
    locate(str(tmp_path / "made.tar.gz"), scratch)
    (tmp_path / "made.tar.gz").write_bytes(gzip.compress(content[:1024] + b"\0" * 600 + b"hidden"))
    shutil.rmtree(scratch)
    assert "data follows its end" in _refusal(tmp_path / "made.tar.gz", scratch)


def test_a_full_disk_is_named_with_the_room_it_takes(archive, scratch, monkeypatch):
    def disk_full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "makefile", disk_full)
    message = _refusal(archive, scratch)
    assert f"needs {len(gzip.decompress(archive.read_bytes())):,} bytes" in message
    assert "SCRATCH_DIR" in message


def test_a_scratch_folder_that_cannot_be_made_is_named(archive, tmp_path):
    (tmp_path / "scratch").write_text("a file")
    with pytest.raises(ArtifactError, match=r"scratch .*File exists.*SCRATCH_DIR"):
        locate(str(archive), tmp_path / "scratch")


# Damage


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_refused(archive, scratch, share):
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    assert "copy it again" in _refusal(archive, scratch)


@pytest.mark.parametrize("content", [b"", b"\0" * 20, b"PK\x03\x04", b"\x1f\x8b", b"\x1f\x8b\x08" + b"\xff" * 30])
def test_a_file_that_is_no_archive_is_refused(tmp_path, scratch, content):
    (tmp_path / "made.tar.gz").write_bytes(content)
    assert "is not a usable model archive" in _refusal(tmp_path / "made.tar.gz", scratch)


@pytest.mark.parametrize("size", [0, 100, 512, 1024, 1500])
def test_a_tar_that_was_cut_before_it_was_compressed_is_refused(tmp_path, scratch, size):
    content = _tar([_plain("a", b"x" * 600), _plain("b")])
    (tmp_path / "made.tar.gz").write_bytes(gzip.compress(content[:size]))
    assert "is not a usable model archive" in _refusal(tmp_path / "made.tar.gz", scratch)


@pytest.mark.parametrize("seed", range(20))
def test_a_changed_byte_of_the_compressed_file_is_noticed(archive, scratch, seed):
    content = bytearray(archive.read_bytes())
    place = random.Random(seed).randrange(40, len(content))  # noqa: S311
    content[place] ^= 0x10
    archive.write_bytes(content)
    _refusal(archive, scratch)


@pytest.mark.parametrize("seed", range(100))
def test_a_changed_header_ends_in_a_refusal_or_in_plain_files(tmp_path, scratch, seed):
    header, chance = _plain("model/a")[0].tobuf(tarfile.GNU_FORMAT), random.Random(seed)  # noqa: S311
    for _ in range(chance.randrange(1, 6)):
        header = _with(header, chance.randrange(512), bytes([chance.randrange(256)]))
    content = header + b"x".ljust(512, b"\0") + _tar([_plain("b")])
    (tmp_path / "made.tar.gz").write_bytes(gzip.compress(content))
    try:
        assert all(path.is_file() for path in locate(str(tmp_path / "made.tar.gz"), scratch).iterdir())
    except ArtifactError:
        assert list(scratch.iterdir()) == []


# Object storage: obstore against moto for S3, and a small server that lists as Google's XML API and as Azure do


class _Storage(ThreadingHTTPServer):
    """Buckets of objects: {"name": {"content": bytes, ...}}; lists two a page, sends each as it is stored."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _StorageRequest)
        self.objects: dict[str, dict] = {}

    def holds(self, folder: Path, prefix: str) -> None:
        for path in folder.iterdir():
            self.objects[prefix + path.name] = {"content": path.read_bytes()}


class _StorageRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path.strip("/") == "models":
            query = parse_qs(url.query)
            page = self._page_of_azure(query) if query.get("comp") == ["list"] else self._page(query)
            self._answer(200, page.encode(), "application/xml")
        elif (name := unquote(url.path.removeprefix("/models/"))) in self.server.objects:
            self._answer(200, self.server.objects[name]["content"], "application/octet-stream", name)
        else:
            self._answer(404, b"<Error><Message>The specified bucket does not exist.</Message></Error>", "text/xml")

    do_HEAD = do_GET

    def _page(self, query: dict) -> str:
        listed, following = self._listed(query, "continuation-token")
        items = "".join(
            f"<Contents><Key>{name}</Key><Size>{size}</Size><ETag>1</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for name, size in listed
        )
        token = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
        return f"<ListBucketResult>{items}{token}</ListBucketResult>"

    def _page_of_azure(self, query: dict) -> str:
        listed, following = self._listed(query, "marker")
        items = "".join(
            f"<Blob><Name>{name}</Name><Properties><Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified>"
            f"<Etag>1</Etag><Content-Length>{size}</Content-Length><Content-Type>application/octet-stream</Content-Type>"
            "<BlobType>BlockBlob</BlobType></Properties></Blob>"
            for name, size in listed
        )
        return f"<EnumerationResults><Blobs>{items}</Blobs><NextMarker>{following}</NextMarker></EnumerationResults>"

    def _listed(self, query: dict, page: str) -> tuple[list[tuple[str, int]], str]:
        """Return name and size of two objects, and the token of the next page, empty after the last."""
        objects = self.server.objects
        names = sorted(name for name in objects if name.startswith(query.get("prefix", [""])[0]))
        start = int(query.get(page, ["0"])[0])
        sizes = [(name, objects[name].get("size", len(objects[name]["content"]))) for name in names[start : start + 2]]
        return sizes, str(start + 2) if names[start + 2 :] else ""

    def _answer(self, status: int, body: bytes, media_type: str, name: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", "1")
        for header, value in self.server.objects.get(name, {}).get("headers", {}).items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def storage(monkeypatch):
    pytest.importorskip("obstore", reason="pip install obstore")
    with _Storage() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("GOOGLE_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
        monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server
        server.shutdown()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_the_library_the_message_names_the_extra(scratch, monkeypatch, scheme):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ArtifactError, match=r"bert-textclassification\[object-storage\]'`, or .* set MODEL_DIR"):
        locate(f"{scheme}://models/classifier", scratch)


@pytest.mark.parametrize("address", ["s3://models/v1", "s3://models/v1/", "s3://models/packed/model.tar.gz"])
def test_a_model_in_s3_is_downloaded(aws, archive, tiny_artifact, scratch, address):
    pytest.importorskip("obstore", reason="pip install obstore")
    client = boto3.client("s3")
    client.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    for path in tiny_artifact.folder.iterdir():
        client.put_object(Bucket="models", Key=f"v1/{path.name}", Body=path.read_bytes())
    client.put_object(Bucket="models", Key="packed/model.tar.gz", Body=archive.read_bytes())
    folder = locate(address, scratch)
    assert Artifact.load(folder).version == tiny_artifact.version
    assert list(scratch.iterdir()) == [folder]
    with pytest.raises(ArtifactError, match=r"^s3://models/v2 cannot be read as a model \(it must hold 1 to 64"):
        locate("s3://models/v2", scratch)


@pytest.mark.parametrize(
    "address", ["gs://models/a b/v1", "gs://models/a b/v1/", "GS://models/a b/", "gs://models", "az://models/a b/v1"]
)
def test_the_objects_under_a_prefix_are_downloaded(storage, tiny_artifact, scratch, address):
    storage.holds(tiny_artifact.folder, "a b/v1/")
    storage.objects["a b/v1/"] = {"content": b""}  # what a console makes to show a folder
    folder = locate(address, scratch)
    assert Artifact.load(folder).model_path("int8").read_bytes() == tiny_artifact.model_path("int8").read_bytes()
    assert Artifact.load(folder).version == tiny_artifact.version


def test_a_prefix_ends_where_its_folder_ends(storage, tiny_artifact, scratch):
    storage.holds(tiny_artifact.folder, "v1/")
    storage.objects["v10/manifest.json"] = {"content": b"another model"}
    assert Artifact.load(locate("gs://models/v1", scratch)).version == tiny_artifact.version


@pytest.mark.parametrize("address", ["gs://models/v1", "gs://models/v1/model.tar.gz", "az://models/v1/model.tar.gz"])
@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_an_archive_among_the_objects_is_extracted_and_not_kept(
    storage, archive, tiny_artifact, scratch, address, encoding
):
    headers = {"Content-Encoding": encoding} if encoding else {}
    storage.objects["v1/model.tar.gz"] = {"content": archive.read_bytes(), "headers": headers}
    folder = locate(address, scratch)
    assert Artifact.load(folder).version == tiny_artifact.version
    assert list(scratch.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("name", "stored", "reason"),
    [
        ("v1/../../evil", {}, "cannot be read as a model"),
        ("v1//etc/evil", {}, "cannot be read as a model"),
        ("v1/..\\evil", {}, "not a bare name"),
        ("v1/big.onnx", {"size": archives.MAX_MODEL_BYTES}, "at most 4,294,967,296 bytes together"),
        ("v1/manifest.json", {"headers": {"Content-Encoding": "gzip"}}, "without content encoding"),
        ("v1/fp32.onnx", {"size": 7}, "does not have the 7 bytes that it was listed with"),
        ("v1/int8.onnx", {"content": b"xx", "size": 1}, "does not have the 1 bytes that it was listed with"),
        ("v1/model.tar.gz", {}, "not a usable model archive"),
        ("v2/manifest.json", {}, "must hold 1 to 64 objects"),
    ],
)
def test_objects_that_cannot_be_an_artifact_are_refused_and_nothing_is_left(storage, scratch, name, stored, reason):
    storage.objects[name] = {"content": b"x"} | stored
    storage.objects |= {"v1/a": {"content": b"x"}} if name == "v1/big.onnx" else {}
    with pytest.raises(ArtifactError, match=reason):
        locate("gs://models/v1", scratch)
    assert not scratch.exists() or list(scratch.iterdir()) == []


def test_more_objects_than_an_artifact_has_are_refused(storage, scratch):
    storage.objects = {f"v1/{n}": {"content": b"x"} for n in range(MAX_MEMBERS + 1)}
    with pytest.raises(ArtifactError, match="1 to 64 objects"):
        locate("gs://models/v1", scratch)


def test_a_bucket_that_is_not_there_is_named(storage, scratch):
    with pytest.raises(
        ArtifactError, match=r"gs://other/v1 cannot be read .*does not exist.*service account may read it"
    ):
        locate("gs://other/v1", scratch)
