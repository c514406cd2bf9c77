"""What models are judged by: one metric for checkpoints, seeds, the search, the baseline, comparisons and slices.

    chosen = choose_metric(config, splits)
    chosen.metric      # "average_precision"
    chosen.sentence    # "Models are judged by average precision: the rarer label, 'spam', has 12.5 % of train, ..."

`selection_metric` overrides the rule.
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
    """The metric that models are judged by, one of METRIC_NAMES, and a sentence that says why."""

    metric: str
    sentence: str


def choose_metric(config: TrainingConfig, splits: Splits) -> SelectionMetric:
    """Return what models are judged by: `selection_metric`, or what the balance of the labels calls for.

    Where the rarer label has under 20 % of train or of validation, accuracy mostly says how rare it is, so that models
    are judged by how well they rank that label's texts first: by its average precision. Else by accuracy. Test is not
    looked at.
    """
    if config.selection_metric != "auto":
        words = METRIC_NAMES[config.selection_metric]
        return SelectionMetric(config.selection_metric, f"Models are judged by {words}, as selection_metric says.")
    targets = {"train": splits.targets(splits.train), "validation": splits.targets(splits.validation)}
    split = min(targets, key=lambda name: rarer_share(targets[name]))
    share, positive_is_rarer = rarer_share(targets[split]), np.mean(targets[split]) <= 0.5
    balance = f"the rarer label, {splits.labels[int(positive_is_rarer)]!r}, has {share:.1%} of {split}"
    if share >= IMBALANCED_BELOW:
        return SelectionMetric("accuracy", f"Models are judged by accuracy: {balance}.")
    metric = "average_precision" if positive_is_rarer else "average_precision_negative"
    return SelectionMetric(
        metric,
        f"Models are judged by {METRIC_NAMES[metric]}: {balance}, under {IMBALANCED_BELOW:.0%}, where accuracy mostly "
        "says how rare it is. Another selection_metric changes that.",
    )


def with_chosen_metric(config: TrainingConfig, splits: Splits) -> TrainingConfig:
    """Return `config` with the metric of `choose_metric` as its `selection_metric`."""
    return config.model_copy(update={"selection_metric": choose_metric(config, splits).metric})


def higher_is_better(metric: str) -> bool:
    """Whether the metric is a share to maximise, and not the loss."""
    return metric != "loss"


def rarer_share(targets: Sequence[int]) -> float:
    """Return the share of the rarer of the labels 0 and 1 among `targets`."""
    positives = sum(targets)
    return min(positives, len(targets) - positives) / len(targets)
