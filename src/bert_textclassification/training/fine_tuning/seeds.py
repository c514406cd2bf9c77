"""Fine-tune with several seeds: measure the variance over seeds, and serve the model that is best on validation."""

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
    """Fine-tune `config.num_seeds` models and write the best one on validation to `folder`; arguments: see `fine_tune`.

    The data are split once with `config.seed`. The seed of a model determines its initial classification layer and the
    order of the texts. Each model is kept in its own folder beside `folder`. The score of the best seed is optimistic;
    the mean over the seeds is not.
    """
    if config.num_seeds == 1:
        return fine_tune(config, splits, folder, checkpoints=checkpoints, callbacks=callbacks)
    config, metric = with_max_length(config, splits), choose_metric(config, splits).metric
    models, metrics = [], []
    for seed in range(config.seed, config.seed + config.num_seeds):
        seed_config = config.model_copy(update={"seed": seed, "num_seeds": 1})
        seed_folder = folder.parent / f"{folder.name}_{seed}"
        model = fine_tune(seed_config, splits, seed_folder, checkpoints=checkpoints, callbacks=callbacks)
        models.append(model)
        evaluated = evaluate_splits(model, model.model(), splits)
        metrics.append({name: _measure(evaluated, name) for name in dict.fromkeys(("accuracy", metric))})
    sign = 1 if higher_is_better(metric) else -1
    best = models[int(np.argmax([sign * model.facts["best_metric"] for model in models]))]
    shutil.copytree(best.folder, folder, dirs_exist_ok=True)
    shutil.rmtree(folder / STUDENT, ignore_errors=True)  # student of an earlier model
    tables = [seeds_table([values[name] for values in metrics], name) for name in metrics[0]]
    facts = best.facts | {
        "seed": best.config.seed,
        "seeds": {name: interval for table in tables for name, interval in table.items()},
        "accuracies": [values["accuracy"] for values in metrics],
    }
    write_record(folder, config, best.history, facts)
    return FineTuned.load(folder)


def seeds_table(values: Sequence[dict[str, float]], metric: str = "accuracy") -> dict[str, Interval]:
    """Return mean, low and high of a metric over the seeds for each split (95 % interval of Student's t)."""
    return {f"{split}_{metric}": mean_with_interval([by_split[split] for by_split in values]) for split in values[0]}


def mean_with_interval(values: Sequence[float]) -> Interval:
    """Return the mean of the values and its 95 % interval of Student's t, as value, low, high."""
    mean, degrees_of_freedom = float(np.mean(values)), len(values) - 1
    half = float(student_t.ppf(0.975, degrees_of_freedom) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return {"value": mean, "low": mean - half, "high": mean + half}


def _measure(evaluated: Mapping[str, Evaluated], metric: str) -> dict[str, float]:
    """Return `metric` of the FP32 model on validation and test."""
    return {
        name: abs(metric_value(metric, evaluated[name].targets, positive_scores(evaluated[name].reference)))
        for name in ("validation", "test")
    }
