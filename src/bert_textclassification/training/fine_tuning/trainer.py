"""The transformers Trainer for this project: arguments, loss, batches, metrics and progress.

Only this module touches the Trainer's private methods; tests/training/fine_tuning/test_trainer.py names them.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from transformers import (
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.serving.calibration import margins
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.display.progress import progress
from bert_textclassification.training.evaluation.calibration import fit_scale, log_loss
from bert_textclassification.training.evaluation.inference import encode
from bert_textclassification.training.evaluation.metrics import compute_metrics, positive_scores, standard_error
from bert_textclassification.training.evaluation.selection_metric import (
    IMBALANCED_BELOW,
    METRIC_NAMES,
    choose_metric,
    higher_is_better,
    rarer_share,
)
from bert_textclassification.training.fine_tuning import distributed, preemption
from bert_textclassification.training.fine_tuning.checkpoints import MarkComplete
from bert_textclassification.training.fine_tuning.optimizer import groups
from bert_textclassification.training.fine_tuning.preemption import EvaluationStopped, StopWithCheckpoint
from bert_textclassification.training.fine_tuning.samplers import ByLength
from bert_textclassification.training.fine_tuning.selection import Evaluation, best_evaluation
from bert_textclassification.training.modeling.classifier import TextClassifier
from bert_textclassification.training.modeling.losses import ExitLoss

_STANDARD_ERROR, _LOG_LOSS = "eval_standard_error", "eval_calibrated_loss"  # names in the log of an evaluation


@dataclass
class FineTuningArguments(TrainingArguments):
    """The Trainer's arguments, extended by the settings of this project."""

    layerwise_lr_decay: float = 1.0
    duplicate_batches: bool = False

    @property
    def n_gpu(self) -> int:
        """At most one GPU: with several, the Trainer silently multiplies the batch size."""
        return min(1, int(super().n_gpu))


class FineTuningTrainer(Trainer):
    """A Trainer with batches of texts of similar length, which are the same after an interruption."""

    optimizer: torch.optim.Optimizer | None

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimizer, with learning rates by depth; the Trainer calls this more than once."""
        if self.optimizer is None:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            args = self.args
            self.optimizer = kind(
                groups(self.model, args.learning_rate, args.weight_decay, args.layerwise_lr_decay), **options
            )
        return self.optimizer

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Train on a batch and return its loss; R-Drop compares two forward passes, so that each row is duplicated."""
        if self.args.duplicate_batches:
            inputs = {name: torch.cat([rows, rows]) for name, rows in inputs.items()}
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if not self.control.should_training_stop:  # the Trainer checks this only after a step
            super()._run_epoch(*args, **kwargs)

    def _evaluate(
        self, trial: Any, ignore_keys_for_eval: list[str] | None, skip_scheduler: bool = False
    ) -> dict[str, float]:
        at_start = skip_scheduler  # evaluates a step that an earlier start has saved
        try:
            metrics: dict[str, float] = super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)
        except EvaluationStopped:
            if not at_start:
                self._save_checkpoint(self.model_wrapped, trial)
                self.callback_handler.on_save(self.args, self.state, self.control)
            preemption.stop_if_requested()
            raise
        if at_start and self._determine_best_metric(metrics, trial):  # otherwise the Trainer calls it and saves
            self.state.best_model_checkpoint = f"{self.args.output_dir}/checkpoint-{self.state.global_step}"
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Return whether the checkpoint of this step is the one to keep; see `best_evaluation`."""
        rows = [row for row in self.state.log_history if _LOG_LOSS in row]
        best = best_evaluation([_evaluation(row, self.args) for row in rows])
        self.state.best_metric = rows[best][f"eval_{self.args.metric_for_best_model}"]
        self.state.best_global_step = rows[best]["step"]
        return bool(best == len(rows) - 1)

    def _get_train_sampler(self, train_dataset: datasets.Dataset | None = None) -> torch.utils.data.Sampler[int] | None:
        lengths = self.train_dataset["length"]
        batch_size = self.args.train_batch_size * self.args.world_size
        steps = -(-len(lengths) // batch_size)
        return ByLength(lengths, batch_size, self.args.seed, epoch=lambda: self.state.global_step // steps)


def make(
    config: TrainingConfig,
    splits: Splits,
    model: TextClassifier,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    make_trainer: Callable[..., Trainer],
    callbacks: Sequence[TrainerCallback] = (),
) -> Trainer:
    """Return the Trainer of `model`, which writes its checkpoints to `folder`.

    Raises:
        ConfigurationError: the batch size is not divisible by the number of hosts.
    """
    if torch.cuda.device_count() > 1:
        print(f"warning: only one of {torch.cuda.device_count()} GPUs is used; use one GPU per host.", file=sys.stderr)
    metric = choose_metric(config, splits).metric
    trainer = make_trainer(
        model=model,
        args=_arguments(config, len(splits.train), metric, folder),
        train_dataset=_dataset(splits.train, splits, tokenizer, config),
        eval_dataset=_by_length(_dataset(splits.validation, splits, tokenizer, config)),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        compute_loss_func=ExitLoss(model, class_weights(splits, config), config.r_drop),
        compute_metrics=partial(_validation_metrics, selection_metric=metric, seed=config.seed),
        callbacks=[
            StopEarly(config.early_stopping_patience),
            MarkComplete(),
            StopWithCheckpoint(),
            Progress(),
            *callbacks,
        ],
    )
    trainer.remove_callback(PrinterCallback)  # its raw dictionaries break the progress bar
    return trainer


def class_weights(splits: Splits, config: TrainingConfig) -> list[float] | None:
    """Return the loss weight of each class, rows / (2 * rows of the class), if train is imbalanced, else None."""
    targets = splits.targets(splits.train)
    if config.class_weights == "none" or rarer_share(targets) >= IMBALANCED_BELOW:
        return None
    positives, rows = sum(targets), len(targets)
    return [rows / (2 * (rows - positives)), rows / (2 * positives)]


def has_bf16() -> bool:
    """Whether this machine has bf16 in hardware: a GPU that supports it, or a CPU with AVX-512 BF16 or AMX."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_tile"))


def _arguments(config: TrainingConfig, rows: int, metric: str, scratch: Path) -> TrainingArguments:
    steps_per_epoch = -(-rows // config.batch_size)
    evaluate_every = max(1, steps_per_epoch // config.evaluations_per_epoch)
    if config.batch_size % distributed.count():
        raise ConfigurationError(
            f"batch_size {config.batch_size} is not divisible by the {distributed.count()} hosts; choose a multiple."
        )
    use_bf16 = config.precision == "bf16" or (config.precision == "auto" and has_bf16())
    return FineTuningArguments(
        layerwise_lr_decay=config.layerwise_lr_decay,
        duplicate_batches=config.r_drop > 0,
        output_dir=str(scratch),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size // distributed.count(),
        per_device_eval_batch_size=64,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=round(config.warmup_ratio * config.epochs * steps_per_epoch),
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        bf16=use_bf16,
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="steps",
        eval_steps=evaluate_every,
        save_strategy="steps",
        save_steps=evaluate_every,
        save_on_each_node=True,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        greater_is_better=higher_is_better(metric),
        logging_steps=max(1, steps_per_epoch // 10),
        label_names=["labels"],
        disable_tqdm=True,
        report_to=[],
        seed=config.seed,
        log_level="error",
    )


def _dataset(
    frame: pd.DataFrame, splits: Splits, tokenizer: PreTrainedTokenizerBase, config: TrainingConfig
) -> datasets.Dataset:
    ids = encode(tokenizer, frame["text"].tolist(), config.max_length)
    return datasets.Dataset.from_dict(
        {
            "input_ids": ids,
            "attention_mask": [[1] * len(row) for row in ids],
            "labels": splits.targets(frame),
            "length": [len(row) for row in ids],
        }
    )


def _by_length(rows: datasets.Dataset) -> datasets.Dataset:
    """Return the rows sorted by length, for little padding; evaluation keeps the order of the rows."""
    return rows.select(np.argsort(rows["length"], kind="stable"))


def _validation_metrics(prediction: Any, selection_metric: str, seed: int) -> dict[str, float]:
    outputs = prediction.predictions  # a tuple with early exits; the last layer's logits are its first item
    logits = np.asarray(outputs[0] if isinstance(outputs, tuple) else outputs, dtype=np.float32)
    targets, scores, log_odds = prediction.label_ids.tolist(), positive_scores(logits), margins(logits)
    return compute_metrics(targets, scores.tolist()) | {
        "standard_error": standard_error(selection_metric, targets, scores, seed),
        "calibrated_loss": log_loss(targets, fit_scale(targets, log_odds).log_odds(log_odds)),
    }


def _evaluation(row: dict[str, float], args: TrainingArguments) -> Evaluation:
    sign = 1 if args.greater_is_better else -1
    return Evaluation(sign * row[f"eval_{args.metric_for_best_model}"], row[_STANDARD_ERROR], row[_LOG_LOSS])


class StopEarly(TrainerCallback):
    """Ends training when the last `patience` evaluations did not improve on the best one.

    It counts evaluations in the log, which is part of every checkpoint, so that a resumed run ends at the same step as
    an uninterrupted one.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End immediately if training had ended before an interruption."""
        self._end_if_exhausted(args, state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check the patience after each evaluation."""
        self._end_if_exhausted(args, state, control)

    def _end_if_exhausted(self, args: Any, state: Any, control: Any) -> None:
        name, sign = f"eval_{args.metric_for_best_model}", 1 if args.greater_is_better else -1
        values = [sign * row[name] for row in state.log_history if name in row]
        best = int(np.argmax(np.nan_to_num(values, nan=-np.inf))) if values else 0  # the first of ties
        if len(values) - 1 - best >= self._patience:
            control.should_training_stop = True


class Progress(TrainerCallback):
    """A progress bar on stderr with the latest loss and validation score, for notebooks and jobs."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar."""
        self._bar = progress(total=state.max_steps, initial=state.global_step, desc="fine-tuning", unit="step")
        self._shown: dict[str, str] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance the bar."""
        self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """Show the logged values."""
        metric = args.metric_for_best_model
        names = {
            "loss": "loss",
            "eval_loss": "validation loss",
            f"eval_{metric}": f"validation {METRIC_NAMES[metric]}",
        }
        self._shown |= {names[name]: f"{value:.4f}" for name, value in logs.items() if name in names}
        self._bar.set_postfix(self._shown, refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self._bar.close()
