"""The ladder: its stages and their cost, the check for noise, and the published files."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from bert_textclassification import cli
from bert_textclassification.benchmarks.ladder import run as ladder
from bert_textclassification.benchmarks.ladder import serving_gains, stages
from bert_textclassification.benchmarks.ladder.stages import ALL_CORES, CACHED, PADDED_BASE, REFERENCE, TORCH
from bert_textclassification.benchmarks.ladder.tables import ladder_section, stages_frame
from bert_textclassification.engines.native import engine as native_engine
from bert_textclassification.engines.native.engine import measure_peak, read_architecture
from bert_textclassification.errors import ArtifactError
from bert_textclassification.serving.predictor import Predictor

pytestmark = pytest.mark.skipif(not native_engine.instructions(), reason="the native engine is not compiled here")
TEXTS = ["my boiler is leaking gas", "where is your shop?", "my mother is stuck in the lift", "thanks"]


@pytest.fixture(scope="module")
def steps(tiny_artifact):
    return {stage.name: stage for stage in stages.stages(tiny_artifact, cores=2)}


@pytest.fixture
def short_steps(monkeypatch):
    """Use only stages that load fast; the first is the padded one, the baseline of the comparison."""
    all_stages = stages.stages

    def few_stages(artifact, cores):
        kept = {
            stage.name: stage
            for stage in all_stages(artifact, cores)
            if stage.name in (TORCH, "int8", ALL_CORES, CACHED)
        }
        first = stages.replace(kept[TORCH], name=PADDED_BASE, variant=None, padded=128)
        return [first, *kept.values()]

    monkeypatch.setattr(ladder, "stages", few_stages)


def test_the_stages_go_from_bert_base_to_the_cache(steps, tiny_artifact):
    assert list(steps) == [
        PADDED_BASE, "torch base", "torch distil", TORCH, "fp32", "int8_onnx", "int8", ALL_CORES, CACHED
    ]  # fmt: skip
    assert (steps["torch base"].shape.num_hidden_layers, steps["torch base"].shape.hidden_size) == (12, 768)
    assert steps[TORCH].shape == read_architecture(tiny_artifact.model_path("int8"))
    assert {stage.variant for stage in steps.values()} == {None, "fp32", "int8_onnx", "int8"}


def test_sizes_and_operations_are_those_that_torch_counts():
    shape = native_engine.Architecture(
        num_hidden_layers=2,
        hidden_size=64,
        num_attention_heads=2,
        intermediate_size=128,
        vocab_size=100,
        max_position_embeddings=32,
        layer_norm_eps=1e-12,
        exit_layers=(2,),
    )
    config = BertConfig(
        vocab_size=100, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=32, attn_implementation="eager",
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False).eval()
    assert stages.parameters(shape) == sum(weights.numel() for weights in model.parameters())
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.ones((1, 11), dtype=torch.int64))
    assert stages.operations(shape, 11) == counter.get_total_flops()


def test_a_padded_model_reads_as_many_tokens_whatever_the_text(tiny_artifact, steps, monkeypatch):
    shapes = []
    forward = BertModel.forward
    monkeypatch.setattr(
        BertModel, "forward", lambda self, **inputs: shapes.append(inputs["input_ids"].shape) or forward(self, **inputs)
    )
    padded, plain = (stages.torch_answer(tiny_artifact, steps[TORCH].shape, padded) for padded in (64, 0))
    assert float(padded(TEXTS[0]).sum()) == pytest.approx(1)
    plain(TEXTS[0])
    assert shapes[0] == (1, 64)
    assert shapes[1][1] < 20


def test_a_served_stage_is_the_predictor(tiny_artifact, steps):
    assert steps["int8"].load()(TEXTS[0]) == Predictor(tiny_artifact, "int8").predict([TEXTS[0]])
    cached = steps[CACHED].load()
    assert [cached(TEXTS[0])[0].cached for _ in range(2)] == [False, True]


def test_an_artifact_without_the_native_variant_is_rejected_with_the_reason(tiny_artifact):
    manifest = tiny_artifact.manifest.model_copy(update={"variants": {}, "not_built": {"int8": "It is too round."}})
    with pytest.raises(ArtifactError, match=r"has no variant int8 for the native engine. It is too round."):
        stages.stages(type(tiny_artifact)(tiny_artifact.folder, manifest, "0"), cores=1)


def test_the_peak_is_more_than_the_engine_reaches(tiny_artifact):
    peak = measure_peak(0.2)
    assert peak > 1e9
    engine = native_engine.NativeEngine(tiny_artifact.model_path("int8"))
    ids = [[2, *range(20, 80), 3]] * 20
    _, seconds = serving_gains.timed(lambda: engine.logits(ids))
    work = 20 * stages.operations(read_architecture(tiny_artifact.model_path("int8")), 62)
    assert work / seconds < peak


def test_zipf_gives_the_second_text_half_as_often_as_the_first():
    stream = serving_gains.zipf_stream([str(number) for number in range(100)], 20_000, seed=1)
    counts = [count for _, count in Counter(stream).most_common()]
    first = 20_000 / sum(1 / rank for rank in range(1, 101))
    assert counts[0] == pytest.approx(first, rel=0.1)
    assert counts[1] == pytest.approx(first / 2, rel=0.15)


def test_rounds_that_agree_are_compared_and_others_are_not():
    steady = {PADDED_BASE: np.array([2.0, 1.0, 2.0]), "int8": np.array([200.0, 101.0, 199.0])}
    assert ladder.noise(steady) is None  # both slowed down in the same round
    noisy = steady | {"int8": np.array([200.0, 200.0, 60.0])}
    assert "speed-up of 'int8' varies by" in ladder.noise(noisy)


def test_every_text_is_timed_in_one_thread_and_in_several():
    answered = []
    for threads in (1, 3):
        times = ladder.run(answered.append, TEXTS, threads)
        assert len(times) == len(TEXTS)
        assert min(times) > 0
    assert sorted(answered) == sorted(TEXTS * 2)


def test_different_texts_are_different_and_have_the_words_of_those_given():
    texts = serving_gains.different_texts([*TEXTS, "thanks"], 500, seed=0)
    assert len(set(texts)) == len(texts) == 500
    assert set(TEXTS) <= set(texts)
    words = {tuple(sorted(text.split())) for text in TEXTS}
    assert {tuple(sorted(word for word in text.split() if not word.isdigit())) for text in texts} == words


def test_bulk_gives_the_same_scores(tiny_artifact, monkeypatch):
    monkeypatch.setattr(serving_gains, "BULK_TEXTS", 200)
    gain = serving_gains.bulk_gain(tiny_artifact, TEXTS)
    assert gain["largest_score_difference"] == 0
    assert 0 < gain["low"] <= gain["value"] <= gain["high"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed: run `make system-packages`")
@pytest.mark.usefixtures("short_steps")
def test_a_ladder_is_measured_compared_with_targets_and_published(
    tiny_artifact, tiny_data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(ladder, "LARGEST_SPREAD", 100)
    monkeypatch.setattr(serving_gains, "BULK_TEXTS", 100)
    monkeypatch.setattr(serving_gains, "STARTS", 1)
    options = ["--model", str(tiny_artifact.folder), "--data", str(tiny_data), "--texts", "5", "--rounds", "2"]
    assert cli.main(["benchmark", "ladder", *options, "--output", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "ladder.json").read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == results
    rows = {row["name"]: row for row in results["stages"]}
    assert rows[PADDED_BASE]["speedup"] == {"value": 1, "low": 1, "high": 1}
    assert rows[PADDED_BASE]["accuracy"] is None
    assert rows["int8"]["accuracy"] == tiny_artifact.manifest.variants["int8"].accuracy["test"]
    assert rows[ALL_CORES]["threads"] == results["cores"]
    assert 10 < rows["int8"]["resident_mb"] < rows[TORCH]["resident_mb"]
    assert 0 < results["cache"]["hit_share"] < 1
    assert {target["verdict"] for target in results["targets"]} <= {"reached", "MISSED"}
    section = ladder_section(results)
    assert all(row["note"] in section for row in results["stages"])
    assert (tmp_path / "ladder.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.usefixtures("short_steps")
def test_a_notebook_shows_the_stages_with_their_spread_if_it_is_too_large(tiny_artifact, monkeypatch):
    monkeypatch.setattr(ladder, "LARGEST_SPREAD", -1)
    monkeypatch.setattr(ladder, "resident_megabytes", lambda *_: 0.0)
    results = ladder.climb(tiny_artifact, TEXTS, sample=2, rounds=2)
    assert "too noisy to compare" in results["noise"]
    frame = stages_frame(results)
    assert frame.index.to_list() == [row["note"] for row in results["stages"]]
    assert frame.columns[:4].to_list() == ["speedup", "speedup_low", "speedup_high", "spread"]
    assert (frame["spread"] >= 0).all()


@pytest.mark.slow
@pytest.mark.usefixtures("short_steps")
def test_a_noisy_machine_gets_no_comparison(tiny_artifact, tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ladder, "resident_megabytes", lambda *_: 0.0)
    monkeypatch.setattr(ladder, "LARGEST_SPREAD", -1)
    options = ["--model", str(tiny_artifact.folder), "--data", str(tiny_data), "--texts", "2", "--rounds", "2"]
    assert cli.main(["benchmark", "ladder", *options, "--output", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert "too noisy to compare" in shown.err
    assert "int8 in the native engine" in shown.out  # the table, with its ranges
    assert not any(line.startswith("{") for line in shown.out.splitlines())
    assert not list(tmp_path.iterdir())


def test_the_reference_of_torch_is_the_variant_that_equals_it(steps):
    assert steps[TORCH].variant == REFERENCE
