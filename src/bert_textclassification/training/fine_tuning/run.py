"""Fine-tune a pretrained encoder on labelled texts with the transformers Trainer.

    fine_tuned = fine_tune(config, splits, Path("runs/demo/fine_tuned"))

The output folder contains model.safetensors, config.json, the tokenizer and training.json (configuration, history and
scores), which later stages read.
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

_SETTINGS_OF_LATER_STAGES = {
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
        make_trainer: creates the Trainer from its arguments.
        checkpoints: folder of checkpoints from which an interrupted run resumes; None to start from the beginning.
        callbacks: additional callbacks for the Trainer.

    Raises:
        UserError: the base model, the student's layers or the behavioural tests cannot be used; this is checked before
            training.
    """
    config, base = with_max_length(config, splits), find_base_model(config.base_model)
    load_suite(config, splits.labels)
    set_seed(config.seed)
    model = load_checked(base, config, splits.train["text"].tolist())
    if config.student_layers:
        require_smaller(config.student_layers, model.encoder.config.num_hidden_layers)
    shutil.rmtree(folder / STUDENT, ignore_errors=True)  # student of an earlier model
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
    """Train `model`, which was made from `base`, and write the best checkpoint to `folder`."""
    with _or_temporary(checkpoints) as root:
        saved = Checkpoints.of(root, made_from(model, base, config, splits))
        if not saved.is_finished():
            hf_trainer = trainer.make(config, splits, model, base.tokenizer(), saved.folder, make_trainer, callbacks)
            latest = saved.latest()
            result = hf_trainer.train(resume_from_checkpoint=None if latest is None else str(latest))
            preemption.stop_if_requested()
            save_classifier(model, base.tokenizer(), saved.finished)
            train_seconds = round(result.metrics["train_runtime"], 1)
            facts = _facts(hf_trainer, base, config, splits) | {"train_seconds": train_seconds}
            write_record(saved.finished, config, hf_trainer.state.log_history, facts)
            saved.finish()
        shutil.copytree(saved.finished, folder, dirs_exist_ok=True)
        trained = FineTuned.load(saved.finished)
        facts = trained.facts | {"data": fingerprints(splits)}
        write_record(folder, config, trained.history, facts)  # settings of later stages may have changed
    return FineTuned.load(folder)


def made_from(model: TextClassifier, base: BaseModel, config: TrainingConfig, splits: Splits) -> list[str]:
    """Return the strings that identify a fine-tuning; an interrupted one resumes only if all of them are equal."""
    return [
        base.source().sha256,
        str(model.encoder.config.num_hidden_layers),
        config.model_dump_json(exclude=_SETTINGS_OF_LATER_STAGES),
        str(distributed.count()),
        *fingerprints(splits).values(),
    ]


def require_same_data(fine_tuned: FineTuned, splits: Splits) -> None:
    """Check that the model was fine-tuned on these splits, so that it is not evaluated on its training rows.

    Raises:
        DataError: the splits have changed.
    """
    before, now = fine_tuned.facts.get("data", {}), fingerprints(splits)
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        raise DataError(
            f"The data have changed since the model was fine-tuned ({', '.join(changed)}), and its training rows may "
            "now be in other splits; run notebook 02 again."
        )


@contextmanager
def _or_temporary(checkpoints: Path | None) -> Iterator[Path]:
    if checkpoints is not None:
        yield checkpoints
    else:
        with tempfile.TemporaryDirectory(prefix="fine-tuning-") as scratch:
            yield Path(scratch)


def _facts(hf_trainer: Trainer, base: BaseModel, config: TrainingConfig, splits: Splits) -> dict[str, Any]:
    args, state = hf_trainer.args, hf_trainer.state
    return {
        "base_model": base.source().model_dump(),
        "layers": hf_trainer.model.encoder.config.num_hidden_layers,
        "precision": "bf16" if args.bf16 else "fp32",
        "device": args.device.type,
        "hosts": distributed.count(),
        "class_weights": class_weights(splits, config),
        "padding_share": round(padding_share(hf_trainer.train_dataset["length"], config.batch_size, config.seed), 4),
        "steps": state.global_step,
        "judged_by": args.metric_for_best_model,
        "best_step": state.best_global_step,
        "best_metric": state.best_metric,
    }
