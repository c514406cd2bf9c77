"""The artifact on disk: whatever is damaged is refused with one sentence that names the file and the remedy."""

import json
import re
import tarfile

import pytest

from bert_textclassification.artifact import Artifact, pack, sha256_of
from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving.predictor import Predictor


def test_a_whole_artifact_loads(tiny_artifact):
    artifact = Artifact.load(tiny_artifact.folder)
    assert artifact.manifest == tiny_artifact.manifest
    assert set(artifact.manifest.variants) == {"fp32", "int8"}
    assert artifact.model_path("fp32").name == "fp32.onnx"


def test_the_version_follows_the_manifest(copied_artifact):
    before = Artifact.load(copied_artifact).version
    assert Artifact.load(copied_artifact).version == before
    _edit_manifest(copied_artifact, seed=7)
    assert Artifact.load(copied_artifact).version != before


def test_a_missing_folder_is_named_with_the_remedy(tmp_path):
    message = _refusal(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in message
    assert "MODEL_DIR" in message


def test_a_file_in_place_of_the_folder_is_refused(tiny_artifact):
    assert "There is no model folder" in _refusal(tiny_artifact.folder / "fp32.onnx")


def test_a_folder_without_a_manifest_is_not_finished(copied_artifact):
    (copied_artifact / "manifest.json").unlink()
    message = _refusal(copied_artifact)
    assert "has no manifest.json" in message
    assert "train again" in message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xfa", b'{"schema_version": 1'])
def test_a_manifest_that_is_not_json_is_named(copied_artifact, content):
    (copied_artifact / "manifest.json").write_bytes(content)
    message = _refusal(copied_artifact)
    assert "manifest.json is not valid JSON" in message
    assert "copy the artifact again" in message


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"schema_version": 2}', '{"schema_version": "1"}'])
def test_a_manifest_of_another_schema_is_named_with_both_versions(copied_artifact, content):
    (copied_artifact / "manifest.json").write_text(content)
    message = _refusal(copied_artifact)
    assert "manifest.json has schema version" in message
    assert "this release reads 1" in message
    assert "train again" in message


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"labels": ["one"]}, "labels"),
        ({"max_length": 1}, "max_length"),
        ({"decision": {"threshold": 1.0}}, "decision.threshold"),
        ({"decision": {"temperature": 0}}, "decision.temperature"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_a_damaged_field_of_the_manifest_is_named(copied_artifact, change, where):
    _edit_manifest(copied_artifact, **change)
    message = _refusal(copied_artifact)
    assert f"manifest.json is damaged at '{where}" in message
    assert "copy it again" in message


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(copied_artifact, name):
    (copied_artifact / name).unlink()
    message = _refusal(copied_artifact)
    assert f"lacks {copied_artifact / name}" in message
    assert "copy the whole folder again" in message


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.onnx", "tokenizer.json"])
def test_a_truncated_file_is_named_with_both_sizes(copied_artifact, name):
    whole = (copied_artifact / name).read_bytes()
    (copied_artifact / name).write_bytes(whole[:-1])
    message = _refusal(copied_artifact)
    assert f"{name} has {len(whole) - 1} bytes where the manifest says {len(whole)}" in message
    assert "copy the artifact again" in message


@pytest.mark.parametrize("name", ["int8.onnx", "tokenizer.json"])
def test_a_changed_byte_is_found_before_the_file_is_used(copied_artifact, name):
    _flip_a_byte(copied_artifact / name)
    with pytest.raises(ArtifactError) as problem:
        Predictor.load(copied_artifact)
    message = _one_sentence(problem.value)
    assert f"{name} does not match the SHA-256" in message
    assert "copy the artifact again" in message


def test_damage_to_one_variant_leaves_the_other_servable(copied_artifact):
    _flip_a_byte(copied_artifact / "int8.onnx")
    assert Predictor.load(copied_artifact, "fp32").predict(["hello"])


@pytest.mark.parametrize(
    "name", ["../tokenizer.json", "/etc/passwd", "a/b.json", "..", ".hidden", "", "a\\b", "t.json\n"]
)
def test_a_file_name_with_a_path_in_it_is_refused(copied_artifact, name):
    stored = _manifest(copied_artifact)["tokenizer"]
    _edit_manifest(copied_artifact, tokenizer=stored | {"file": name})
    assert "manifest.json is damaged at 'tokenizer.file'" in _refusal(copied_artifact)


def test_a_variant_cannot_name_a_file_outside_either(copied_artifact):
    variants = _manifest(copied_artifact)["variants"]
    variants["int8"]["file"] = "../int8.onnx"
    _edit_manifest(copied_artifact, variants=variants)
    assert "damaged at 'variants.int8.file'" in _refusal(copied_artifact)


def test_an_unknown_variant_is_refused_with_the_known_ones(tiny_artifact):
    with pytest.raises(ArtifactError) as problem:
        tiny_artifact.model_path("int4")
    message = _one_sentence(problem.value)
    assert f"{tiny_artifact.folder} has no variant 'int4'" in message
    assert "choose one of: fp32, int8" in message


def test_a_default_variant_that_is_missing_is_refused_at_loading(copied_artifact):
    _edit_manifest(copied_artifact, default_variant="int4")
    message = _refusal(copied_artifact)
    assert "manifest.json names the default variant 'int4', which it lacks" in message
    assert "copy it again" in message


def test_a_packed_artifact_extracts_to_one_that_answers_the_same(tiny_artifact, tmp_path):
    archive = pack(tiny_artifact.folder, tmp_path / "out" / "model.tar.gz")
    with tarfile.open(archive, "r:gz") as tar:
        tar.extractall(tmp_path / "model", filter="data")
    extracted = Predictor.load(tmp_path / "model")
    assert extracted.artifact.version == tiny_artifact.version
    assert extracted.predict(["hello there"]) == Predictor(tiny_artifact).predict(["hello there"])


def test_a_packed_artifact_has_plain_files_at_the_top_and_nothing_else(copied_artifact, tmp_path):
    (copied_artifact / "notes.txt").write_text("not part of it")
    archive = pack(copied_artifact, tmp_path / "model.tar.gz")
    with tarfile.open(archive, "r:gz") as tar:
        assert all(member.isreg() for member in tar)
        names = sorted(tar.getnames())
    assert names == ["fp32.onnx", "int8.onnx", "manifest.json", "model_card.md", "tokenizer.json"]
    assert [path.name for path in tmp_path.glob("model.tar*")] == ["model.tar.gz"]


def test_a_damaged_artifact_is_not_packed(copied_artifact, tmp_path):
    (copied_artifact / "fp32.onnx").unlink()
    with pytest.raises(ArtifactError, match="lacks"):
        pack(copied_artifact, tmp_path / "model.tar.gz")
    assert not list(tmp_path.glob("model.tar*"))


def _refusal(folder):
    with pytest.raises(ArtifactError) as problem:
        Artifact.load(folder)
    return _one_sentence(problem.value)


def _one_sentence(problem):
    message = str(problem)
    assert re.fullmatch(r"[^\n]+\.", message), message
    assert not re.search(r"\. [A-Z]", message), message
    return message


def _manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def _edit_manifest(folder, **changes):
    (folder / "manifest.json").write_text(json.dumps(_manifest(folder) | changes))


def _flip_a_byte(path):
    before = sha256_of(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert sha256_of(path) != before
