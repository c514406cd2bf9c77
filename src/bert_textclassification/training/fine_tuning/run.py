"""Fine-tune a pretrained encoder on labelled texts with the transformers Trainer.

    fine_tuned = fine_tune(config, splits, Path("runs/demo/fine_tuned"))

The folder that comes out holds model.safetensors, config.json, the tokenizer and training.json: configuration,
history and scores, from which the later stages go on.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, set_seed

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits, fingerprints
from bert_textclassification.training.data_quality.max_length import with_max_length
from bert_textclassification.training.evaluation.behavioral.file import load_suite
from bert_textclassification.training.fine_tuning import distributed, preemption, trainer
from bert_textclassification.training.fine_tuning.checkpoints import Checkpoints
from bert_textclassification.training.fine_tuning.samplers import padding_share
from bert_textclassification.training.fine_tuning.trainer import FineTuningTrainer, class_weights
from bert_textclassification.training.modeling.base_model_check import load_checked
from bert_textclassification.training.modeling.base_models import BaseModel, find_base_model
from bert_textclassification.training.modeling.classifier import TextClassifier, require_smaller, save_classifier
from bert_textclassification.training.modeling.fine_tuned import STUDENT, FineTuned
from bert_textclassification.training.modeling.record import write_record

_OF_LATER_STAGES = {
    "data", "behavioral_tests", "threshold_objective", "false_positive_cost", "false_negative_cost", "review_cost",
    "max_accuracy_loss", "max_average_precision_loss", "max_log_loss_increase", "early_exit_budget", "student_layers",
    "num_seeds",
}  # fmt: skip


def fine_tune(
    config: TrainingConfig,
    splits: Splits,
    folder: Path,
    make_trainer: Callable[..., Trainer] = FineTuningTrainer,
    checkpoints: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> FineTuned:
    """Fine-tune `config.base_model` on `splits` and write the best checkpoint to `folder`.

    Args:
        config: the settings.
        splits: labelled texts.
        folder: receives the model.
        make_trainer: makes the Trainer from its arguments.
        checkpoints: where an interrupted run is gone on from; None for a run that starts from the beginning.
        callbacks: more of them for the Trainer.

    Raises:
        UserError: the base model, the student's layers or the behavioural tests cannot be used; found now and not
            after hours.
    """
    config, base = with_max_length(config, splits), find_base_model(config.base_model)
    load_suite(config, splits.labels)
    set_seed(config.seed)
    model = load_checked(base, config, splits.train["text"].tolist())
    if config.student_layers:
        require_smaller(config.student_layers, model.encoder.config.num_hidden_layers)
    shutil.rmtree(folder / STUDENT, ignore_errors=True)  # of the model before
    return train(model, base, config, splits, folder, make_trainer, checkpoints, callbacks)


def train(
    model: TextClassifier,
    base: BaseModel,
    config: TrainingConfig,
    splits: Splits,
    folder: Path,
    make_trainer: Callable[..., Trainer] = FineTuningTrainer,
    checkpoints: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> FineTuned:
    """Train `model`, which came from `base`, and write the best checkpoint to `folder`."""
    with _or_temporary(checkpoints) as root:
        kept = Checkpoints.of(root, made_from(model, base, config, splits))
        if not kept.is_finished():
            one = trainer.make(config, splits, model, base.tokenizer(), kept.folder, make_trainer, callbacks)
            latest = kept.latest()
            result = one.train(resume_from_checkpoint=None if latest is None else str(latest))
            preemption.leave_if_asked()
            save_classifier(model, base.tokenizer(), kept.finished)
            facts = _facts(one, base, config, splits) | {"train_seconds": round(result.metrics["train_runtime"], 1)}
            write_record(kept.finished, config, one.state.log_history, facts)
            kept.finish()
        shutil.copytree(kept.finished, folder, dirs_exist_ok=True)
        trained = FineTuned.load(kept.finished)
        facts = trained.facts | {"data": fingerprints(splits)}
        write_record(folder, config, trained.history, facts)  # settings of later stages may be new
    return FineTuned.load(folder)


def made_from(model: TextClassifier, base: BaseModel, config: TrainingConfig, splits: Splits) -> list[str]:
    """Return what determines a fine-tuning: one that was interrupted goes on only if all of it is the same."""
    return [
        base.source().sha256,
        str(model.encoder.config.num_hidden_layers),
        config.model_dump_json(exclude=_OF_LATER_STAGES),
        str(distributed.count()),
        *fingerprints(splits).values(),
    ]


def require_same_data(fine_tuned: FineTuned, splits: Splits) -> None:
    """Check that these are the splits that the model was fine-tuned on: others may evaluate it on what it has learnt.

    Raises:
        DataError: they are others.
    """
    before, now = fine_tuned.facts.get("data", {}), fingerprints(splits)
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        raise DataError(
            f"The data have changed since the model was fine-tuned ({', '.join(changed)}), and rows that it has learnt "
            "may be in other splits now; run notebook 02 again."
        )


@contextmanager
def _or_temporary(checkpoints: Path | None) -> Iterator[Path]:
    if checkpoints is not None:
        yield checkpoints
    else:
        with tempfile.TemporaryDirectory(prefix="fine-tuning-") as scratch:
            yield Path(scratch)


def _facts(one: Trainer, base: BaseModel, config: TrainingConfig, splits: Splits) -> dict[str, Any]:
    return {
        "base_model": base.source().model_dump(),
        "layers": one.model.encoder.config.num_hidden_layers,
        "precision": "bf16" if one.args.bf16 else "fp32",
        "device": one.args.device.type,
        "hosts": distributed.count(),
        "class_weights": class_weights(splits, config),
        "padding_share": round(padding_share(one.train_dataset["length"], config.batch_size, config.seed), 4),
        "steps": one.state.global_step,
        "judged_by": one.args.metric_for_best_model,
        "best_step": one.state.best_global_step,
        "best_metric": one.state.best_metric,
    }
