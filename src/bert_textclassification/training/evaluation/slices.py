"""Where a model is worse than elsewhere: how it does on the texts that have something in common.

    described = describe(splits.test, tokenizer, config.max_length)
    results = measure_slices(described, targets, scores, config.seed)
    slice_table(results), weak_slices(results)

Texts are sliced by their length, by unknown and fragmented words, and by every further column of the data with few
values (`data.rows.keep_slices`).
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
from bert_textclassification.training.evaluation.subsets import stands_out

JUDGED_ROWS = 30  # a slice is judged where it and the rest have as many; smaller ones are only named
JUDGED_OF_A_LABEL = 5  # as many of each label, for metrics that look for one of them
SIGNIFICANT = 0.05


def describe(frame: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, max_length: int) -> pd.DataFrame:
    """Return what the texts of `frame` are sliced by: a row for each text, a column for each slice, values as strings.

    Words are those of the tokenizer, which takes punctuation for words of their own; a fragmented one has no token of
    its own and is read in pieces.
    """
    encoded = tokenizer(frame["text"].tolist(), add_special_tokens=False, verbose=False)
    pieces = [np.array([word for word in encoded.word_ids(row) if word is not None]) for row in range(len(frame))]
    tokens = np.array([len(row) for row in pieces]) + tokenizer.num_special_tokens_to_add()
    fragmented = np.array([_share_fragmented(row) for row in pieces])
    unknown = np.array([tokenizer.unk_token_id in ids for ids in encoded["input_ids"]])
    own = {
        "tokens": _quarters(np.minimum(tokens, max_length)),
        "cut": np.where(tokens > max_length, f"longer than {max_length} tokens", "read whole"),
        "fragmented words": _quarters(np.round(100 * fragmented), " %"),
        "unknown tokens": np.where(unknown, "some", "none"),
    }
    columns = frame.columns[frame.columns.str.startswith(SLICE)]
    further = {f"column {name.removeprefix(SLICE)}": frame[name].replace("", "(none)").to_numpy() for name in columns}
    return pd.DataFrame(own | further)


def measure_slices(
    described: pd.DataFrame,
    targets: Sequence[int],
    scores: ArrayLike,
    seed: int,
    threshold: float = 0.5,
    metric: str = "accuracy",
) -> list[SliceResult]:
    """Return how the model does on each slice, with 95 % intervals, and how likely `metric` differs by chance alone.

    The interval of the accuracy is Wilson's (1927), those of F1 and `metric` are percentile bootstraps (Efron 1979)
    within each class. p-values are those of `stands_out` within the true labels, so that a slice is not better for its
    share of positives, with Holm's correction (1979): were there no differences, one of all slices would be called
    different in a run of twenty. Slices that hold all texts are left out.

    Args:
        described: what `describe` returns.
        targets: 0 or 1 for each row.
        scores: positive-class score of each row.
        seed: of the resampling.
        threshold: score from which a text gets the positive label.
        metric: what slices are judged by, one of METRIC_NAMES.
    """
    truth, score = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    rng = np.random.default_rng(seed)
    results, p_values = [], {}
    for place, (name, value, inside) in enumerate(_slices(described)):
        measured = _measured(name, value, inside, truth == 1, score >= threshold, rng)
        judged = measured.model_copy(update=_judged(metric, measured, truth[inside], score[inside], threshold, rng))
        if _enough(judged, truth):
            expected, p_values[place] = stands_out(metric, truth, score, inside, truth, threshold)
            judged = judged.model_copy(update={"expected": abs(expected)})
        results.append(judged)
    for place, p_value in zip(p_values, holm(list(p_values.values())), strict=True):
        results[place] = results[place].model_copy(update={"p_value": p_value})
    return results


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979): the chance of any false alarm stays bounded."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(factors * np.asarray(p_values)[order]))
    return [float(value) for value in corrected]


def slice_table(results: Sequence[SliceResult]) -> pd.DataFrame:
    """Return the slices as a table for people, in percent, with a verdict on each."""
    table = pd.DataFrame([result.model_dump() | {"verdict": verdict(result)} for result in results])
    shares = ["accuracy", "low", "high", "f1", "f1_low", "f1_high", "rest_accuracy"]
    shares += ["judged", "judged_low", "judged_high", "expected"]
    table[shares] = (100 * table[shares].astype(float)).round(1)
    return table.round({"p_value": 4})


def verdict(result: SliceResult) -> str:
    """Return whether the model is better or worse on this slice than elsewhere, on texts with the same labels."""
    if result.p_value is None or result.judged is None or result.expected is None:
        return "too few to compare"
    if result.p_value >= SIGNIFICANT:
        return "no different"
    return "better" if (result.judged > result.expected) is higher_is_better(result.metric) else "worse"


def weak_slices(results: Sequence[SliceResult]) -> list[str]:
    """Return a sentence for each slice on which the model is worse than elsewhere, and not by chance."""
    return [
        f"On {one.slice}: {one.value} ({one.rows} texts), {METRIC_NAMES[one.metric]} is {_with_interval(one)}, where "
        f"test texts with the same labels have {_in_units(one.metric, one.expected)} on average, and not by chance "
        f"(p = {one.p_value:.2g}, corrected for the number of slices)."
        for one in results
        if verdict(one) == "worse"
    ]


def slices_section(results: Sequence[SliceResult]) -> str:
    """Return the slices as a part of the model card, in Markdown."""
    if not results:
        return "No slices were measured."
    metric = results[0].metric
    rows = [
        [
            one.slice,
            " ".join(one.value.replace("|", "\\|").split()),
            str(one.rows),
            "" if one.positives is None else str(one.positives),
            f"{percent(one.accuracy)} ({percent(one.low)}–{percent(one.high)})",
            "" if one.f1 is None else percent(one.f1),
            *([] if metric == "accuracy" else [_with_interval(one)]),
            verdict(one),
        ]
        for one in results
    ]
    further = [] if metric == "accuracy" else [METRIC_NAMES[metric]]
    header = ["slice", "value", "texts", "positive", "accuracy, % (95 % interval)", "F1, %", *further, "than elsewhere"]
    weak = "\n".join(f"- {sentence}" for sentence in weak_slices(results))
    return (
        f"{weak or 'On no slice is the model worse than elsewhere beyond chance.'}\n\nSlices are judged by "
        f"{METRIC_NAMES[metric]}, against test texts with the same labels.\n\n{markdown_table(header, rows)}"
    )


def _with_interval(one: SliceResult) -> str:
    if one.judged is None:
        return ""
    low, high = (_in_units(one.metric, end).removesuffix(" %") for end in (one.judged_low, one.judged_high))
    return f"{_in_units(one.metric, one.judged)} ({low}–{high})"


def _in_units(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if metric == "loss" else f"{percent(value)} %"


def _share_fragmented(words: NDArray[np.int64]) -> float:
    pieces = np.unique(words, return_counts=True)[1]
    return float(np.mean(pieces > 1)) if len(pieces) else 0.0


def _quarters(values: NDArray[Any], unit: str = "") -> NDArray[np.str_]:
    """Return for each value the bounds of its quarter of all; equal values share one, so there may be fewer."""
    edges = np.unique(np.quantile(values, [0.25, 0.5, 0.75], method="lower"))
    quarter = np.searchsorted(edges, values)
    names = {one: _bounds(values[quarter == one], unit) for one in np.unique(quarter)}
    return np.array([names[one] for one in quarter])


def _bounds(values: NDArray[Any], unit: str) -> str:
    low, high = f"{values.min():.0f}", f"{values.max():.0f}"
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def _slices(described: pd.DataFrame) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Yield slice, value and whether each row is in it, in an order for people: numbers by size."""
    for name in described.columns:
        values = described[name].to_numpy()
        found = sorted(set(values), key=lambda value: (_leading_number(value), value))
        if len(found) > 1:
            yield from ((str(name), value, values == value) for value in found)


def _leading_number(value: str) -> float:
    first = value.split(" ")[0]
    return float(first) if first.isdigit() else np.inf


def _measured(
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


def _judged(
    metric: str,
    measured: SliceResult,
    truth: NDArray[np.int64],
    scores: NDArray[np.float64],
    threshold: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the metric that the slice is judged by with its interval, by the names of SliceResult's fields."""
    if metric == "accuracy":
        values: tuple[float, ...] = (measured.accuracy, measured.low, measured.high)
    elif metric != "loss" and len(set(truth.tolist())) == 1:
        return {"metric": metric}
    else:
        drawn = metric_values(metric, truth, scores, resampled(truth, RESAMPLES, rng), threshold)
        value = metric_value(metric, truth, scores, threshold)  # the log loss comes negated
        values = (abs(value), *np.percentile(np.abs(drawn), [2.5, 97.5]).tolist())
    return {"metric": metric} | dict(zip(("judged", "judged_low", "judged_high"), values, strict=True))


def _enough(one: SliceResult, truth: NDArray[np.int64]) -> bool:
    """Whether the slice and the rest have enough texts to compare, of each label where the metric looks for one."""
    rest = len(truth) - one.rows
    if one.metric in ("accuracy", "loss"):
        return min(one.rows, rest) >= JUDGED_ROWS
    inside = one.positives or 0
    outside = int(truth.sum()) - inside
    fewest = min(inside, one.rows - inside, outside, rest - outside)
    return min(one.rows, rest) >= JUDGED_ROWS and fewest >= JUDGED_OF_A_LABEL


def _f1_with_interval(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[float | None, float | None, float | None]:
    """Return F1, low and high; resampling rows within a class is drawing a binomial number of its positive answers."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives:
        return None, None, None
    hits, alarms = int((truth & predicted).sum()), int((~truth & predicted).sum())
    drawn_hits = rng.binomial(positives, hits / positives, RESAMPLES)
    drawn_alarms = rng.binomial(negatives, alarms / negatives if negatives else 0, RESAMPLES)
    low, high = np.percentile(2 * drawn_hits / (positives + drawn_hits + drawn_alarms), [2.5, 97.5])
    return 2 * hits / (positives + hits + alarms), float(low), float(high)
