"""The imports of serving, in a fresh interpreter: an image without torch must be able to start."""

import json
import os
import subprocess
import sys

import bert_textclassification
from bert_textclassification.serving.predictor import Predictor
from tests.conftest import ROOT

NOT_FOR_SERVING = {
    "torch",
    "transformers",
    "datasets",
    "pandas",
    "sklearn",
    "evaluate",
    "onnx",
    "bert_textclassification.training",
}


def test_the_server_imports_nothing_of_training(tiny_artifact):
    modules = _modules_after("import bert_textclassification.serving.wsgi", MODEL_DIR=str(tiny_artifact.folder))
    assert "bert_textclassification.engines.native._native" in modules
    assert "onnxruntime" not in modules  # the default variant does not need it
    assert modules.isdisjoint(NOT_FOR_SERVING)


def test_the_package_alone_imports_nothing_heavy():
    modules = _modules_after("import bert_textclassification")
    assert "bert_textclassification" in modules
    assert modules.isdisjoint({"onnxruntime", "numpy", "tokenizers", "pydantic", *NOT_FOR_SERVING})


def test_the_deployment_notebook_imports_no_torch():
    cells = json.loads((ROOT / "notebooks/04_deployment.ipynb").read_text())["cells"]
    imports = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert _modules_after(imports).isdisjoint({"torch", "transformers", "datasets"})


def test_the_pipeline_starts_without_heavy_imports():
    modules = _modules_after("import bert_textclassification.training.notebooks.pipeline")
    assert modules.isdisjoint({"torch", "transformers", "datasets", "pandas", "sklearn", "matplotlib"})


def test_the_predictor_of_the_package_is_the_class():
    assert bert_textclassification.Predictor is Predictor
    assert "Predictor" in bert_textclassification.__all__


def test_another_name_of_the_package_is_an_attribute_error():
    assert not hasattr(bert_textclassification, "Predicter")


def _modules_after(statement, **environment):
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))
