"""The artifact on disk: a damaged one is rejected with one sentence that names the file and the remedy."""

import itertools
import json
import os
import re
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bert_textclassification.artifact.hashing import sha256_of
from bert_textclassification.artifact.manifest import (
    SCORE_EDGES,
    TOKEN_EDGES,
    Decision,
    Histogram,
    Manifest,
    Processor,
    Reference,
)
from bert_textclassification.artifact.store import Artifact, pack, parse_manifest
from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving.predictor import Predictor

MANIFESTS = Path(__file__).parent / "manifests"
_NO_SCHEMAS = ("null", "true", "0", "-1", "1.5", '"2"', "[2]")


def test_a_whole_artifact_loads(tiny_artifact):
    artifact = Artifact.load(tiny_artifact.folder)
    assert artifact.manifest == tiny_artifact.manifest
    assert set(artifact.manifest.variants) == {"fp32", "int8", "int8_onnx"}
    assert artifact.model_path("fp32").name == "fp32.onnx"


def test_the_version_follows_the_manifest(copied_artifact):
    before = Artifact.load(copied_artifact).version
    assert Artifact.load(copied_artifact).version == before
    _edit_manifest(copied_artifact, seed=7)
    assert Artifact.load(copied_artifact).version != before


def test_a_missing_folder_is_named_with_the_remedy(tmp_path):
    message = _error(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in message
    assert "MODEL_DIR" in message


def test_a_file_in_place_of_the_folder_is_refused(tiny_artifact):
    assert "There is no model folder" in _error(tiny_artifact.folder / "fp32.onnx")


def test_a_folder_without_a_manifest_is_not_finished(copied_artifact):
    (copied_artifact / "manifest.json").unlink()
    message = _error(copied_artifact)
    assert "has no manifest.json" in message
    assert "train again" in message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xfa", b'{"schema_version": 1'])
def test_a_manifest_that_is_not_json_is_named(copied_artifact, content):
    (copied_artifact / "manifest.json").write_bytes(content)
    message = _error(copied_artifact)
    assert "manifest.json is not valid JSON" in message
    assert "copy the artifact again" in message


@pytest.mark.parametrize(
    "content", ["[]", "null", "{}", *(f'{{"schema_version": {version}}}' for version in _NO_SCHEMAS)]
)
def test_a_manifest_without_a_schema_version_is_named(copied_artifact, content):
    (copied_artifact / "manifest.json").write_text(content)
    message = _error(copied_artifact)
    assert "manifest.json has the schema version" in message
    assert "copy it again" in message


@pytest.mark.parametrize("version", [3, 40])
def test_a_newer_schema_is_named_with_both_versions(copied_artifact, version):
    _edit_manifest(copied_artifact, schema_version=version, labels="of another form")
    message = _error(copied_artifact)
    assert f"was written by a newer release: it has schema version {version} and this release reads up to 2" in message
    assert "serve it with the release that trained it" in message


@pytest.mark.parametrize("needs", [{"engine": "of_tomorrow"}, {"precision": "int4"}])
def test_a_variant_that_needs_a_newer_release_is_left_out_unless_it_is_the_default(copied_artifact, caplog, needs):
    manifest = _manifest(copied_artifact)
    known = {*manifest["variants"]}
    variants = manifest["variants"] | {"newer": manifest["variants"]["fp32"] | needs}
    _edit_manifest(copied_artifact, variants=variants)
    assert {*Artifact.load(copied_artifact).manifest.variants} == known
    assert "the variant newer needs a newer release and is ignored" in caplog.text
    _edit_manifest(copied_artifact, default_variant="newer")
    message = _error(copied_artifact)
    assert "was written by a newer release" in message
    assert "serve it with the release that trained it" in message


def test_an_older_server_serves_an_artifact_with_fields_it_does_not_know(copied_artifact, tiny_artifact):
    manifest = _manifest(copied_artifact)
    for record in (
        manifest, manifest["decision"], manifest["tokenizer"], manifest["measured_on"], manifest["reference"]["scores"],
        *manifest["variants"].values(), *manifest["data"].values(),
    ):  # fmt: skip
        record["of_tomorrow"] = {"unheard": ["of"]}
    (copied_artifact / "manifest.json").write_text(json.dumps(manifest))
    assert Artifact.load(copied_artifact).manifest == tiny_artifact.manifest
    assert Predictor.load(copied_artifact).predict(["hello there"]) == Predictor(tiny_artifact).predict(["hello there"])


def test_a_misspelt_field_cannot_be_written(tiny_artifact):
    fields = tiny_artifact.manifest.model_dump()
    with pytest.raises(ValidationError, match="max_lenght"):
        Manifest(**fields, max_lenght=1)
    with pytest.raises(ValidationError, match="treshold"):
        Decision(treshold=0.4)


def test_an_artifact_of_schema_1_is_served(copied_artifact, tiny_artifact):
    """The last release with schema 1 wrote this manifest; its file names are the current ones."""
    content = json.loads((MANIFESTS / "schema_1.json").read_text())
    now = _manifest(copied_artifact)
    content["tokenizer"] = now["tokenizer"]
    content["variants"] = {
        name: variant | {field: now["variants"][name][field] for field in ("file", "sha256", "size_bytes")}
        for name, variant in content["variants"].items()
    }
    (copied_artifact / "manifest.json").write_text(json.dumps(content))
    manifest = Artifact.load(copied_artifact).manifest
    assert manifest.measured_on == Processor(name="Example Processor", kind="avx512_vnni")
    assert manifest.truncation_side == "right"
    predictions = Predictor.load(copied_artifact, "fp32").predict(["hello there"])
    assert predictions[0].logits == Predictor(tiny_artifact, "fp32").predict(["hello there"])[0].logits


def test_schema_1_without_a_word_on_the_processor_is_read():
    content = json.loads((MANIFESTS / "schema_1.json").read_text())
    del content["made_on"]
    assert parse_manifest(json.dumps(content).encode(), MANIFESTS).measured_on is None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"labels": ["one"]}, "labels"),
        ({"max_length": 1}, "max_length"),
        ({"decision": {"threshold": 1.0}}, "decision.threshold"),
        ({"decision": {"temperature": 0}}, "decision.temperature"),
        ({"decision": {"review_band": [0.4]}}, "decision.review_band"),
        ({"decision": {"review_band": ["low", "high"]}}, "decision.review_band"),
        ({"decision": {"review_band": [0.9, 0.1]}}, "decision"),
        ({"decision": {"review_band": [-0.1, 0.5]}}, "decision"),
        ({"decision": {"review_band": [0.5, 1.1]}}, "decision"),
        ({"truncation_side": "middle"}, "truncation_side"),
        ({"measured_on": {"kind": 1}}, "measured_on"),
    ],
)
def test_a_damaged_field_of_the_manifest_is_named(copied_artifact, change, where):
    _edit_manifest(copied_artifact, **change)
    message = _error(copied_artifact)
    assert f"manifest.json is damaged at '{where}" in message
    assert "copy it again" in message


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(copied_artifact, name):
    (copied_artifact / name).unlink()
    message = _error(copied_artifact)
    assert f"lacks {copied_artifact / name}" in message
    assert "copy the whole folder again" in message


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.safetensors", "tokenizer.json"])
def test_a_truncated_file_is_named_with_both_sizes(copied_artifact, name):
    whole = (copied_artifact / name).read_bytes()
    (copied_artifact / name).write_bytes(whole[:-1])
    message = _error(copied_artifact)
    assert f"{name} has {len(whole) - 1} bytes, but the manifest says {len(whole)}" in message
    assert "copy the artifact again" in message


@pytest.mark.parametrize("name", ["int8.safetensors", "tokenizer.json"])
def test_a_changed_byte_is_found_before_the_file_is_used(copied_artifact, name):
    _flip_a_byte(copied_artifact / name)
    with pytest.raises(ArtifactError) as problem:
        Predictor.load(copied_artifact)
    message = _one_sentence(problem.value)
    assert f"{name} does not match the SHA-256" in message
    assert "copy the artifact again" in message


def test_damage_to_one_variant_leaves_the_other_servable(copied_artifact):
    _flip_a_byte(copied_artifact / "int8.safetensors")
    assert Predictor.load(copied_artifact, "fp32").predict(["hello"])


@pytest.mark.parametrize(
    "name", ["../tokenizer.json", "/etc/passwd", "a/b.json", "..", ".hidden", "", "a\\b", "t.json\n"]
)
def test_a_file_name_with_a_path_in_it_is_refused(copied_artifact, name):
    stored = _manifest(copied_artifact)["tokenizer"]
    _edit_manifest(copied_artifact, tokenizer=stored | {"file": name})
    assert "manifest.json is damaged at 'tokenizer.file'" in _error(copied_artifact)


def test_a_variant_cannot_name_a_file_outside_either(copied_artifact):
    variants = _manifest(copied_artifact)["variants"]
    variants["int8"]["file"] = "../int8.onnx"
    _edit_manifest(copied_artifact, variants=variants)
    assert "damaged at 'variants.int8.file'" in _error(copied_artifact)


def test_an_unknown_variant_is_refused_with_the_known_ones(tiny_artifact):
    with pytest.raises(ArtifactError) as problem:
        tiny_artifact.model_path("int4")
    message = _one_sentence(problem.value)
    assert f"{tiny_artifact.folder} has no variant 'int4'" in message
    assert "choose one of: fp32, int8" in message


def test_a_default_variant_that_is_missing_is_refused_at_loading(copied_artifact):
    _edit_manifest(copied_artifact, default_variant="int4")
    message = _error(copied_artifact)
    assert "manifest.json has no entry for its default variant 'int4'" in message
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
    assert names == ["fp32.onnx", "int8.onnx", "int8.safetensors", "manifest.json", "model_card.md", "tokenizer.json"]
    assert [path.name for path in tmp_path.glob("model.tar*")] == ["model.tar.gz"]


def test_a_damaged_artifact_is_not_packed(copied_artifact, tmp_path):
    (copied_artifact / "fp32.onnx").unlink()
    with pytest.raises(ArtifactError, match="lacks"):
        pack(copied_artifact, tmp_path / "model.tar.gz")
    assert not list(tmp_path.glob("model.tar*"))


# -- the drift reference and the review band


@pytest.mark.parametrize("of", ["scores", "tokens"])
@pytest.mark.parametrize("counts", [[], [1], [1, 2, 3, 4], [1, "two", 3], [1, -2, 3], [1, 0.5, 3]])
def test_a_damaged_histogram_is_named(copied_artifact, of, counts):
    reference = _manifest(copied_artifact)["reference"]
    reference[of] = {"edges": [0.1, 0.2], "counts": counts}
    _edit_manifest(copied_artifact, reference=reference)
    assert f"manifest.json is damaged at 'reference.{of}" in _error(copied_artifact)


def test_counts_that_do_not_fit_the_edges_are_named_with_both_numbers():
    with pytest.raises(ValidationError, match="2 edges need 3 counts, not 2"):
        Histogram(edges=(0.1, 0.2), counts=(1, 2))


def test_an_artifact_without_a_reference_is_served(copied_artifact):
    stored = _manifest(copied_artifact)
    del stored["reference"]
    (copied_artifact / "manifest.json").write_text(json.dumps(stored))
    assert Artifact.load(copied_artifact).manifest.reference is None


def test_a_value_on_an_edge_counts_below_it_and_one_over_all_in_the_last_bin():
    assert Histogram.of([0.1, 0.10001, 0.2, 0.3, 7], [0.1, 0.2]).counts == (1, 2, 2)
    assert Histogram.of([], [0.1, 0.2]).counts == (0, 0, 0)


@given(values=st.lists(st.floats(0, 1)), edges=st.lists(st.floats(0, 1), unique=True).map(sorted))
def test_every_value_is_counted_once_between_its_edges(values, edges):
    bounds = [float("-inf"), *edges, float("inf")]
    expected = [sum(low < value <= high for value in values) for low, high in itertools.pairwise(bounds)]
    assert list(Histogram.of(values, edges).counts) == expected


def test_the_reference_has_the_bins_of_the_metrics():
    reference = Reference.of([0.05, 0.95, 0.95], [3, 8, 600])
    assert (reference.scores.edges, reference.tokens.edges) == (SCORE_EDGES, TOKEN_EDGES)
    assert (reference.scores.counts[0], reference.scores.counts[-1]) == (1, 2)
    assert (reference.tokens.counts[0], reference.tokens.counts[-1]) == (2, 1)


@pytest.mark.parametrize("band", [None, (0.0, 1.0), (0.4, 0.6), (0.5, 0.5)])
def test_a_review_band_survives_the_way_through_the_manifest(band):
    decision = Decision(review_band=band)
    assert Decision.model_validate_json(decision.model_dump_json()) == decision
    assert decision.review_band == band


def _error(folder):
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


def test_a_manifest_that_is_a_folder_is_reported_in_one_sentence(copied_artifact):
    (copied_artifact / "manifest.json").unlink()
    (copied_artifact / "manifest.json").mkdir()
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read \(Is a directory\); let this user read"):
        Artifact.load(copied_artifact)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json", "."])
def test_unreadable_files_are_reported_in_one_sentence(copied_artifact, name):
    (copied_artifact / name).chmod(0)
    try:
        with pytest.raises(ArtifactError, match=r"cannot be read \(Permission denied\); let this user read"):
            Artifact.load(copied_artifact).tokenizer_path()
    finally:
        (copied_artifact / name).chmod(0o755)
