"""Check a base model before training: run what later stages do with it, in a few seconds."""

import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from bert_textclassification.engines.onnx import OnnxEngine
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.modeling.base_models import (
    CHOOSE_ENCODER,
    BaseModel,
    base_model_error,
    reject_on_failure,
)
from bert_textclassification.training.modeling.classifier import TextClassifier
from bert_textclassification.training.modeling.onnx import export_onnx

ONNX_BYTES = 2**31  # maximum size of one ONNX file
UNKNOWN_TOKENS = 0.9  # share of unknown tokens from which the tokenizer does not fit the texts
TOLERANCE = 1e-3  # absolute and relative; correct exports differ by 1e-6 to 1e-5
_SAMPLE_TEXTS = 100
_SHORT = 5  # tokens of the short text


def load_checked(base: BaseModel, config: TrainingConfig, texts: Sequence[str]) -> TextClassifier:
    """Return the classifier to train from `base`, after a check with the first of `texts`.

    Raises:
        ConfigurationError: the base model cannot be used.
    """
    model = base.classifier(config.dropout, config.exit_layers, config.num_layers)
    check_model(base.given, model, base.tokenizer(), config.max_length, texts[:_SAMPLE_TEXTS])
    return model


def check_model(
    name: str, model: TextClassifier, tokenizer: PreTrainedTokenizerBase, max_length: int, texts: Sequence[str]
) -> None:
    """Run the base model `name` on texts as in training (torch) and as in serving (exported, in ONNX Runtime).

    Args:
        name: of the base model.
        model: its encoder with untrained classification layers; the model and torch's random state are not changed.
        tokenizer: its tokenizer.
        max_length: maximum number of tokens per text.
        texts: a sample of the training texts.

    Raises:
        ConfigurationError: a later stage would fail, or the scores would differ; the message has the remedy.
    """
    with reject_on_failure(name, "cannot be used", CHOOSE_ENCODER), torch.random.fork_rng([]), _evaluating(model):
        _check_vocabulary(name, model, tokenizer)
        ids = _token_ids(name, tokenizer, texts, max_length)
        _check_positions(name, model, ids)
        _check_numbers(name, model, ids)
        _check_both_sides(name, model, ids)
        _check_padding_token(name, tokenizer)
        _check_export(name, model, [ids, ids[:_SHORT]])


def _check_vocabulary(name: str, model: TextClassifier, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = model.encoder.get_input_embeddings().weight.shape[0]
    needed = max(tokenizer.get_vocab().values()) + 1
    if needed > rows:
        raise base_model_error(
            name,
            f"has embeddings for {rows} tokens and a tokenizer of {needed}",
            f"take the tokenizer it was trained with, or call resize_token_embeddings({needed}) and save it again",
        )


def _token_ids(name: str, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int) -> list[int]:
    """Return `length` token ids from the texts, special tokens included."""
    encoded = tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
    ids = [token_id for text_ids in encoded for token_id in text_ids]
    special_ids = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    words = [token_id for token_id in ids if token_id not in special_ids]
    unknown = sum(token_id == tokenizer.unk_token_id for token_id in words)
    if unknown >= UNKNOWN_TOKENS * len(words):
        raise base_model_error(
            name,
            f"has a tokenizer that does not know {unknown} of {len(words)} tokens of the texts",
            "choose a model for their language, or copy the tokenizer files that belong to this model",
        )
    return (ids * (length // len(ids) + 1))[:length]


def _check_positions(name: str, model: TextClassifier, ids: Sequence[int]) -> None:
    problem = _failure(model, ids)
    if problem is None:
        return
    longest = bisect_left(range(1, len(ids)), True, key=lambda length: _failure(model, ids[:length]) is not None)
    if not longest:
        with reject_on_failure(name, "cannot read texts", CHOOSE_ENCODER):
            raise problem
    raise base_model_error(
        name, f"reads {longest} tokens at most and max_length is {len(ids)}", f"set max_length to {longest} or less"
    ) from problem


def _check_numbers(name: str, model: TextClassifier, ids: Sequence[int]) -> None:
    if not np.isfinite(_logits(model, ids)).all():
        raise base_model_error(
            name, "gives logits that are not finite numbers", "its weights are damaged: copy the model again"
        )


def _check_both_sides(name: str, model: TextClassifier, ids: Sequence[int]) -> None:
    """Reject a decoder, in which later tokens do not influence earlier ones."""
    other = next(token_id for token_id in ids if token_id != ids[2])
    before, after = (model.encoder(**_inputs([*ids[:2], last])).last_hidden_state[0, 0] for last in (ids[2], other))
    if torch.allclose(before, after, rtol=0, atol=1e-6 * float(before.abs().max())):
        kind = model.encoder.config.model_type
        raise base_model_error(name, f"({kind}) is a decoder: a token does not see those after it", CHOOSE_ENCODER)


def _check_padding_token(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.pad_token_id is None:
        raise base_model_error(name, "has no padding token", "set tokenizer.pad_token and save the tokenizer again")


def _check_export(name: str, model: TextClassifier, texts: Sequence[list[int]]) -> None:
    expected = np.concatenate([_logits(model, ids) for ids in texts])
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    if size >= ONNX_BYTES:
        raise base_model_error(
            name, f"has {size / 2**30:.1f} GiB of weights, and ONNX supports 2", "choose a smaller model"
        )
    with reject_on_failure(name, "cannot be exported to ONNX", CHOOSE_ENCODER), tempfile.TemporaryDirectory() as folder:
        export_onnx(model, Path(folder) / "trial.onnx")
        served = OnnxEngine(Path(folder) / "trial.onnx", batch_size=len(texts)).logits(texts)
    if not np.allclose(served, expected, rtol=TOLERANCE, atol=TOLERANCE):
        difference = float(np.max(np.abs(served - expected)))
        raise base_model_error(
            name, f"gives other logits in ONNX Runtime than in torch (they differ by {difference:.2g})", CHOOSE_ENCODER
        )


def _failure(model: TextClassifier, ids: Sequence[int]) -> Exception | None:
    """Return the exception that the model raises on these tokens, or None."""
    try:
        _logits(model, ids)
    except Exception as problem:  # torch and transformers raise many types
        return problem
    return None


def _logits(model: TextClassifier, ids: Sequence[int]) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = model(**_inputs(ids)).logits.numpy()
    return logits


def _inputs(ids: Sequence[int]) -> dict[str, torch.Tensor]:
    input_ids = torch.tensor([list(ids)])
    return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}


@contextmanager
def _evaluating(model: TextClassifier) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
