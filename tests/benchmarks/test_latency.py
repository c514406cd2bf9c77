"""Latency: every contender gets every text in every round, and ratios are computed within a round."""

import numpy as np
import pytest

from bert_textclassification.benchmarks import latency as benchmark
from bert_textclassification.benchmarks.capacity import planning
from bert_textclassification.benchmarks.request_latency import time_requests
from bert_textclassification.training.export import timing


def test_rounds_are_interleaved_and_start_with_different_contenders():
    order = []
    contenders = {name: lambda ids, name=name: order.append((name, ids[0])) for name in ("a", "b")}
    times = timing.time_interleaved(contenders, [[1], [2]], rounds=2)
    measured = order[-8:]
    assert measured == [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 1), ("b", 2), ("a", 1), ("a", 2)]
    assert all(rounds.shape == (2, 2) and (rounds > 0).all() for rounds in times.values())


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
    assert timing.sample_stream(texts, 10, seed=1) == timing.sample_stream(texts, 10, seed=1)
    assert sorted(timing.sample_stream(texts, 1000, seed=1)) == texts


def test_the_machine_is_described():
    machine = timing.machine()
    assert machine["processor"]
    assert machine["cores"] >= 1


def test_load_tests_ignore_proxy_variables(tiny_server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.delenv("no_proxy", raising=False)
    assert len(time_requests(tiny_server.port, ["a text"])["samples"]) == 1
    service, waiting = planning.under_load(tiny_server.port, ["a text"], [1.0, 1.5], seconds=0.3)
    assert service.rate_per_core > 0
    assert (waiting["requests_per_second"] > 0).all()


def test_requests_are_timed_over_http(tiny_server):
    latencies = time_requests(tiny_server.port, ["one text", "another one"] * 5)
    assert len(latencies["samples"]) == 10
    assert 0 < latencies["p50"] <= latencies["p95"] <= latencies["p99"]
    with pytest.raises(RuntimeError, match="answered 400"):
        time_requests(tiny_server.port, [" "])
