"""What a run has decided from its data before it trains, in sentences: every run begins with them."""

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data import Splits
from bert_textclassification.training.judging import choose_metric
from bert_textclassification.training.max_length import max_length_sentence


def decisions(config: TrainingConfig, splits: Splits) -> list[str]:
    """Return which label is positive, by what models are judged, and how many tokens are read, each with its reason.

    Raises:
        ConfigurationError: the base model cannot be used.
    """
    return [*splits.notes, choose_metric(config, splits).sentence, max_length_sentence(config, splits)]
