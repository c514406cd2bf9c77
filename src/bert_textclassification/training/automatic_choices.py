"""The decisions that a run derives from its data before training, as sentences; every run prints them first."""

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.data_quality.max_length import max_length_sentence
from bert_textclassification.training.evaluation.selection_metric import choose_metric
from bert_textclassification.training.evaluation.thresholds import review_band


def decisions(config: TrainingConfig, splits: Splits) -> list[str]:
    """Return the positive label, the selection metric and the maximum length, each with its reason, in sentences.

    Then follow the given settings that have no effect.

    Raises:
        ConfigurationError: the base model cannot be used.
    """
    made = [*splits.notes, choose_metric(config, splits).sentence, max_length_sentence(config, splits)]
    return [*made, *_without_effect(config)]


def _without_effect(config: TrainingConfig) -> list[str]:
    """Return a sentence on each given cost that has no effect."""
    if config.review_cost and review_band(config) is None:
        return [
            f"review_cost {config.review_cost:g} changes nothing: a review costs at least as much as the expected "
            "errors, so no text is left to review; lower it, or raise the costs of errors."
        ]
    costs = [name for name in ("false_positive_cost", "false_negative_cost") if config.is_changed(name)]
    if not costs or config.threshold_objective == "cost" or config.review_cost:
        return []
    reason = f"threshold_objective is {config.threshold_objective} and there is no review_cost"
    return [f"{name} changes nothing: {reason}; set threshold_objective=cost or a review_cost." for name in costs]
