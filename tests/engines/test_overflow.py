"""A model whose arithmetic overflows on a text: the caller gets an error in one sentence, never a null score."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors import safe_open
from safetensors.numpy import load, save

from bert_textclassification.artifact.manifest import StoredFile
from bert_textclassification.artifact.store import Artifact
from bert_textclassification.errors import RequestError
from bert_textclassification.serving.api import create_app
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.predictor import Predictor

WELL, OVERFLOWS = "hello", "the lift"


@pytest.fixture(scope="module", params=["fp32", "int8"])
def predictor(request, tiny_artifact, tmp_path_factory):
    """A predictor whose variant has an infinite embedding for the word that only OVERFLOWS has."""
    folder = shutil.copytree(tiny_artifact.folder, tmp_path_factory.mktemp("overflow") / "model")
    variant = tiny_artifact.manifest.variants[request.param]
    normal = {token_id for text in Predictor(tiny_artifact).tokenise([WELL]) for token_id in text.ids}
    token = next(
        token_id for token_id in Predictor(tiny_artifact).tokenise([OVERFLOWS])[0].ids if token_id not in normal
    )
    (_of_native if variant.engine == "native" else _of_onnx)(folder / variant.file, token)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["variants"][request.param] |= StoredFile.of(folder / variant.file).model_dump()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Predictor(Artifact.load(folder), request.param, cache_size=10)


@pytest.fixture(scope="module")
def client(predictor):
    return create_app(ServingConfig(), predictor).test_client()


def test_other_texts_are_answered(predictor):
    assert 0 < predictor.predict([WELL])[0].score < 1


@pytest.mark.parametrize("truncation", ["truncate", "windows"])
def test_the_text_is_named_in_one_sentence_each_time(predictor, truncation):
    for _ in range(2):  # the second call would return a cached output
        with pytest.raises(
            RequestError, match=r"^The model's outputs for this text are not finite.*again\.$"
        ) as problem:
            predictor.predict([WELL, OVERFLOWS, WELL], truncation=truncation)
        assert (problem.value.code, problem.value.field) == ("not_finite", "instances[1]")
        assert problem.value.status == 500


def test_a_window_that_overflows_refuses_its_text(predictor):
    with pytest.raises(RequestError, match="not finite"):
        predictor.predict([f"{f'{WELL} ' * 100} {OVERFLOWS}"], truncation="windows")


@pytest.mark.parametrize(
    ("path", "body", "media_type"),
    [
        ("/invocations", json.dumps({"instances": [OVERFLOWS]}), "application/json"),
        ("/invocations", json.dumps({"text": OVERFLOWS}), "application/jsonlines"),
        ("/invocations", f"text\n{OVERFLOWS}\n", "text/csv"),
        ("/invocations", OVERFLOWS, "text/plain"),
        ("/v1/models/model:predict", json.dumps({"instances": [OVERFLOWS]}), "application/json"),
        (
            "/v2/models/model/infer",
            json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [OVERFLOWS]}]}),
            "application/json",
        ),
    ],
)
def test_every_protocol_answers_500_with_the_sentence(client, path, body, media_type):
    reply = client.post(path, data=body, content_type=media_type)
    assert reply.status_code == 500
    assert "outputs for this text are not finite numbers" in reply.text
    assert "null" not in reply.text.replace('"field":null', "")


def _of_onnx(path, token: int) -> None:
    model = onnx.load(path)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    name = next(name for name in weights if "word_embeddings" in name)
    content = numpy_helper.to_array(weights[name]).copy()
    content[token] = np.inf
    weights[name].CopyFrom(numpy_helper.from_array(content, name))
    onnx.save(model, path)


def _of_native(path, token: int) -> None:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = load(path.read_bytes())
    tensors["word_scale"] = tensors["word_scale"].copy()
    tensors["word_scale"][token] = np.inf
    path.write_bytes(save(tensors, metadata))
