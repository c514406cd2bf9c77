"""Measuring: every contender sees every text in every round, and ratios are taken within a round."""

import numpy as np
import pandas as pd
import pytest

from bert_textclassification.training import benchmark


def test_rounds_are_interleaved_and_start_with_another_contender():
    order = []
    contenders = {name: lambda ids, name=name: order.append((name, ids[0])) for name in ("a", "b")}
    times = benchmark.time_interleaved(contenders, [[1], [2]], rounds=2)
    measured = order[-8:]
    assert measured == [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 1), ("b", 2), ("a", 1), ("a", 2)]
    assert all(own.shape == (2, 2) and (own > 0).all() for own in times.values())


def test_the_speed_up_is_the_median_of_the_ratios_of_each_round():
    times = {
        "slow": np.array([[2.0, 4.0], [20.0, 40.0], [3.0, 3.0]]),
        "fast": np.array([[1.0, 1.0], [5.0, 5.0], [1.0, 1.0]]),
    }
    table = benchmark.latency_table(times, baseline="slow")
    assert table.loc["fast", "speedup"] == 3.0
    assert (table.loc["fast", "speedup_low"], table.loc["fast", "speedup_high"]) == (3.0, 6.0)
    assert table.loc["slow", "speedup"] == 1.0


def test_the_contenders_agree_on_the_answers(tiny_fine_tuned, tiny_artifact):
    contenders = benchmark.contenders(tiny_fine_tuned.model(), tiny_artifact, threads=1)
    answers = {name: np.asarray(run([2, 9, 14, 3])) for name, run in contenders.items()}
    reference = answers.pop(benchmark.TORCH)
    for name, answer in answers.items():
        np.testing.assert_allclose(answer, reference, atol=0.2 if "int8" in name else 1e-5)


def test_a_sample_is_drawn_by_the_seed_and_keeps_every_length():
    texts = [[number] for number in range(100)]
    assert benchmark.sample_stream(texts, 10, seed=1) == benchmark.sample_stream(texts, 10, seed=1)
    assert sorted(benchmark.sample_stream(texts, 1000, seed=1)) == texts


def test_the_machine_is_described():
    described = benchmark.machine()
    assert described["processor"]
    assert described["cores"] >= 1


def test_requests_are_timed_over_http(tiny_server):
    latencies = benchmark.time_requests(tiny_server.port, ["one text", "another one"] * 5)
    assert len(latencies["samples"]) == 10
    assert 0 < latencies["p50"] <= latencies["p95"] <= latencies["p99"]
    with pytest.raises(RuntimeError, match="answered 400"):
        benchmark.time_requests(tiny_server.port, [" "])


def test_the_sentence_about_what_is_served_has_the_figures_of_its_table(tiny_artifact):
    manifest = tiny_artifact.manifest
    rows = {benchmark.TORCH: 1.0, "fp32": 1.4, "int8": 5.0, "int8_onnx": 4.0}
    table = pd.DataFrame(
        {name: {"speedup": one, "speedup_low": one - 0.2, "speedup_high": one + 0.2} for name, one in rows.items()}
    ).T
    assert benchmark.served_sentence(manifest, table) == (
        "int8 is served: 5.0 times the speed of torch fp32 (4.8 to 5.2 between rounds)."
    )
    table.loc["int8_onnx"] *= 2
    assert "int8_onnx is faster in these rounds (8.0 times)" in benchmark.served_sentence(manifest, table)
    lossy = manifest.variants["int8_onnx"].model_copy(update={"verdict": "loses 3.00 points of accuracy"})
    refused = manifest.model_copy(update={"variants": manifest.variants | {"int8_onnx": lossy}})
    sentence = benchmark.served_sentence(refused, table)
    assert sentence.endswith("between rounds). int8_onnx loses 3.00 points of accuracy.")
