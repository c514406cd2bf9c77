"""The speed of a trial's int8 model, measured before the training: it depends only on the model's shape.

Each shape is measured once, in rounds interleaved with the shape of the base settings, so that load on the machine
affects both. Trials of one shape have exactly the same milliseconds.
"""

import tempfile
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray

from bert_textclassification.engines.base import Engine
from bert_textclassification.engines.native.engine import NativeEngine
from bert_textclassification.engines.onnx import OnnxEngine
from bert_textclassification.training.config import MAX_LENGTH, TrainingConfig
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.evaluation.inference import encode
from bert_textclassification.training.export.timing import Contender, sample_stream, time_interleaved
from bert_textclassification.training.export.variants import VARIANTS, Models, unavailable_reason, write
from bert_textclassification.training.modeling.base_model_check import load_checked
from bert_textclassification.training.modeling.base_models import find_base_model
from bert_textclassification.training.modeling.classifier import TextClassifier

TIMED_TEXTS, TIMED_ROUNDS = 100, 5
_KNOWN = "milliseconds by shape"  # attribute of the study


class Stopwatch:
    """Measures the milliseconds per text of int8 models and stores them in the study."""

    def __init__(self, config: TrainingConfig, splits: Splits, study: optuna.Study) -> None:
        """Draw and encode the validation texts to time.

        Args:
            config: the base settings, whose shape is the reference.
            splits: the labelled texts.
            study: stores the measurements.
        """
        self._texts = sample_stream(splits.validation["text"].tolist(), TIMED_TEXTS, seed=0)
        self._ids = encode(find_base_model(config.base_model).tokenizer(), self._texts, MAX_LENGTH)
        self._config = config
        self._study = study

    def milliseconds(self, config: TrainingConfig) -> float:
        """Return the milliseconds per text at batch size 1 on one core: mean over texts, median over rounds."""
        known = dict(self._study.user_attrs.get(_KNOWN, {}))
        shape, usual = self._shape(config), self._shape(self._config)
        if shape not in known:
            reference, measured = self._mean_times([self._config, config])
            known.setdefault(usual, float(np.median(reference)))
            known.setdefault(shape, known[usual] * float(np.median(measured / reference)))
            self._study.set_user_attr(_KNOWN, known)
        return float(known[shape])

    def _shape(self, config: TrainingConfig) -> str:
        tokens = sum(min(len(ids), config.max_length) for ids in self._ids)
        return f"{config.num_layers} layers, {tokens} tokens in {len(self._ids)} texts"

    def _mean_times(self, configs: list[TrainingConfig]) -> list[NDArray[np.float64]]:
        """Return the mean milliseconds per text of each round, [rounds], for each of `configs`."""
        runs = {str(number): _untrained(config, self._texts) for number, config in enumerate(configs)}
        return [times.mean(axis=1) for times in time_interleaved(runs, self._ids, TIMED_ROUNDS).values()]


def int8_engine(model: TextClassifier) -> Engine:
    """Return `model` in int8: in the native engine or, if that cannot run it, in ONNX Runtime."""
    models = Models(model, student=None)
    with tempfile.TemporaryDirectory(prefix="int8-") as folder:
        if unavailable_reason(VARIANTS["int8"], models) is None:
            return NativeEngine(write(VARIANTS["int8"], models, Path(folder)))
        return OnnxEngine(write(VARIANTS["int8_onnx"], models, Path(folder)), VARIANTS["int8_onnx"].batch_size)


def _untrained(config: TrainingConfig, texts: list[str]) -> Contender:
    engine = int8_engine(load_checked(find_base_model(config.base_model), config, texts).eval())
    return lambda ids: engine.logits([ids[: config.max_length]])
