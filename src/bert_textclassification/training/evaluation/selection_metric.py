"""Choose the selection metric, which compares checkpoints, seeds, trials of the search, the baseline and slices.

    chosen = choose_metric(config, splits)
    chosen.metric      # "average_precision"
    chosen.sentence    # "The selection metric is average precision: the rarer label, 'spam', is 12.5% of train, ..."

The setting `selection_metric` overrides the rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits

IMBALANCED_BELOW = 0.2  # share of the rarer label
METRIC_NAMES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "average_precision": "average precision",
    "average_precision_negative": "average precision of the negative label",
    "loss": "log loss",
}


@dataclass(frozen=True)
class SelectionMetric:
    """The selection metric, one of METRIC_NAMES, and a sentence with the reason."""

    metric: str
    sentence: str


def choose_metric(config: TrainingConfig, splits: Splits) -> SelectionMetric:
    """Return the setting `selection_metric`, or a metric that suits the balance of the labels.

    If the rarer label is under 20 % of train or of validation, it is the average precision of that label: accuracy
    would mostly reflect how rare the label is. Otherwise it is accuracy. The test split is not used.
    """
    if config.selection_metric != "auto":
        name = METRIC_NAMES[config.selection_metric]
        return SelectionMetric(config.selection_metric, f"The selection metric is {name}, set by selection_metric.")
    targets = {"train": splits.targets(splits.train), "validation": splits.targets(splits.validation)}
    split = min(targets, key=lambda name: rarer_share(targets[name]))
    share, positive_is_rarer = rarer_share(targets[split]), np.mean(targets[split]) <= 0.5
    balance = f"the rarer label, {splits.labels[int(positive_is_rarer)]!r}, is {share:.1%} of {split}"
    if share >= IMBALANCED_BELOW:
        return SelectionMetric("accuracy", f"The selection metric is accuracy: {balance}.")
    metric = "average_precision" if positive_is_rarer else "average_precision_negative"
    return SelectionMetric(
        metric,
        f"The selection metric is {METRIC_NAMES[metric]}: {balance}. Under {IMBALANCED_BELOW:.0%}, accuracy mostly "
        "reflects how rare the label is. The setting selection_metric overrides this choice.",
    )


def with_chosen_metric(config: TrainingConfig, splits: Splits) -> TrainingConfig:
    """Return `config` with `selection_metric` set to the choice of `choose_metric`."""
    return config.model_copy(update={"selection_metric": choose_metric(config, splits).metric})


def higher_is_better(metric: str) -> bool:
    """Whether the metric is to be maximised, unlike the loss."""
    return metric != "loss"


def rarer_share(targets: Sequence[int]) -> float:
    """Return the share of the rarer label in 0/1 `targets`."""
    positives = sum(targets)
    return min(positives, len(targets) - positives) / len(targets)
