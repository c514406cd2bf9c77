"""Several seeds: how much of a result is luck, and the best of them on validation to serve."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t as student_t
from transformers import TrainerCallback

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.data_quality.max_length import with_max_length
from bert_textclassification.training.evaluation.inference import Evaluated, evaluate_splits
from bert_textclassification.training.evaluation.metric_values import metric_value
from bert_textclassification.training.evaluation.metrics import Interval, positive_scores
from bert_textclassification.training.evaluation.selection_metric import choose_metric, higher_is_better
from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.modeling.fine_tuned import STUDENT, FineTuned
from bert_textclassification.training.modeling.record import write_record


def fine_tune_seeds(
    config: TrainingConfig,
    splits: Splits,
    folder: Path,
    checkpoints: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> FineTuned:
    """Fine-tune `config.num_seeds` models and write the best one on validation to `folder`; arguments: `fine_tune`.

    The data are split once, by `config.seed`; the seed of a model draws its head and the order of the texts. Each
    model stays in a folder of its own beside the best one. Only the mean over the seeds is free of the choice among
    them.
    """
    if config.num_seeds == 1:
        return fine_tune(config, splits, folder, checkpoints=checkpoints, callbacks=callbacks)
    config, metric = with_max_length(config, splits), choose_metric(config, splits).metric
    models, measured = [], []
    for seed in range(config.seed, config.seed + config.num_seeds):
        own = config.model_copy(update={"seed": seed, "num_seeds": 1})
        model = fine_tune(
            own, splits, folder.parent / f"{folder.name}_{seed}", checkpoints=checkpoints, callbacks=callbacks
        )
        models.append(model)
        evaluated = evaluate_splits(model, model.model(), splits)
        measured.append({name: _measured(evaluated, name) for name in dict.fromkeys(("accuracy", metric))})
    sign = 1 if higher_is_better(metric) else -1
    best = models[int(np.argmax([sign * model.facts["best_metric"] for model in models]))]
    shutil.copytree(best.folder, folder, dirs_exist_ok=True)
    shutil.rmtree(folder / STUDENT, ignore_errors=True)  # of the model before
    tables = [seeds_table([one[name] for one in measured], name) for name in measured[0]]
    facts = best.facts | {
        "seed": best.config.seed,
        "seeds": {name: interval for table in tables for name, interval in table.items()},
        "accuracies": [one["accuracy"] for one in measured],
    }
    write_record(folder, config, best.history, facts)
    return FineTuned.load(folder)


def seeds_table(values: Sequence[dict[str, float]], metric: str = "accuracy") -> dict[str, Interval]:
    """Return mean, low and high of a metric over the seeds, by split: the 95 % interval of Student's t."""
    return {f"{split}_{metric}": mean_with_interval([one[split] for one in values]) for split in values[0]}


def mean_with_interval(values: Sequence[float]) -> Interval:
    """Return the mean of a few values and the 95 % interval of Student's t for it, as value, low, high."""
    mean, rest = float(np.mean(values)), len(values) - 1
    half = float(student_t.ppf(0.975, rest) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return {"value": mean, "low": mean - half, "high": mean + half}


def _measured(evaluated: Mapping[str, Evaluated], metric: str) -> dict[str, float]:
    """Return `metric` of the FP32 model on validation and test."""
    return {
        name: abs(metric_value(metric, evaluated[name].targets, positive_scores(evaluated[name].reference)))
        for name in ("validation", "test")
    }
