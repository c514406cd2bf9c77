"""The contract of each platform, tested on the running stack with the platform's environment.

Every platform must get the scores that `Predictor` gives.
"""

import contextlib
import csv
import io
import json
import shutil
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_textclassification.benchmarks.local_server import LocalServer
from bert_textclassification.serving.predictor import Predictor
from tests.conftest import ROOT

SERVE = ROOT / "container/serve"
JSON, JSON_LINES = {"Content-Type": "application/json"}, {"Content-Type": "application/jsonlines"}
CSV, TEXT = {"Content-Type": "text/csv"}, {"Content-Type": "text/plain"}
TEXTS = ["My boiler is leaking gas!", "hello", "the rent is due " * 60]
VERTEX_ROUTE = "/v1/endpoints/7/deployedModels/9"
MEBIBYTE = 1024 * 1024

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: run `make system-packages`")


@pytest.fixture(scope="module")
def expected(tiny_artifact) -> list[tuple[str, float]]:
    """Label and score of each of TEXTS, computed in this process."""
    return [(prediction.label, prediction.score) for prediction in Predictor(tiny_artifact).predict(TEXTS)]


@pytest.fixture(scope="module")
def sagemaker(tiny_artifact) -> Iterator[LocalServer]:
    with _on_port_of("SAGEMAKER_BIND_TO_PORT", tiny_artifact.folder) as server:
        yield server


@pytest.fixture(scope="module")
def batch_transform(tiny_artifact) -> Iterator[LocalServer]:
    settings = {"SAGEMAKER_MAX_PAYLOAD_IN_MB": "2", "SAGEMAKER_BATCH_STRATEGY": "SingleRecord"}
    with LocalServer(SERVE, tiny_artifact.folder, SAGEMAKER_BATCH="true", **settings) as server:
        yield server


@pytest.fixture(scope="module")
def serverless(tiny_artifact) -> Iterator[LocalServer]:
    with LocalServer(SERVE, tiny_artifact.folder, SERVING_WORKERS="1") as server:
        yield server


@pytest.fixture(scope="module")
def vertex(tiny_artifact) -> Iterator[LocalServer]:
    settings = {
        "MODEL_DIR": "",
        "AIP_STORAGE_URI": tiny_artifact.folder.as_uri(),
        "AIP_HEALTH_ROUTE": VERTEX_ROUTE,
        "AIP_PREDICT_ROUTE": f"{VERTEX_ROUTE}:predict",
    }
    with _on_port_of("AIP_HTTP_PORT", ".", **settings) as server:
        yield server


@pytest.fixture(scope="module")
def azure(tiny_artifact, tmp_path_factory) -> Iterator[LocalServer]:
    registered = tmp_path_factory.mktemp("azureml-models") / "triage/1"
    shutil.copytree(tiny_artifact.folder, registered / "model")
    with LocalServer(SERVE, ".", MODEL_DIR="", AZUREML_MODEL_DIR=str(registered)) as server:
        yield server


# -- SageMaker, real time


def test_sagemaker_ping_is_200_within_2_s_on_the_port_it_is_bound_to(sagemaker):
    assert _seconds(lambda: _answers_200(sagemaker, "/ping")) < 2


def test_sagemaker_connections_are_accepted_within_250_ms(sagemaker):
    address = ("127.0.0.1", sagemaker.port)
    seconds = [_seconds(lambda: socket.create_connection(address).close()) for _ in range(21)]
    assert statistics.median(seconds) < 0.25  # the median, because a busy machine may delay single connections


def test_sagemaker_invocations_give_the_predictors_scores_in_every_content_type_in_time(sagemaker, expected):
    started = time.monotonic()
    assert _scores(_post(sagemaker, "/invocations", {"instances": TEXTS})["predictions"]) == expected
    assert _of_json_lines(_ask(sagemaker, _json_lines(TEXTS), JSON_LINES)) == expected
    assert _of_csv(_ask(sagemaker, _csv(TEXTS), CSV)) == expected
    assert _of_lines(_ask(sagemaker, "\n".join(TEXTS), TEXT)) == expected
    assert time.monotonic() - started < 5


def test_sagemaker_custom_attributes_carry_parameters_for_bodies_without_room_for_them(sagemaker):
    headers = TEXT | {"Accept": "application/jsonlines", "X-Amzn-SageMaker-Custom-Attributes": "all_scores=true"}
    (answer,) = _ask(sagemaker, "hello", headers).splitlines()
    assert set(json.loads(answer)["scores"]) == {"routine", "escalate"}


def test_sagemaker_reply_is_in_the_accepted_type_whatever_the_request_was_in(sagemaker, expected):
    accept = {"Accept": "application/xml, text/csv;q=0.9, application/json;q=0.1"}
    assert _of_csv(_ask(sagemaker, _json_lines(TEXTS), JSON_LINES | accept)) == expected


# -- SageMaker batch transform: exactly one output line for each input record, in order


def test_batch_transform_gets_the_execution_parameters(batch_transform):
    parameters = _get(batch_transform, "/execution-parameters")
    assert parameters.pop("MaxConcurrentTransforms") >= 1
    assert parameters == {"BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 2}


def test_batch_transform_of_csv_gives_a_line_for_each_record_also_empty_and_broken_ones(batch_transform, expected):
    body = _csv([TEXTS[0], 'two\nlines, a "quote"\r\nand a comma', "", TEXTS[1], " ", TEXTS[2]])
    answers = list(csv.reader(io.StringIO(_ask(batch_transform, body, CSV))))
    assert [len(answer) for answer in answers] == [2] * 6
    assert [answers[2], answers[4]] == [["", ""], ["", ""]]
    assert [(answers[index][0], float(answers[index][1])) for index in (0, 3, 5)] == expected


def test_batch_transform_of_csv_with_a_text_column_gives_a_line_for_each_record_below_the_header(batch_transform):
    body = 'id,text\n1,"a\nb"\n2\n3,hello\n'
    answers = _ask(batch_transform, body, CSV).splitlines()
    assert [answer == "," for answer in answers] == [False, True, False]


def test_batch_transform_of_json_lines_gives_a_line_for_each_record_also_empty_and_broken_ones(
    batch_transform, expected
):
    broken = ["", '{"text": "cut', '{"body": "hello"}', "5", r'"\ud800"', '""', "[" * 5000]
    lines = [json.dumps(TEXTS[0]), *broken, json.dumps({"text": TEXTS[1]}), json.dumps(TEXTS[2])]
    answers = [json.loads(line) for line in _ask(batch_transform, "\n".join(lines), JSON_LINES).splitlines()]
    codes = ["invalid_json", "invalid_json", "not_a_string", "not_a_string", "invalid_unicode", "empty_text"]
    assert [answer["error"]["code"] for answer in answers[1:8]] == [*codes, "invalid_json"]
    assert [answer["error"]["field"] for answer in answers[1:8]] == [f"instances[{index}]" for index in range(1, 8)]
    assert _scores([answers[0], *answers[8:]]) == expected


def test_batch_transform_of_text_gives_a_line_for_each_record_also_empty_and_broken_ones(batch_transform, expected):
    body = "\r\n".join([TEXTS[0], "", TEXTS[1], "\t", "one\u2028record", TEXTS[2], ""])
    answers = _ask(batch_transform, body, TEXT).split("\n")
    assert [answer == "\t" for answer in answers] == [False, True, False, True, False, False, False]
    assert answers.pop() == ""
    assert _of_lines("\n".join(answers[index] for index in (0, 2, 5))) == expected


@pytest.mark.parametrize(
    ("content_type", "body"), [(CSV, " \n"), (CSV, '""\n'), (JSON_LINES, "{\n"), (TEXT, "\n"), (TEXT, "\n\n\n")]
)
def test_batch_transform_of_broken_records_only_still_gives_a_line_for_each(batch_transform, content_type, body):
    assert _ask(batch_transform, body, content_type).count("\n") == body.count("\n")


def test_batch_transform_takes_as_much_as_the_payload_setting_says_and_no_more(batch_transform):
    lines = "hello ".ljust(1023) + "\n"
    assert _ask(batch_transform, lines * 2048, TEXT).count("\n") == 2048
    status, reply = batch_transform.request("POST", "/invocations", lines.encode() * 2048 + b"\n", TEXT)
    assert (status, json.loads(reply)["error"]["code"]) == (413, "body_too_large")


# -- SageMaker serverless; a read-only root is for the container's tests


def test_serverless_runs_one_worker_and_answers(serverless, expected):
    assert len(_processes(serverless, "gunicorn")) == 2  # the master and its worker
    assert _scores(serverless.predict(TEXTS)) == expected


def test_serverless_takes_a_body_of_4_mb(serverless):
    assert serverless.request("POST", "/invocations", b'["hello"]'.ljust(4 * MEBIBYTE), JSON)[0] == 200


def test_serverless_has_no_file_open_for_writing_outside_the_scratch_folder(serverless):
    serverless.request("POST", "/invocations", b'["hello"]'.ljust(2 * MEBIBYTE), JSON)
    scratch = Path(_environment(serverless)["SCRATCH_DIR"])
    written = {path for pid in _processes(serverless, "") for path in _files_open_for_writing(pid)}
    assert len(written) > 3
    assert [path for path in written if scratch not in path.parents] == []


# -- Vertex AI


def test_vertex_ai_health_answers_on_its_route_and_port(vertex):
    assert _seconds(lambda: _answers_200(vertex, VERTEX_ROUTE)) < 2


def test_vertex_ai_gets_predictions_and_nothing_else_from_the_model_at_its_storage_uri(vertex, expected):
    body = {"instances": [TEXTS[0], {"text": TEXTS[1]}, TEXTS[2]], "parameters": {"all_scores": True}}
    reply = _post(vertex, f"{VERTEX_ROUTE}:predict", body)
    assert list(reply) == ["predictions"]
    assert _scores(reply["predictions"]) == expected
    assert all(set(prediction["scores"]) == {"routine", "escalate"} for prediction in reply["predictions"])


def test_vertex_ai_request_of_1_5_mb_is_answered_in_time(vertex):
    body = json.dumps({"instances": ["hello".ljust(1000)] * 1490})
    assert _seconds(lambda: vertex.request("POST", f"{VERTEX_ROUTE}:predict", body.encode(), JSON)) < 5


# -- Azure ML


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz"])
def test_azure_ml_health_is_200(azure, path):
    assert _seconds(lambda: _answers_200(azure, path)) < 2


def test_azure_ml_scores_with_the_model_found_below_its_model_folder_within_5_s(azure, expected):
    started = time.monotonic()
    assert _scores(_post(azure, "/score", {"instances": TEXTS})["predictions"]) == expected
    assert time.monotonic() - started < 5


# -- KServe, version 1


def test_kserve_v1_lists_its_model_and_says_that_it_is_ready(tiny_server):
    assert _get(tiny_server, "/v1/models") == {"models": ["model"]}
    assert _get(tiny_server, "/v1/models/model") == {"name": "model", "ready": True}


def test_kserve_v1_predict_gives_predictions(tiny_server, expected):
    reply = _post(tiny_server, "/v1/models/model:predict", {"instances": TEXTS})
    assert list(reply) == ["predictions"]
    assert _scores(reply["predictions"]) == expected


def test_kserve_v1_errors_are_a_sentence(tiny_server):
    status, reply = tiny_server.request("POST", "/v1/models/other:predict", b'{"instances": ["a"]}', JSON)
    assert (status, json.loads(reply)["error"]) == (404, "There is no such route; /docs lists them.")


# -- Open Inference Protocol, version 2


def test_open_inference_v2_health_and_metadata(tiny_server, tiny_artifact):
    assert _get(tiny_server, "/v2/health/live") == {"live": True}
    assert _get(tiny_server, "/v2/health/ready") == {"ready": True}
    assert set(_get(tiny_server, "/v2")) == {"name", "version", "extensions"}
    for model in ("/v2/models/model", f"/v2/models/model/versions/{tiny_artifact.version}"):
        assert _get(tiny_server, f"{model}/ready") == {"name": "model", "ready": True}
        assert _get(tiny_server, model)["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]


@pytest.mark.parametrize(("shape", "data"), [([3], TEXTS), ([3, 1], [[text] for text in TEXTS]), ([1, 3], TEXTS)])
def test_open_inference_v2_infer_keeps_id_and_shape(tiny_server, tiny_artifact, expected, shape, data):
    tensor = {"name": "text", "shape": shape, "datatype": "BYTES", "data": data}
    reply = _post(tiny_server, "/v2/models/model/infer", {"id": "7", "inputs": [tensor]})
    outputs = {output["name"]: output for output in reply["outputs"]}
    assert (reply["id"], reply["model_name"], reply["model_version"]) == ("7", "model", tiny_artifact.version)
    assert {tuple(output["shape"]) for output in outputs.values()} == {tuple(shape)}
    assert list(zip(outputs["label"]["data"], outputs["score"]["data"], strict=True)) == expected


def test_open_inference_v2_tensors_are_those_of_the_metadata(tiny_server):
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello"]}
    outputs = _post(tiny_server, "/v2/models/model/infer", {"inputs": [tensor]})["outputs"]
    described = _get(tiny_server, "/v2/models/model")["outputs"]
    assert [(output["name"], output["datatype"]) for output in outputs] == [
        (output["name"], output["datatype"]) for output in described
    ]


def test_open_inference_v2_errors_are_a_sentence(tiny_server):
    status, reply = tiny_server.request("POST", "/v2/models/model/infer", b'{"inputs": []}', JSON)
    assert status == 400
    assert json.loads(reply)["error"].endswith(".")


# -- Cloud Run and Kubernetes; SIGTERM is in test_promises.py


def test_cloud_run_answers_on_port(tiny_server, expected):
    assert _environment(tiny_server)["PORT"] == str(tiny_server.port)
    assert _scores(tiny_server.predict(TEXTS)) == expected


# -- helpers


def _on_port_of(variable: str, model_dir: str | Path, **environment: str) -> LocalServer:
    """Return the stack, not started yet, with its port in a platform's variable."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = LocalServer(SERVE, model_dir, **{"PORT": "", variable: str(port)} | environment)
    server.port, server.url = port, f"http://127.0.0.1:{port}"
    return server


def _get(server, path):
    status, reply = server.request("GET", path)
    assert status == 200
    return json.loads(reply)


def _post(server, path, content):
    status, reply = server.request("POST", path, json.dumps(content).encode(), JSON)
    assert status == 200, reply
    return json.loads(reply)


def _ask(server, body, headers):
    status, reply = server.request("POST", "/invocations", body.encode(), headers)
    assert status == 200, reply
    return reply.decode()


def _answers_200(server, path):
    assert server.request("GET", path)[0] == 200


def _seconds(work):
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _csv(texts):
    written = io.StringIO(newline="")
    csv.writer(written).writerows([text] for text in texts)
    return written.getvalue()


def _json_lines(texts):
    return "".join(json.dumps(text) + "\n" for text in texts)


def _scores(answers):
    return [(answer["label"], answer["score"]) for answer in answers]


def _of_json_lines(reply):
    return _scores(json.loads(line) for line in reply.splitlines())


def _of_csv(reply):
    return [(label, float(score)) for label, score in csv.reader(io.StringIO(reply))]


def _of_lines(reply):
    return [(label, float(score)) for label, score in (line.split("\t") for line in reply.splitlines())]


def _environment(server):
    variables = Path(f"/proc/{server.process.pid}/environ").read_text().split("\0")
    return dict(variable.split("=", 1) for variable in variables if variable)


def _processes(server, name):
    """Return the ids of the stack's processes that have `name` in their command line."""
    pids, new = [], [server.process.pid]
    while new:
        pid = new.pop()
        pids.append(pid)
        new += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [pid for pid in pids if name in Path(f"/proc/{pid}/cmdline").read_text()]


def _files_open_for_writing(pid):
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            flags = int(Path(f"/proc/{pid}/fdinfo/{handle.name}").read_text().split("flags:")[1].split()[0], 8)
            if flags & 3 and handle.is_file():  # open for writing, and neither a socket nor a device
                yield handle.readlink()
