"""Inference on all cores gives the same outputs in the same order as a single call."""

import threading

import numpy as np
import pytest

from bert_textclassification.engines.select import load_engine
from bert_textclassification.training.evaluation.all_cores import in_parts, run_on_all_cores

TEXTS = [[2, *range(10, 10 + length), 3] for length in (3, 40, 1, 7, 7, 25, 2, 9, 30, 4, 5)]


@pytest.mark.parametrize("items", [0, 1, 7, 8, 9, 100])
@pytest.mark.parametrize("cores", [1, 2, 5])
def test_parts_have_every_item_once_and_in_order(items, cores):
    parts = in_parts(list, range(items), cores)
    assert parts
    assert [item for part in parts for item in part] == list(range(items))


def test_parts_run_at_the_same_time():
    both_are_here = threading.Barrier(2, timeout=600)
    in_parts(lambda part: both_are_here.wait(), range(8), cores=2)


@pytest.mark.parametrize("name", ["fp32", "int8", "int8_onnx"])
def test_an_engine_gives_the_same_outputs_as_in_one_call(tiny_artifact, name):
    engine = load_engine(tiny_artifact.model_path(name), tiny_artifact.manifest.variants[name])
    together, alone = run_on_all_cores(engine, TEXTS), engine.run(TEXTS)
    np.testing.assert_allclose(together.logits, alone.logits, atol=1e-6)
    assert together.layers is None


def test_no_texts_give_no_outputs(tiny_artifact):
    engine = load_engine(tiny_artifact.model_path("int8"), tiny_artifact.manifest.variants["int8"])
    assert run_on_all_cores(engine, []).logits.shape == (0, 2)
