"""Warn of a significant difference between validation and test, with its size and likely cause."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact, mannwhitneyu

from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.evaluation.metric_values import metric_value
from bert_textclassification.training.evaluation.selection_metric import METRIC_NAMES
from bert_textclassification.training.evaluation.significance import SIGNIFICANT
from bert_textclassification.training.evaluation.subsets import compare_subset

_DIFFERENT = 0.01  # p-value below which a property of the splits is named as a cause


def gap_of_splits(
    metric: str,
    targets: Mapping[str, Sequence[int]],
    scores: Mapping[str, NDArray[np.float64]],
    splits: Splits,
    threshold: float,
) -> list[str]:
    """Return a warning if `metric` differs significantly between validation and test, else nothing.

    The tests are two-sided: Fisher's exact test for accuracy, a Monte Carlo permutation test for other metrics, which
    draws the rows of validation from both splits.
    """
    names = ("validation", "test")
    truth = np.concatenate([targets[name] for name in names]).astype(np.int64)
    score = np.concatenate([scores[name] for name in names])
    is_validation = np.arange(len(truth)) < len(targets["validation"])
    _, p_value = compare_subset(metric, truth, score, is_validation, np.zeros(len(truth)), threshold)
    if p_value >= SIGNIFICANT:
        return []
    values = [metric_value(metric, targets[name], scores[name], threshold) for name in names]
    first, second = (_format(metric, value) for value in values)
    return [
        f"Validation has {first} {METRIC_NAMES[metric]} and test has {second}, a larger gap than chance explains "
        f"(p = {p_value:.2g}). {_causes(splits)}"
    ]


def _causes(splits: Splits) -> str:
    differences = [*_label_shares(splits), *_lengths(splits)]
    if differences:
        return f"The splits contain different texts: {'; '.join(differences)}."
    return (
        "Checkpoint and threshold were chosen on validation, or the texts of the splits differ: trust the test score, "
        "and check the source of both splits."
    )


def _label_shares(splits: Splits) -> list[str]:
    counts = [np.bincount(splits.targets(frame), minlength=2) for frame in (splits.validation, splits.test)]
    if fisher_exact(counts).pvalue >= _DIFFERENT:
        return []
    first, second = (count[1] / count.sum() for count in counts)
    return [f"{splits.labels[1]!r} is {first:.1%} of validation and {second:.1%} of test"]


def _lengths(splits: Splits) -> list[str]:
    lengths = [[len(text.split()) for text in frame["text"]] for frame in (splits.validation, splits.test)]
    if mannwhitneyu(*lengths).pvalue >= _DIFFERENT:
        return []
    first, second = map(np.median, lengths)
    return [f"the median text has {first:g} words in validation and {second:g} in test"]


def _format(metric: str, value: float) -> str:
    return f"{-value:.4f}" if metric == "loss" else f"{value:.1%}"
