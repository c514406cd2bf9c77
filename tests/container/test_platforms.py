"""The built image fulfils the contract of each platform in `platforms.yaml`, in its environment and its limits."""

import csv
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import pytest
import yaml

from bert_textclassification import Predictor
from tests.conftest import ROOT
from tests.container.conftest import JSON, Container, docker

pytestmark = pytest.mark.container
TEXTS = ["My boiler is leaking gas!", 'a, "b"\nand c', "the rent is due " * 60]


@dataclass(frozen=True)
class Platform:
    """One entry of `platforms.yaml`, which documents the fields."""

    environment: dict[str, str]
    port: int
    ready_s: float
    probes: list[str]
    probe_s: float
    route: str
    format: str
    request_bytes: int
    answer_s: float
    drain_s: int
    options: list[str] = field(default_factory=list)
    model: str = "/opt/ml/model"


PLATFORMS = yaml.safe_load((ROOT / "tests/container/platforms.yaml").read_text())


@pytest.fixture(scope="module", params=PLATFORMS)
def platform(request) -> Platform:
    return Platform(**PLATFORMS[request.param])


@pytest.fixture(scope="module")
def container(images, model, platform) -> Iterator[Container]:
    """The image as the platform starts it; the last test of this file stops it."""
    variables = [f"--env={name}={value}" for name, value in platform.environment.items()]
    with Container(images, model, *variables, *platform.options, at=platform.model, port=platform.port) as started:
        yield started.ready()


def written(kind: str, texts: list[str]) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request."""
    if kind == "csv":
        body = io.StringIO(newline="")
        csv.writer(body).writerows([text] for text in texts)
        return body.getvalue().encode(), {"Content-Type": "text/csv"}
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    content = {"inputs": [tensor]} if kind == "tensors" else {"instances": texts}
    return json.dumps(content).encode(), JSON


def read(kind: str, reply: bytes) -> list[tuple[str, float]]:
    """Return label and score of each text of a response."""
    if kind == "csv":
        return [(label, float(score)) for label, score in csv.reader(io.StringIO(reply.decode()))]
    if kind == "tensors":
        outputs = {output["name"]: output["data"] for output in json.loads(reply)["outputs"]}
        return list(zip(outputs["label"], outputs["score"], strict=True))
    return [(prediction["label"], prediction["score"]) for prediction in json.loads(reply)["predictions"]]


def test_it_is_ready_in_time(container, platform):
    started = datetime.fromisoformat(container.inspect("{{.State.StartedAt}}")).timestamp()
    assert time.time() - started < platform.ready_s


def test_every_probe_is_answered_in_time(container, platform):
    for path in platform.probes * 5:
        started = time.monotonic()
        assert container.request("GET", path)[0] == 200, path
        assert time.monotonic() - started < platform.probe_s


def test_the_answers_are_the_predictors(container, platform, model):
    status, reply = container.request("POST", platform.route, *written(platform.format, TEXTS))
    assert status == 200, reply
    expected = Predictor.load(model).predict(TEXTS)
    assert read(platform.format, reply) == [(prediction.label, prediction.score) for prediction in expected]


def test_the_largest_request_is_answered_in_time(container, platform):
    started = time.monotonic()
    status, reply = container.request("POST", platform.route, *as_large_as_allowed(platform))
    assert status == 200, reply
    assert time.monotonic() - started < platform.answer_s


def as_large_as_allowed(platform: Platform) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request of the largest size: many CSV records, or JSON padded with spaces."""
    if platform.format == "csv":
        body, headers = written("csv", ["hello".ljust(1000)])
        return body * (platform.request_bytes // len(body)), headers
    body, headers = written(platform.format, ["hello"])
    return body.ljust(platform.request_bytes), headers


def test_it_ends_with_0_in_the_time_that_the_platform_gives(container, platform):
    docker("stop", "--time", str(platform.drain_s), container.id)
    assert container.exit_status() == 0
