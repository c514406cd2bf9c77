"""Evaluate a model on slices of the data and find slices where it is worse than on the rest.

    described = describe(splits.test, tokenizer, config.max_length)
    results = measure_slices(described, targets, scores, config.seed)
    slice_table(results), weak_slices(results)

Texts are sliced by length, by unknown and fragmented words, and by every further column of the data with few values
(`data.rows.keep_slices`).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest
from transformers import PreTrainedTokenizerBase

from bert_textclassification.artifact.manifest import SliceResult
from bert_textclassification.training.data.rows import SLICE
from bert_textclassification.training.display.tables import markdown_table, percent
from bert_textclassification.training.evaluation.metric_values import metric_value, metric_values, resampled
from bert_textclassification.training.evaluation.metrics import RESAMPLES
from bert_textclassification.training.evaluation.selection_metric import METRIC_NAMES, higher_is_better
from bert_textclassification.training.evaluation.subsets import compare_subset

MIN_ROWS = 30  # inside and outside a slice for a comparison; smaller slices are only reported
MIN_ROWS_PER_LABEL = 5  # likewise, for metrics that depend on the rows of one label
SIGNIFICANT = 0.05


def describe(frame: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, max_length: int) -> pd.DataFrame:
    """Return the slice values of the texts of `frame`: a row for each text, a column for each slice, as strings.

    Words are those of the tokenizer, which treats punctuation marks as words. A fragmented word has several tokens.
    """
    encoded = tokenizer(frame["text"].tolist(), add_special_tokens=False, verbose=False)
    word_ids = [np.array([word for word in encoded.word_ids(row) if word is not None]) for row in range(len(frame))]
    tokens = np.array([len(words) for words in word_ids]) + tokenizer.num_special_tokens_to_add()
    fragmented = np.array([_share_fragmented(words) for words in word_ids])
    unknown = np.array([tokenizer.unk_token_id in token_ids for token_ids in encoded["input_ids"]])
    text_slices = {
        "tokens": _quarters(np.minimum(tokens, max_length)),
        "cut": np.where(tokens > max_length, f"longer than {max_length} tokens", "read whole"),
        "fragmented words": _quarters(np.round(100 * fragmented), " %"),
        "unknown tokens": np.where(unknown, "some", "none"),
    }
    columns = frame.columns[frame.columns.str.startswith(SLICE)]
    column_slices = {
        f"column {name.removeprefix(SLICE)}": frame[name].replace("", "(none)").to_numpy() for name in columns
    }
    return pd.DataFrame(text_slices | column_slices)


def measure_slices(
    described: pd.DataFrame,
    targets: Sequence[int],
    scores: ArrayLike,
    seed: int,
    threshold: float = 0.5,
    metric: str = "accuracy",
) -> list[SliceResult]:
    """Return the metrics of each slice with 95 % intervals, and the p-value of its difference in `metric` to the rest.

    The interval of the accuracy is Wilson's (1927); those of F1 and `metric` are percentile bootstraps (Efron 1979)
    within each class. The p-values are from `compare_subset` with the true labels as strata, so that the share of
    positives in a slice has no effect. Holm's correction (1979) limits the chance of any false alarm among the slices
    to 5 %. Slices that contain all texts are omitted.

    Args:
        described: result of `describe`.
        targets: 0 or 1 for each row.
        scores: positive-class score of each row.
        seed: of the resampling.
        threshold: lowest score for the positive label.
        metric: selection metric that compares slices, one of METRIC_NAMES.
    """
    truth, score = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    rng = np.random.default_rng(seed)
    results, p_values = [], {}
    for index, (name, value, inside) in enumerate(_slices(described)):
        result = _measure(name, value, inside, truth == 1, score >= threshold, rng)
        selection = _selection_metric(metric, result, truth[inside], score[inside], threshold, rng)
        result = result.model_copy(update=selection)
        if _has_enough_rows(result, truth):
            expected, p_values[index] = compare_subset(metric, truth, score, inside, truth, threshold)
            result = result.model_copy(update={"expected": abs(expected)})
        results.append(result)
    for index, p_value in zip(p_values, holm(list(p_values.values())), strict=True):
        results[index] = results[index].model_copy(update={"p_value": p_value})
    return results


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple tests (Holm 1979), which bounds the chance of any false alarm."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(factors * np.asarray(p_values)[order]))
    return [float(value) for value in corrected]


def slice_table(results: Sequence[SliceResult]) -> pd.DataFrame:
    """Return the slices as a readable table, in percent, with a verdict on each."""
    table = pd.DataFrame([result.model_dump() | {"verdict": verdict(result)} for result in results])
    shares = ["accuracy", "low", "high", "f1", "f1_low", "f1_high", "rest_accuracy"]
    shares += ["judged", "judged_low", "judged_high", "expected"]
    table[shares] = (100 * table[shares].astype(float)).round(1)
    return table.round({"p_value": 4})


def verdict(result: SliceResult) -> str:
    """Return whether the model is better or worse on this slice than on all texts with the same labels."""
    if result.p_value is None or result.judged is None or result.expected is None:
        return "too few to compare"
    if result.p_value >= SIGNIFICANT:
        return "no different"
    return "better" if (result.judged > result.expected) is higher_is_better(result.metric) else "worse"


def weak_slices(results: Sequence[SliceResult]) -> list[str]:
    """Return a sentence for each slice on which the model is significantly worse than on the rest."""
    return [
        f"On {result.slice}: {result.value} ({result.rows} texts), {METRIC_NAMES[result.metric]} is "
        f"{_with_interval(result)}; test texts with the same labels have {_in_units(result.metric, result.expected)} "
        f"on average. The difference is significant (p = {result.p_value:.2g}, corrected for the number of slices)."
        for result in results
        if verdict(result) == "worse"
    ]


def slices_section(results: Sequence[SliceResult]) -> str:
    """Return the section of the model card on slices, in Markdown."""
    if not results:
        return "No slices were measured."
    metric = results[0].metric
    rows = [
        [
            result.slice,
            " ".join(result.value.replace("|", "\\|").split()),
            str(result.rows),
            "" if result.positives is None else str(result.positives),
            f"{percent(result.accuracy)} ({percent(result.low)}–{percent(result.high)})",
            "" if result.f1 is None else percent(result.f1),
            *([] if metric == "accuracy" else [_with_interval(result)]),
            verdict(result),
        ]
        for result in results
    ]
    further = [] if metric == "accuracy" else [METRIC_NAMES[metric]]
    header = ["slice", "value", "texts", "positive", "accuracy, % (95 % interval)", "F1, %", *further, "than the rest"]
    weak = "\n".join(f"- {sentence}" for sentence in weak_slices(results))
    return (
        f"{weak or 'The model is not significantly worse on any slice.'}\n\nSlices are compared by "
        f"{METRIC_NAMES[metric]} with test texts of the same labels.\n\n{markdown_table(header, rows)}"
    )


def _with_interval(result: SliceResult) -> str:
    if result.judged is None:
        return ""
    bounds = (result.judged_low, result.judged_high)
    low, high = (_in_units(result.metric, bound).removesuffix(" %") for bound in bounds)
    return f"{_in_units(result.metric, result.judged)} ({low}–{high})"


def _in_units(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if metric == "loss" else f"{percent(value)} %"


def _share_fragmented(word_ids: NDArray[np.int64]) -> float:
    tokens_per_word = np.unique(word_ids, return_counts=True)[1]
    return float(np.mean(tokens_per_word > 1)) if len(tokens_per_word) else 0.0


def _quarters(values: NDArray[Any], unit: str = "") -> NDArray[np.str_]:
    """Return the bounds of the quarter of each value; ties are not split, so there may be fewer than four quarters."""
    edges = np.unique(np.quantile(values, [0.25, 0.5, 0.75], method="lower"))
    quarters = np.searchsorted(edges, values)
    names = {quarter: _bounds(values[quarters == quarter], unit) for quarter in np.unique(quarters)}
    return np.array([names[quarter] for quarter in quarters])


def _bounds(values: NDArray[Any], unit: str) -> str:
    low, high = f"{values.min():.0f}", f"{values.max():.0f}"
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def _slices(described: pd.DataFrame) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Yield name and value of each slice and whether each row is in it, in natural order (numbers by size)."""
    for name in described.columns:
        values = described[name].to_numpy()
        distinct = sorted(set(values), key=lambda value: (_leading_number(value), value))
        if len(distinct) > 1:
            yield from ((str(name), value, values == value) for value in distinct)


def _leading_number(value: str) -> float:
    first = value.split(" ")[0]
    return float(first) if first.isdigit() else np.inf


def _measure(
    name: str,
    value: str,
    inside: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    rng: np.random.Generator,
) -> SliceResult:
    right = truth == predicted
    interval = binomtest(int(right[inside].sum()), int(inside.sum())).proportion_ci(method="wilson")
    f1, f1_low, f1_high = _f1_with_interval(truth[inside], predicted[inside], rng)
    return SliceResult(
        slice=name,
        value=value,
        rows=int(inside.sum()),
        accuracy=float(right[inside].mean()),
        low=float(interval.low),
        high=float(interval.high),
        f1=f1,
        f1_low=f1_low,
        f1_high=f1_high,
        rest_accuracy=float(right[~inside].mean()),
        positives=int(truth[inside].sum()),
    )


def _selection_metric(
    metric: str,
    result: SliceResult,
    truth: NDArray[np.int64],
    scores: NDArray[np.float64],
    threshold: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the selection metric of a slice with its interval, by the names of SliceResult's fields."""
    if metric == "accuracy":
        values: tuple[float, ...] = (result.accuracy, result.low, result.high)
    elif metric != "loss" and len(set(truth.tolist())) == 1:
        return {"metric": metric}
    else:
        drawn = metric_values(metric, truth, scores, resampled(truth, RESAMPLES, rng), threshold)
        value = metric_value(metric, truth, scores, threshold)  # the log loss is negated
        values = (abs(value), *np.percentile(np.abs(drawn), [2.5, 97.5]).tolist())
    return {"metric": metric} | dict(zip(("judged", "judged_low", "judged_high"), values, strict=True))


def _has_enough_rows(result: SliceResult, truth: NDArray[np.int64]) -> bool:
    """Whether the slice and the rest have enough texts to compare; see MIN_ROWS and MIN_ROWS_PER_LABEL."""
    rest = len(truth) - result.rows
    if result.metric in ("accuracy", "loss"):
        return min(result.rows, rest) >= MIN_ROWS
    inside = result.positives or 0
    outside = int(truth.sum()) - inside
    fewest = min(inside, result.rows - inside, outside, rest - outside)
    return min(result.rows, rest) >= MIN_ROWS and fewest >= MIN_ROWS_PER_LABEL


def _f1_with_interval(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[float | None, float | None, float | None]:
    """Return F1, low and high; resampling within a class draws a binomial number of its positive predictions."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives:
        return None, None, None
    hits, alarms = int((truth & predicted).sum()), int((~truth & predicted).sum())
    drawn_hits = rng.binomial(positives, hits / positives, RESAMPLES)
    drawn_alarms = rng.binomial(negatives, alarms / negatives if negatives else 0, RESAMPLES)
    low, high = np.percentile(2 * drawn_hits / (positives + drawn_hits + drawn_alarms), [2.5, 97.5])
    return 2 * hits / (positives + hits + alarms), float(low), float(high)
