"""Published results: tables are generated from the files, and an incomplete run is not published."""

import pytest

from bert_textclassification.artifact.manifest import PASSED
from bert_textclassification.errors import UserError
from bert_textclassification.training import summary
from bert_textclassification.training.runs import RunFolder
from tests.conftest import ROOT
from tools import documentation, publish
from tools.results_tables import long_texts_table, processor_kind, quality_table, speed_table


def test_the_block_between_markers_is_found():
    assert documentation.generated_block("a <!-- x -->\none\n<!-- /x --> b", "x") == "one"


def test_a_missing_marker_is_named():
    with pytest.raises(UserError, match="lacks the markers <!-- x -->"):
        documentation.generated_block("nothing", "x")


def test_an_unfinished_run_is_not_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RunFolder("runs/half").record("exploration", {})
    with pytest.raises(UserError, match="lacks the stages deployment, fine_tuning, quantization_benchmark"):
        publish.publish("half")


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


def test_the_card_compares_fp32_with_the_served_variant_and_has_the_floor_of_the_calibration_error(tiny_artifact):
    card = (tiny_artifact.folder / "model_card.md").read_text()
    default = tiny_artifact.manifest.default_variant
    heading = "|  | fp32 |" if default == "fp32" else f"|  | fp32 | {default} |"
    rows = card[card.index(heading) :].split("\n\n")[0].splitlines()[2:]
    names = ["accuracy, %", "average precision, %", "log loss, nats", "calibration error, %"]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == names
    assert f"{100 * tiny_artifact.manifest.variants['fp32'].accuracy['test']:.2f}" in rows[0]
    assert "- test: Calibration error" in card
    assert "perfectly calibrated scores measure" in card


@pytest.fixture
def results():
    """The published results of sms_spam, which have no log loss of the variants."""
    results = documentation.read_results(ROOT / "notebooks/results")["sms_spam"]
    results["quantization_benchmark"]["table"]["int8_early"] |= {"mean_ms": 0.9, "speedup": 20.0}
    return results


def with_figures(results):
    for number, variant in enumerate(results["quantization_benchmark"]["variants"].values(), start=1):
        variant["average_precision"] = {"test": 0.97 + number / 1000}
        variant["log_loss"] = {"test": number / 100}
        variant["calibration_error"] = {"test": number / 1000}
    return results


def test_the_summary_has_all_figures_of_fp32_and_the_variants(results):
    lines = summary.summary_table(with_figures(results)).splitlines()
    rows = {line[:26].strip(): line[26:].split() for line in lines if line}
    assert rows["torch fp32"][:4] == rows["fp32"][:4] == ["98.58", "97.10", "0.0100", "0.10"]
    assert rows["int8_early"][:4] == ["98.71", "97.30", "0.0300", "0.30"]
    assert rows["TF-IDF + logistic regressi"][1:] == ["97.93", "97.42"]


def test_an_older_run_without_the_figures_has_a_summary(results):
    assert "–" in summary.summary_table(results)


def test_the_sentence_about_the_served_variant_has_the_speeds_of_the_table(results):
    benchmark = results["quantization_benchmark"]
    benchmark["table"]["int8_early"] |= {"speedup": 21.04, "speedup_low": 18.4, "speedup_high": 21.7}
    sentence = summary.served_summary(benchmark)
    assert "int8_early is served: 21.0 times as fast as torch fp32 in these rounds (18.4–21.7)" in sentence
    assert "accuracy +0.13 points on test" in sentence
    assert "faster here" not in sentence
    assert sentence in summary.summary_table(results)


def test_a_faster_variant_is_named_unless_it_did_not_pass(results):
    benchmark = results["quantization_benchmark"]
    benchmark["table"]["int8"] |= {"mean_ms": 0.8}
    assert (
        "int8 was faster here, 0.80 ms a text against 0.90; when the artifact was made, it was slower"
        in summary.served_summary(benchmark)
    )
    benchmark["variants"]["int8"]["verdict"] = "loses 2.00 points of accuracy, where 0.5 are allowed"
    sentence = summary.served_summary(benchmark)
    assert "faster here" not in sentence
    assert sentence.endswith("int8 loses 2.00 points of accuracy, where 0.5 are allowed.")
    assert benchmark["variants"]["int8_onnx"]["verdict"] == PASSED


def test_the_quality_table_compares_fp32_with_the_served_variant(results):
    (row,) = quality_table({"sms": results}).splitlines()[2:]
    assert " 97.42 / 99.15 / 99.38 " in row
    assert " – / 0.0366 " in row
    assert " – / 0.84 → 1.07 " in row
    (row,) = quality_table({"sms": with_figures(results)}).splitlines()[2:]
    assert " 0.0100 / 0.0366 " in row
    assert " 0.10 / 0.84 → 1.07 " in row


def test_speeds_have_the_kind_of_processor(results):
    assert "| AMD EPYC (AVX-512 VNNI) |" in speed_table({"sms": results})
    long_texts = documentation.read_results(ROOT / "notebooks/results")["imdb_long"]
    kind = processor_kind(long_texts["quantization_benchmark"]["machine"])
    assert f"| {kind} |" in long_texts_table({"imdb": long_texts})


@pytest.mark.parametrize(
    ("instructions", "kind"),
    [
        (["avx2", "avx512f", "avx512_vnni"], "X (AVX-512 VNNI)"),
        (["avx2", "avx_vnni"], "X (AVX-VNNI)"),
        (["avx2"], "X (AVX2)"),
        (["asimddp", "i8mm"], "X (Arm i8mm)"),
        ([], "X"),
    ],
)
def test_a_processor_is_named_with_the_instructions_that_decide_the_speed_of_int8(instructions, kind):
    assert processor_kind({"processor": "X", "instructions": instructions}) == kind


def test_published_results_hold_no_text_of_the_data():
    for name, result in documentation.read_results(ROOT / "notebooks/results").items():
        assert "example" not in result["deployment"], name
