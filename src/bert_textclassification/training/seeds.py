"""Several seeds: how much of a result is luck, and the best of them on validation to serve."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t as student_t
from transformers import TrainerCallback

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data import Splits
from bert_textclassification.training.decision import labels_of
from bert_textclassification.training.evaluation import Interval, accuracy
from bert_textclassification.training.fine_tuning import STUDENT, FineTuned, evaluate_splits, fine_tune, write_record


def fine_tune_seeds(
    config: TrainingConfig,
    splits: Splits,
    folder: Path,
    checkpoints: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> FineTuned:
    """Fine-tune `config.seeds` models and write the best one on validation to `folder`; arguments as of `fine_tune`.

    The data are split once, by `config.seed`; the seed of a model draws its head and the order of the texts. Each
    model stays in a folder of its own beside the best one. Only the mean over the seeds is free of the choice among
    them.
    """
    if config.seeds == 1:
        return fine_tune(config, splits, folder, checkpoints=checkpoints, callbacks=callbacks)
    models, accuracies = [], []
    for seed in range(config.seed, config.seed + config.seeds):
        own = config.model_copy(update={"seed": seed, "seeds": 1})
        model = fine_tune(
            own, splits, folder.parent / f"{folder.name}_{seed}", checkpoints=checkpoints, callbacks=callbacks
        )
        models.append(model)
        accuracies.append(_accuracies(model, splits))
    sign = -1 if config.selection_metric == "loss" else 1
    best = models[int(np.argmax([sign * model.facts["best_metric"] for model in models]))]
    shutil.copytree(best.folder, folder, dirs_exist_ok=True)
    shutil.rmtree(folder / STUDENT, ignore_errors=True)  # of the model before
    facts = best.facts | {"seed": best.config.seed, "seeds": seeds_table(accuracies), "accuracies": accuracies}
    write_record(folder, config, best.history, facts)
    return FineTuned.load(folder)


def seeds_table(accuracies: Sequence[dict[str, float]]) -> dict[str, Interval]:
    """Return mean, low and high of each accuracy over the seeds: the 95 % interval of Student's t."""
    return {f"{split}_accuracy": mean_with_interval([one[split] for one in accuracies]) for split in accuracies[0]}


def mean_with_interval(values: Sequence[float]) -> Interval:
    """Return the mean of a few values and the 95 % interval of Student's t for it, as value, low, high."""
    mean, rest = float(np.mean(values)), len(values) - 1
    half = float(student_t.ppf(0.975, rest) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return {"value": mean, "low": mean - half, "high": mean + half}


def _accuracies(model: FineTuned, splits: Splits) -> dict[str, float]:
    evaluated = evaluate_splits(model, model.model(), splits)
    return {
        name: accuracy(split.targets, labels_of(split.reference))
        for name, split in evaluated.items()
        if name in ("validation", "test")
    }
