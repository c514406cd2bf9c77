"""Training, serving and the manifest truncate texts on the same side, that of the base model's tokenizer."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bert_textclassification.serving.predictor import Predictor, load_tokenizer
from bert_textclassification.training.evaluation.inference import encode, torch_logits
from bert_textclassification.training.export.build import build_artifact
from bert_textclassification.training.fine_tuning.run import fine_tune

pytestmark = pytest.mark.slow

BEGINNING, END = "the lift is stuck with my mother inside " * 20, "thank you all is well " * 20


@pytest.fixture(scope="module", params=["left", "right"])
def trained(request, tiny_base, tiny_config, tiny_splits, tmp_path_factory):
    """A side, and a model trained from a base model whose tokenizer truncates there."""
    folder = tmp_path_factory.mktemp(request.param)
    base = Path(shutil.copytree(tiny_base, folder / "base"))
    path = base / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation_side": request.param}))
    config = tiny_config.model_copy(update={"base_model": str(base), "epochs": 0.2})
    fine_tuned = fine_tune(config, tiny_splits, folder / "fine_tuned")
    return request.param, fine_tuned, build_artifact(fine_tuned, tiny_splits, folder / "model")


def test_the_manifest_names_the_side(trained):
    side, _, artifact = trained
    assert artifact.manifest.truncation_side == side


def test_serving_reads_the_tokens_that_training_read(trained):
    side, fine_tuned, artifact = trained
    text = f"{BEGINNING} {END}"
    learnt = encode(fine_tuned.tokenizer(), [text], fine_tuned.config.max_length)
    served = Predictor(artifact).tokenise([text])[0]
    assert served.windows == learnt
    assert served.truncated
    kept = END if side == "left" else BEGINNING
    assert learnt[0][1:-1] == _part(fine_tuned.tokenizer(), kept, side, len(learnt[0]) - 2)


def test_serving_gives_the_logits_of_the_trained_model(trained):
    _, fine_tuned, artifact = trained
    text = f"{BEGINNING} {END}"
    expected = torch_logits(fine_tuned.model(), encode(fine_tuned.tokenizer(), [text], fine_tuned.config.max_length))
    np.testing.assert_allclose(Predictor(artifact, "fp32").predict([text])[0].logits, expected[0], atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_windows_read_every_token_whichever_side_is_cut(tiny_base, side):
    tokenizer = load_tokenizer(tiny_base / "tokenizer.json", 32, 8, side)
    whole = load_tokenizer(tiny_base / "tokenizer.json", 10_000).encode(f"{BEGINNING} {END}")
    cut = tokenizer.encode(f"{BEGINNING} {END}")
    windows = [cut, *cut.overflowing]
    assert all(len(window.ids) <= 32 for window in windows)
    assert {span for window in windows for span in window.offsets} == set(whole.offsets)


def _part(tokenizer, text, side, length):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids[-length:] if side == "left" else ids[:length]
