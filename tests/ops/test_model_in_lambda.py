"""The model in Lambda: the handler under Lambda's runtime client, and its image, run as Lambda runs it."""

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.conftest import PATIENCE_S, ROOT
from tests.container.conftest import IMAGE, SCRATCH
from tests.ops.lambda_runtime import JSON, Runtime, event

pytestmark = pytest.mark.slow

FOLDER = ROOT / "ops/gateway/model_in_lambda"
BODY = '{"instances": ["smoke is coming out of the dryer", "thanks"]}'


@pytest.fixture(scope="module")
def function(tiny_artifact) -> Iterator[Runtime]:
    environment = {"MODEL_DIR": str(tiny_artifact.folder), "SERVING_THREADS": "1", "MAX_BODY_BYTES": "20000"}
    search_path = os.pathsep.join((str(ROOT / "src"), os.environ.get("PYTHONPATH", "")))
    with Runtime.of_folder(FOLDER, "handler.handler", PYTHONPATH=search_path, **environment) as runtime:
        yield runtime


def test_an_event_gets_the_predictions_of_the_server(function, tiny_server):
    answer = function.invoke(event(BODY))
    status, expected = tiny_server.request("POST", "/invocations", BODY.encode(), JSON)
    assert (answer["statusCode"], json.loads(answer["body"])) == (status, json.loads(expected))


def test_the_client_chooses_the_format_and_the_parameters(function):
    answer = function.invoke(
        event("text\na leak\n", {"content-type": "text/csv", "accept": "application/json"}, "all_scores=true")
    )
    assert "scores" in json.loads(answer["body"])["predictions"][0]


@pytest.mark.parametrize(
    ("request_event", "status"),
    [
        (event('{"instances": [""]}'), 400),
        (event('"a"', {"content-type": "image/png"}), 415),
        (event(json.dumps("a" * 20_000)), 413),
    ],
)
def test_an_invalid_request_is_explained(function, request_event, status):
    answer = function.invoke(request_event)
    assert (answer["statusCode"], set(json.loads(answer["body"])["error"])) == (status, {"code", "message", "field"})


def build(model, tag, **environment):
    command = [FOLDER / "build.sh", model, tag]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=PATIENCE_S)


def test_a_folder_without_a_model_is_rejected(tmp_path):
    process = build(tmp_path, f"{IMAGE}:lambda")
    assert (process.returncode, process.stderr.count("\n")) == (1, 1)
    assert "because it has no manifest.json" in process.stderr


@pytest.mark.container
def test_the_image_answers_as_lambda_runs_it(images, tiny_artifact, tiny_server):
    built = build(tiny_artifact.folder, f"{IMAGE}:lambda", SERVE_IMAGE=f"{images}:serve")
    assert built.returncode == 0, built.stderr
    # As in Lambda: another user and one writable folder. The host's network reaches the Runtime API of this test.
    scratch = ("--read-only", "--tmpfs", f"{SCRATCH}:rw,size=64m")
    options = ("--rm", "--init", *scratch, "--user", "993:990", "--network", "host")
    with Runtime.of_image(f"{IMAGE}:lambda", *options) as runtime:
        answer = runtime.invoke(event(BODY))
    assert json.loads(answer["body"]) == json.loads(tiny_server.request("POST", "/invocations", BODY.encode(), JSON)[1])
