"""The metrics: their Prometheus format, the drift index, and the sum over worker processes."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import values
from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.parser import text_string_to_metric_families

from bert_textclassification.artifact.manifest import SCORE_EDGES, TOKEN_EDGES, Histogram, Reference
from bert_textclassification.serving.api import create_app
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.metrics import (
    MIN_TEXTS_FOR_DRIFT,
    Metrics,
    bucket_counts,
    population_stability_index,
)
from bert_textclassification.serving.predictor import Prediction
from tests.private_parts import require_text

SCORES = [(number % 100) / 100 for number in range(MIN_TEXTS_FOR_DRIFT)]
TOKENS = [3 + number % 60 for number in range(MIN_TEXTS_FOR_DRIFT)]


@pytest.fixture
def metrics(tiny_artifact):
    return with_reference(tiny_artifact, Reference.of(SCORES, TOKENS))


def with_reference(artifact, reference):
    manifest = artifact.manifest.model_copy(update={"labels": ("no", "yes"), "reference": reference})
    return Metrics(dataclasses.replace(artifact, manifest=manifest), "int8", "model")


def samples(exposition):
    """Return the value of each sample, by its name without the prefix and the values of its labels."""
    return {
        (sample.name.removeprefix("textclassifier_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def read(metrics):
    return samples(metrics.exposition().decode())


def answer(metrics, scores=SCORES, tokens=TOKENS, waited_s=0.0, truncated=False, cached=False):
    """Count predictions with these scores and lengths."""
    predictions = [
        Prediction("yes", score, "yes", {"no": 1 - score, "yes": score}, (0.0, 0.0), count, truncated, cached=cached)
        for score, count in zip(scores, tokens, strict=True)
    ]
    metrics.count_predictions(predictions, waited_s)


def drift(metrics):
    return {key[1]: value for key, value in read(metrics).items() if key[0] == "drift_psi"}


# -- one process


def test_before_any_request_there_is_the_model_and_nothing_was_counted(metrics, tiny_artifact):
    values = read(metrics)
    assert values["model_info", "model", "int8", tiny_artifact.version] == 1
    assert (values["score_count",], values["text_tokens_count",], values["queue_seconds_count",]) == (0, 0, 0)
    assert (values["truncated_total",], values["cache_hits_total",]) == (0, 0)


def test_every_metric_has_its_prefix_its_meaning_and_a_type(metrics):
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        assert family.name.startswith("textclassifier_")
        assert family.documentation
        assert family.type in {"counter", "gauge", "histogram"}


def test_requests_are_counted_by_route_method_and_status(metrics):
    for route, method, status in [("/ping", "GET", 200)] * 2 + [("/invocations", "POST", 200), ("/ping", "GET", 503)]:
        metrics.count_request(route, method, status, 0.1)
    counts = {key: value for key, value in read(metrics).items() if key[0] == "requests_total"}
    labels = [("GET", "/ping", "200"), ("POST", "/invocations", "200"), ("GET", "/ping", "503")]
    assert counts == {("requests_total", *these): count for these, count in zip(labels, (2, 1, 1), strict=True)}


def test_the_seconds_of_a_request_are_a_histogram_for_each_route(metrics):
    for seconds in (0.003, 0.004, 700):
        metrics.count_request("/invocations", "POST", 200, seconds)
    values = read(metrics)
    upto = {
        edge: values["request_seconds_bucket", edge, "/invocations"] for edge in ("0.0025", "0.005", "600.0", "+Inf")
    }
    assert upto == {"0.0025": 0, "0.005": 2, "600.0": 2, "+Inf": 3}
    assert values["request_seconds_count", "/invocations"] == 3
    assert values["request_seconds_sum", "/invocations"] == pytest.approx(700.007)


def test_answers_are_counted_with_their_tokens_truncations_and_cache_hits(metrics):
    answer(metrics, [0.25, 0.75], [4, 30], waited_s=0.5, cached=True)
    answer(metrics, [0.95], [64], waited_s=0.25, truncated=True)
    values = read(metrics)
    assert (values["text_tokens_count",], values["text_tokens_sum",]) == (3, 98)
    assert (values["truncated_total",], values["cache_hits_total",]) == (1, 2)
    assert (values["queue_seconds_count",], values["queue_seconds_sum",]) == (2, 0.75)
    assert (values["score_sum",], values["score_bucket", "0.9"], values["score_bucket", "+Inf"]) == (1.95, 2, 3)


def test_an_invented_method_makes_no_series_of_its_own(tiny_artifact):
    client = create_app(ServingConfig.of(model_source=str(tiny_artifact.folder))).test_client()
    client.open("/ping", method="BREW")
    assert "BREW" not in client.get("/metrics").text


# -- drift


def test_live_values_on_an_edge_fall_into_the_bin_that_the_reference_counts_them_in(metrics):
    scores, tokens = [0.0, 0.05, *SCORE_EDGES, 1.0], [2, 9, 600, *TOKEN_EDGES]
    answer(metrics, scores, [2] * len(scores))
    answer(metrics, [0.5] * len(tokens), tokens)
    live = {name: bucket_counts(metrics.collect(), f"textclassifier_{name}") for name in ("score", "text_tokens")}
    assert live["score"] == list(Histogram.of(scores + [0.5] * len(tokens), SCORE_EDGES).counts)
    assert live["text_tokens"] == list(Histogram.of([2] * len(scores) + tokens, TOKEN_EDGES).counts)


def test_there_is_no_drift_figure_before_there_are_enough_texts(metrics):
    answer(metrics, SCORES[1:], TOKENS[1:])
    assert drift(metrics) == {}
    answer(metrics, SCORES[:1], TOKENS[:1])
    assert set(drift(metrics)) == {"score", "tokens"}


def test_an_artifact_without_a_reference_has_no_drift_figure(tiny_artifact):
    metrics = with_reference(tiny_artifact, None)
    answer(metrics)
    assert "drift_psi" not in metrics.exposition().decode()


def test_a_reference_with_other_bins_is_not_compared(tiny_artifact):
    other = Histogram.of(SCORES, [edge / 2 for edge in SCORE_EDGES])
    metrics = with_reference(tiny_artifact, Reference(scores=other, tokens=Histogram.of(TOKENS, [8, 16])))
    answer(metrics)
    assert drift(metrics) == {}


def test_traffic_like_the_validation_set_has_no_drift(metrics):
    for _ in range(3):
        answer(metrics)
    assert drift(metrics) == pytest.approx({"score": 0, "tokens": 0}, abs=0.01)


def test_a_shift_of_the_scores_shows_in_their_figure_only(metrics):
    answer(metrics, [score / 10 for score in SCORES])
    assert drift(metrics)["score"] > 0.25
    assert drift(metrics)["tokens"] == pytest.approx(0, abs=0.01)


def test_a_shift_of_the_lengths_shows_in_their_figure_only(metrics):
    answer(metrics, tokens=[10 * count for count in TOKENS])
    assert drift(metrics)["tokens"] > 0.25
    assert drift(metrics)["score"] == pytest.approx(0, abs=0.01)


def test_the_index_is_that_of_a_calculation_by_hand():
    # With half a count in each bin the shares are 10.5/41 and 30.5/41, and the other way round:
    # twice (20/41) ln(30.5/10.5) = 1.0403.
    assert population_stability_index([10, 30], [30, 10]) == pytest.approx(1.0403, abs=1e-4)


def test_the_index_is_zero_for_equal_shares_and_finite_for_empty_bins():
    assert population_stability_index([10, 20, 30], [10, 20, 30]) == 0
    assert population_stability_index([100, 200, 300], [1000, 2000, 3000]) == pytest.approx(0, abs=1e-4)
    assert 5 < population_stability_index([1000, 0], [0, 1000]) < 20


def test_the_index_does_not_grow_with_the_traffic_where_bins_are_empty_in_both():
    assert population_stability_index([30, 30, 0, 0, 0], [5_000_000, 5_000_000, 0, 0, 0]) == pytest.approx(0, abs=0.01)


def test_the_index_is_the_same_in_both_directions():
    assert population_stability_index([5, 1, 9], [2, 8, 5]) == pytest.approx(
        population_stability_index([2, 8, 5], [5, 1, 9])
    )


# -- several processes

WORKER = """
import json, sys
from bert_textclassification.artifact.store import Artifact
from bert_textclassification.serving.metrics import Metrics, reserve_files
from bert_textclassification.serving.predictor import Prediction

served = Artifact.load(sys.argv[1])
metrics, labels = Metrics(served, "int8", "model"), served.manifest.labels

def answer(texts):
    prediction = Prediction(labels[1], 0.5, labels[1], dict.fromkeys(labels, 0.5), (0.0, 0.0), tokens=5, truncated=True)
    metrics.count_predictions([prediction] * texts, waited_s=0.5)

for line in sys.stdin:
    print(json.dumps(eval(line)), flush=True)
"""
EVERY_ROUTE = """
import sys
from bert_textclassification.serving.api import create_app
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.metrics import reserve_files

app = create_app(ServingConfig.of(model_source=sys.argv[1]))
reserve_files()
for rule in app.url_map.iter_rules():
    app.test_client().open(rule.rule, method="GET" if "GET" in rule.methods else "POST")
"""


class Worker:
    """A process that counts into a shared folder and evaluates expressions from its input."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        )

    def ask(self, expression):
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def metrics(self):
        return samples(self.ask("metrics.exposition().decode()"))

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def start(tiny_artifact, tmp_path):
    """Start a worker that counts into the folder of the test."""
    workers = []

    def start():
        workers.append(Worker(tiny_artifact.folder, tmp_path))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()


def are_on_disk(folder):
    """Whether the disk space of all files is allocated, so that a write cannot fail on a full disk."""
    statuses = [path.stat() for path in folder.glob("*.db")]
    return bool(statuses) and all(file.st_blocks * 512 >= file.st_size for file in statuses)


def test_any_worker_answers_for_all_and_for_one_that_died(start, tmp_path):
    first, second, third = start(), start(), start()
    for worker, texts in ((first, 30), (second, 40)):
        worker.ask("metrics.count_request('/ping', 'GET', 200, 0.1)")
        worker.ask(f"answer({texts})")
    before = third.metrics()
    assert (before["requests_total", "GET", "/ping", "200"], before["request_seconds_count", "/ping"]) == (2, 2)
    assert (before["text_tokens_count",], before["truncated_total",], before["queue_seconds_sum",]) == (70, 70, 1)
    first.kill()
    mark_process_dead(first.process.pid, str(tmp_path))  # as gunicorn's `child_exit` does
    assert third.metrics() == before
    second.ask("answer(30)")
    assert third.metrics()["text_tokens_bucket", "8.0"] == 100
    assert third.metrics()["drift_psi", "tokens"] > 0  # no worker has enough texts alone


def test_the_client_names_the_files_of_a_worker_by_its_process():
    require_text("prometheus-client", values, "'{}_{}.db'.format(file_prefix, pid['value'])", "serving/metrics.py")


def test_the_files_of_a_worker_get_their_disk_space_before_they_are_written(start, tmp_path):
    worker = start()
    worker.ask("metrics.count_request('/ping', 'GET', 200, 0.1)")
    assert not are_on_disk(tmp_path)
    worker.ask("reserve_files()")
    assert are_on_disk(tmp_path)


def test_where_the_system_cannot_reserve_disk_space_the_files_get_it_too_and_keep_their_counts(start, tmp_path):
    worker = start()
    worker.ask("metrics.count_request('/ping', 'GET', 200, 0.1)")
    counted = worker.metrics()
    worker.ask("bool(sys.modules['os'].__dict__.pop('posix_fallocate'))")  # macOS has none
    worker.ask("reserve_files()")
    assert are_on_disk(tmp_path)
    assert worker.metrics() == counted


def test_the_files_of_a_worker_do_not_outgrow_their_disk_space_once_every_route_was_asked(tiny_artifact, tmp_path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", EVERY_ROUTE, str(tiny_artifact.folder)], env=environment, check=True)
    assert are_on_disk(tmp_path)
