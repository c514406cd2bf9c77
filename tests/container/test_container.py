"""The images, built from this tree: both commands run, and the serve image keeps its documented limits.

`test_faults.py` tests their behaviour under faults.
"""

import json
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from bert_textclassification import Predictor
from bert_textclassification.benchmarks.local_server import LocalContainer
from tests.container.conftest import _CONTENTS, _WRITABLE, SCRATCH, Container, docker

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def server(images, model) -> Iterator[Container]:
    """A shared container with one core."""
    with Container(images, model, "--cpus", "1") as container:
        yield container.ready()


def test_the_serve_image_has_no_training_and_no_root(server):
    there = json.loads(server.python(_CONTENTS))
    assert there == {"torch": False, "transformers": False, "pandas": False, "training": False, "user": 10001}


def test_the_serve_image_answers_as_the_predictor_does(server, model):
    text = "smoke is coming out of the dryer"
    status, answer = server.predict(text)
    (prediction,) = json.loads(answer)["predictions"]
    (expected,) = Predictor.load(model).predict([text])
    assert (status, prediction["label"], prediction["score"]) == (200, expected.label, expected.score)


def test_the_container_that_notebook_04_measures_answers_so_too_and_ends_with_0(images, model):
    text = "smoke is coming out of the dryer"
    with LocalContainer(f"{images}:serve", model, CACHE_SIZE="0") as local:
        (prediction,) = local.predict([text])
        assert local.stop() == 0
    (expected,) = Predictor.load(model).predict([text])
    assert (prediction["label"], prediction["score"]) == (expected.label, expected.score)


def test_only_python_and_nginx_run_and_neither_a_shell_nor_root(server):
    _, *processes = docker("top", server.id, "-o", "pid,uid,comm").stdout.splitlines()
    assert {tuple(line.split()[1:]) for line in processes} == {("10001", "python3"), ("10001", "nginx")}


def test_nothing_but_the_scratch_folder_can_be_written(server):
    assert json.loads(server.python(_WRITABLE)) == [SCRATCH]


def test_one_worker_and_all_beside_it_take_less_than_250_megabytes(server):
    assert len(server.workers()) == 1
    assert sum(process["resident"] for process in server.processes()) < 250e6


def test_the_first_ping_is_answered_within_10_seconds(images, model):
    assert any(_seconds_to_first_ping(images, model) < 10 for _ in range(3))  # about 1 s on an idle machine


def _seconds_to_first_ping(images, model):
    with Container(images, model).ready() as container:
        return time.time() - datetime.fromisoformat(container.inspect("{{.State.StartedAt}}")).timestamp()


@pytest.mark.parametrize(
    ("options", "workers", "threads"),
    [
        (["--cpus", "1"], 1, 1),
        (["--cpus", "1.5"], 1, 1),
        (["--cpus", "2"], 1, 2),
        (["--cpus", "2", "--env", "SERVING_THREADS=1", "--memory", "1g"], 2, 1),
        (["--cpus", "2", "--env", "SERVING_THREADS=1", "--memory", "300m"], 1, 1),
        (["--cpus", "1", "--env", "SERVING_WORKERS=2", "--env", "SERVING_THREADS=3"], 2, 3),
    ],
)
def test_workers_and_threads_follow_the_quota_and_the_memory(images, model, options, workers, threads):
    with Container(images, model, *options).ready() as container:
        processes = container.workers()
        assert len(processes) == workers
        assert {process["environment"]["SERVING_THREADS"] for process in processes} == {str(threads)}
        _, parameters = container.request("GET", "/execution-parameters")
        assert json.loads(parameters)["MaxConcurrentTransforms"] == workers * threads


@pytest.mark.parametrize("victim", ["gunicorn", "nginx"])
def test_a_dead_half_ends_the_container_with_an_error(images, model, victim):
    with Container(images, model).ready() as container:
        (pid,) = [
            process["pid"]
            for process in container.processes()
            if process["parent"] == 1 and victim in process["command"]
        ]
        container.kill(pid)
        assert container.exit_status() == 1
        assert "ended with -9; stopping." in container.errors()
