"""What a run has decided from its data before it trains, in sentences: every run begins with them."""

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.data_quality.max_length import max_length_sentence
from bert_textclassification.training.evaluation.selection_metric import choose_metric
from bert_textclassification.training.evaluation.thresholds import review_band


def decisions(config: TrainingConfig, splits: Splits) -> list[str]:
    """Return which label is positive, by what models are judged, and how many tokens are read, each with its reason.

    Settings that were changed and change nothing come last.

    Raises:
        ConfigurationError: the base model cannot be used.
    """
    made = [*splits.notes, choose_metric(config, splits).sentence, max_length_sentence(config, splits)]
    return [*made, *_without_effect(config)]


def _without_effect(config: TrainingConfig) -> list[str]:
    """Return a sentence on each cost that was given and decides nothing."""
    if config.review_cost and review_band(config) is None:
        return [
            f"review_cost {config.review_cost:g} changes nothing: a person looking costs as much as the errors to "
            "expect, or more, so that no text is left to one; lower it, or raise the costs of errors."
        ]
    costs = [name for name in ("false_positive_cost", "false_negative_cost") if config.is_changed(name)]
    if not costs or config.threshold_objective == "cost" or config.review_cost:
        return []
    why = f"threshold_objective is {config.threshold_objective}, not cost, and there is no review_cost"
    return [f"{name} changes nothing: {why}." for name in costs]
