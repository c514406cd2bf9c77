"""Evaluate and keep a moving average of the weights instead of the last step's: steadier, and rarely worse."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel
from transformers import Trainer, TrainerCallback


class WeightAverage(TrainerCallback):
    """An exponential moving average of a model's parameters (Polyak and Juditsky 1992).

    The decay rises as (1 + n) / (10 + n) with the number of steps n up to `decay`, as in TensorFlow's
    ExponentialMovingAverage, so that a short training is averaged over its own last steps.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self._averaged = AveragedModel(model, multi_avg_fn=self._move)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the step's weights into the average."""
        self._averaged.update_parameters(self._model)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averaged weights into the model for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for own, averaged in zip(self._model.parameters(), self._averaged.module.parameters(), strict=True):
            own.data, averaged.data = averaged.data, own.data

    def _move(self, averaged: Any, current: Any, steps: torch.Tensor | int) -> None:
        count = float(steps)
        decay = min(self._decay, (1 + count) / (10 + count))
        for mean, value in zip(averaged, current, strict=True):
            mean.lerp_(value, 1 - decay)


class AveragingTrainer(Trainer):
    """A Trainer that evaluates and saves the averaged weights; the best checkpoint is therefore an average."""

    def __init__(self, *args: Any, average: WeightAverage, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._average = average
        self.add_callback(average)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate the averaged weights."""
        with self._average.in_place():
            metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        return metrics

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """Save the averaged weights."""
        with self._average.in_place():
            super().save_model(*args, **kwargs)
