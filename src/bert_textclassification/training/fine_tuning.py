"""Fine-tune a pretrained encoder on labelled texts with the transformers Trainer.

    fine_tuned = fine_tune(config, splits, Path("runs/demo/fine_tuned"))

The folder that comes out holds model.safetensors, config.json, the tokenizer and training.json: configuration,
history and scores, from which the later stages go on.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from bert_textclassification.errors import DataError
from bert_textclassification.serving.onnx_engine import batches_by_length
from bert_textclassification.training.behaviour_file import load_suite
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data import Splits
from bert_textclassification.training.evaluation import compute_metrics, positive_scores
from bert_textclassification.training.model import (
    Answers,
    BaseModel,
    TextClassifier,
    find_base_model,
    load_classifier,
    save_classifier,
)

TRAINING_RECORD = "training.json"
STUDENT = "student"  # the folder of the student, inside its teacher's
_IMBALANCED_BELOW = 0.2


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned model on disk and what is known of it.

    Attributes:
        folder: where weights, tokenizer and `training.json` are.
        config: the settings it was made with.
        history: one dictionary for each logged step, with `step`, `epoch` and `loss` or `eval_*`.
        facts: precision, class weights, steps, seconds, base model and its hash.
    """

    folder: Path
    config: TrainingConfig
    history: list[dict[str, float]]
    facts: dict[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> "FineTuned":
        """Read what `fine_tune` wrote.

        Raises:
            DataError: the folder has no finished model.
        """
        path = Path(folder) / TRAINING_RECORD
        if not path.exists():
            raise DataError(f"{folder} holds no fine-tuned model; run notebook 02 first with the same run_dir.")
        record = json.loads(path.read_text(encoding="utf-8"))
        config = TrainingConfig.of(record["config"])
        return cls(Path(folder), config, record["history"], record["facts"])

    def model(self) -> TextClassifier:
        """Load the model for inference in FP32."""
        return load_classifier(self.folder)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer."""
        return find_base_model(str(self.folder)).tokenizer()

    def student(self) -> "FineTuned | None":
        """Return the student that was distilled from it, if there is one."""
        return FineTuned.load(self.folder / STUDENT) if (self.folder / STUDENT).exists() else None


@dataclass(frozen=True)
class Evaluated:
    """The texts of one split that models are judged on: token ids, targets, and the fine-tuned torch model's logits."""

    token_ids: list[list[int]]
    targets: list[int]
    reference: NDArray[np.float32]


def fine_tune(
    config: TrainingConfig, splits: Splits, folder: Path, make_trainer: Callable[..., Trainer] = Trainer
) -> FineTuned:
    """Fine-tune `config.base_model` on `splits` and write the best checkpoint to `folder`."""
    base = find_base_model(config.base_model)
    load_suite(config, splits.labels)  # a mistake in the behavioural tests is refused now, not after hours
    shutil.rmtree(folder / STUDENT, ignore_errors=True)  # of the model before
    set_seed(config.seed)
    model = base.classifier(config.dropout, config.exit_layers)
    return train(model, base, config, splits, folder, make_trainer)


def train(
    model: TextClassifier,
    base: BaseModel,
    config: TrainingConfig,
    splits: Splits,
    folder: Path,
    make_trainer: Callable[..., Trainer] = Trainer,
) -> FineTuned:
    """Train `model`, which came from `base`, and write the best checkpoint to `folder`."""
    tokenizer = base.tokenizer()
    weights = class_weights(splits, config)
    with tempfile.TemporaryDirectory(prefix="fine-tuning-") as scratch:
        trainer = _trainer(config, splits, model, tokenizer, weights, Path(scratch), make_trainer)
        result = trainer.train()
    save_classifier(model, tokenizer, folder)
    facts = {
        "base_model": base.source().model_dump(),
        "layers": model.encoder.config.num_hidden_layers,
        "precision": "bf16" if trainer.args.bf16 else "fp32",
        "class_weights": weights,
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "best_metric": trainer.state.best_metric,
        "train_seconds": round(result.metrics["train_runtime"], 1),
    }
    _write_record(folder, config, trainer.state.log_history, facts)
    return FineTuned.load(folder)


def evaluate_splits(fine_tuned: FineTuned, model: TextClassifier, splits: Splits) -> dict[str, Evaluated]:
    """Return the splits but train, tokenised, with the torch model's logits."""
    tokenizer = fine_tuned.tokenizer()
    evaluated = {}
    for name, frame in splits.items():
        if name == "train":
            continue
        token_ids = encode(tokenizer, frame["text"].tolist(), fine_tuned.config.max_length)
        evaluated[name] = Evaluated(token_ids, splits.targets(frame), torch_logits(model, token_ids))
    return evaluated


def class_weights(splits: Splits, config: TrainingConfig) -> list[float] | None:
    """Return the loss weight of each class, rows / (2 * rows of the class), where train is imbalanced, else None."""
    positives = sum(splits.targets(splits.train))
    rows = len(splits.train)
    if config.class_weights == "none" or min(positives, rows - positives) / rows >= _IMBALANCED_BELOW:
        return None
    return [rows / (2 * (rows - positives)), rows / (2 * positives)]


def has_bf16() -> bool:
    """Whether this machine computes bf16 in hardware: a GPU that has it, or a CPU with AVX-512 BF16 or AMX."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Return the token ids of each text, special tokens included, cut to `max_length`, without padding."""
    ids: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    return ids


def torch_logits(
    model: TextClassifier, token_ids: Sequence[Sequence[int]], batch_size: int = 32
) -> NDArray[np.float32]:
    """Return the model's logits, float32 [texts, 2], in the order given; batches are sorted by length."""
    result = np.empty((len(token_ids), 2), dtype=np.float32)
    for batch in batches_by_length(token_ids, batch_size):
        rows = [torch.tensor(token_ids[index]) for index in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        with torch.inference_mode():
            result[batch] = model(ids, mask).logits.numpy()
    return result


def _trainer(
    config: TrainingConfig,
    splits: Splits,
    model: TextClassifier,
    tokenizer: PreTrainedTokenizerBase,
    weights: list[float] | None,
    scratch: Path,
    make_trainer: Callable[..., Trainer],
) -> Trainer:
    trainer = make_trainer(
        model=model,
        args=_arguments(config, len(splits.train), scratch),
        train_dataset=_dataset(splits.train, splits, tokenizer, config),
        eval_dataset=_dataset(splits.validation, splits, tokenizer, config),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        compute_loss_func=_loss(weights, model),
        compute_metrics=_validation_metrics,
        callbacks=[EarlyStoppingCallback(config.early_stopping_patience), Progress()],
    )
    trainer.remove_callback(PrinterCallback)  # its lines of raw dictionaries would tear the progress bar
    return trainer


def _arguments(config: TrainingConfig, rows: int, scratch: Path) -> TrainingArguments:
    steps_per_epoch = -(-rows // config.batch_size)
    evaluate_every = max(1, steps_per_epoch // config.evaluations_per_epoch)
    use_bf16 = config.precision == "bf16" or (config.precision == "auto" and has_bf16())
    return TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=round(config.warmup_ratio * config.epochs * steps_per_epoch),
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length",
        bf16=use_bf16,
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="steps",
        eval_steps=evaluate_every,
        save_strategy="steps",
        save_steps=evaluate_every,
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model=config.selection_metric,
        greater_is_better=config.selection_metric != "loss",
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


def _loss(weights: list[float] | None, model: TextClassifier) -> Callable[..., torch.Tensor]:
    """Return the cross-entropy; with early exits the mean of all, weighted by their layers (Kaya et al. 2019)."""
    weight = None if weights is None else torch.tensor(weights)
    layers = (*model.exit_layers, int(model.encoder.config.num_hidden_layers))

    def cross_entropy(outputs: Answers, labels: torch.Tensor, num_items_in_batch: int | None = None) -> torch.Tensor:
        own_weight = None if weight is None else weight.to(labels.device)
        early = outputs["early"].unbind(dim=1) if model.exit_layers else ()
        losses = [
            torch.nn.functional.cross_entropy(logits.float(), labels, weight=own_weight)
            for logits in (*early, outputs["logits"])
        ]
        weighted = [layer * loss for layer, loss in zip(layers, losses, strict=True)]
        return torch.stack(weighted).sum() / sum(layers)

    return cross_entropy


def _validation_metrics(prediction: Any) -> dict[str, float]:
    found = prediction.predictions
    logits = found[0] if isinstance(found, tuple) else found  # of the last layer
    scores = positive_scores(np.asarray(logits, dtype=np.float32))
    return compute_metrics(prediction.label_ids.tolist(), scores.tolist())


def _write_record(folder: Path, config: TrainingConfig, history: list[dict[str, float]], facts: dict[str, Any]) -> None:
    record = {"config": config.model_dump(), "history": history, "facts": facts}
    (folder / TRAINING_RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


class Progress(TrainerCallback):
    """A progress bar on stderr with the latest loss and validation score: the same in a notebook, a batch or a job."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar."""
        self._bar = tqdm(total=state.max_steps, desc="fine-tuning", unit="step", file=sys.stderr, mininterval=1.0)
        self._shown: dict[str, str] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar."""
        self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """Show what was logged."""
        names = {"loss": "loss", "eval_loss": "validation loss", "eval_accuracy": "validation accuracy"}
        self._shown |= {names[name]: f"{value:.4f}" for name, value in logs.items() if name in names}
        self._bar.set_postfix(self._shown, refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self._bar.close()
