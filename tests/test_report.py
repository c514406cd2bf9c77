"""Published results: the README's table follows the files, and a run without all its stages is not published."""

import pytest
from conftest import ROOT

from bert_textclassification.errors import UserError
from bert_textclassification.training import readme, report
from bert_textclassification.training.run_folder import RunFolder


def test_the_block_between_markers_is_found():
    assert readme.generated_block("a <!-- x -->\none\n<!-- /x --> b", "x") == "one"


def test_a_missing_marker_is_named():
    with pytest.raises(UserError, match="lacks the markers <!-- x -->"):
        readme.generated_block("nothing", "x")


def test_an_unfinished_run_is_not_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RunFolder("runs/half").record("exploration", {})
    with pytest.raises(UserError, match="lacks the stages deployment, fine_tuning, quantization_benchmark"):
        report.publish("half")


def test_sections_are_recorded_side_by_side(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.record("one", {"a": 1})
    run.record("two", {"b": 2})
    run.record("one", {"a": 3})
    assert RunFolder(tmp_path / "run").results() == {"one": {"a": 3}, "two": {"b": 2}}


def test_the_model_card_says_what_the_manifest_says(tiny_artifact):
    card = (tiny_artifact.folder / "model_card.md").read_text()
    manifest = tiny_artifact.manifest
    assert manifest.default_reason in card
    assert f"{100 * manifest.variants['int8'].accuracy['test']:.2f}" in card
    assert manifest.base_model.name in card


def test_published_results_hold_no_text_of_the_data():
    for name, result in readme.read_results(ROOT / "notebooks/results").items():
        assert "example" not in result["deployment"], name
