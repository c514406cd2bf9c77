"""What may be wrong with a data set, kind by kind, and which rows leave train for it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from bert_textclassification.errors import DataError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.issues import Finding
from bert_textclassification.training.data.rows import Tables
from bert_textclassification.training.data_quality import duplicates
from bert_textclassification.training.data_quality import encoding as text_damage
from bert_textclassification.training.display.progress import progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BEFORE_SPLITTING = ("leakage", "conflict", "repeat")  # else copies of a text would end up in several splits
QUICK = (*BEFORE_SPLITTING, "encoding", "html")


def clean(tables: Tables, kinds: Iterable[str], config: TrainingConfig) -> tuple[Tables, list[Finding]]:
    """Look for findings of `kinds`, in order; the rows of those in `config.drop` leave train, and no other split.

    Raises:
        DataError: no row of one label is left to train on.
    """
    findings = []
    for kind in progress(list(kinds), desc="auditing", unit="check", delay=3):
        finding = _FINDERS[kind](tables, config)
        if finding is not None and kind in config.drop:
            tables, finding = _dropped(tables, finding)
        findings += [] if finding is None else [finding]
    return tables, findings


def _dropped(tables: Tables, finding: Finding) -> tuple[Tables, Finding]:
    train, rows = tables["train"], finding.rows
    kept = train[~_places(train).isin(_places(rows[rows["split"] == "train"]))]
    lost = set(train["label"]) - set(kept["label"])
    if lost:
        raise DataError(
            f"No row of train labelled {min(lost)!r} is left without {finding.kind}; check the data or take "
            f"{finding.kind!r} out of drop."
        )
    return {**tables, "train": kept.reset_index(drop=True)}, replace(finding, dropped=len(train) - len(kept))


def _places(rows: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[["source", "line"]])


def _too_long(tables: Tables, config: TrainingConfig) -> Finding | None:
    from bert_textclassification.training.data_quality import tokenization
    from bert_textclassification.training.data_quality.max_length import find_max_length

    return tokenization.too_long(tables, _tokenizer(config), find_max_length(config, tables))


def _language(tables: Tables, config: TrainingConfig) -> Finding | None:
    from bert_textclassification.training.data_quality import tokenization

    return tokenization.foreign_texts(tables, _tokenizer(config))


def _label_error(tables: Tables, config: TrainingConfig) -> Finding | None:
    from bert_textclassification.training.data_quality.label_errors import label_errors

    return label_errors(tables, config.seed)


def _tokenizer(config: TrainingConfig) -> "PreTrainedTokenizerBase":
    from bert_textclassification.training.modeling.base_models import find_base_model

    return find_base_model(config.base_model).tokenizer()


_FINDERS: dict[str, Callable[[Tables, TrainingConfig], Finding | None]] = {
    "leakage": lambda tables, config: duplicates.leakage(tables),
    "conflict": lambda tables, config: duplicates.conflicts(tables),
    "repeat": lambda tables, config: duplicates.repeats(tables),
    "near_leakage": lambda tables, config: duplicates.near_leakage(tables),
    "encoding": lambda tables, config: text_damage.wrong_encoding(tables),
    "html": lambda tables, config: text_damage.html_remains(tables),
    "too_long": _too_long,
    "language": _language,
    "label_error": _label_error,
}
