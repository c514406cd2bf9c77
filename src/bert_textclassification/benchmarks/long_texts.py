"""Texts longer than the maximum length: compare truncation with reading them completely in windows."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from bert_textclassification.artifact.manifest import Comparison
from bert_textclassification.artifact.store import Artifact
from bert_textclassification.serving.predictor import MAX_WINDOWS, Predictor, Truncation
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.data_quality.long_texts import count_windows
from bert_textclassification.training.data_quality.tokenization import token_lengths
from bert_textclassification.training.evaluation.metrics import Interval, metrics_with_intervals
from bert_textclassification.training.evaluation.significance import compare
from bert_textclassification.training.export.timing import sample_stream, time_interleaved
from bert_textclassification.training.modeling.fine_tuned import FineTuned

FEWEST = 20  # long texts needed for a comparison
BEGINNING: Truncation = "truncate"
WHOLE: Truncation = "windows"


@dataclass(frozen=True)
class LongTexts:
    """Accuracy and time of the default variant on the test rows that are longer than the maximum length.

    Attributes:
        max_length: maximum length of the model, in tokens.
        rows: number of long test rows.
        share: their share of all test rows, in [0, 1].
        windows: mean number of windows of a long text.
        accuracy: on these rows, for `truncate` and `windows`.
        milliseconds: per text, for `truncate` and `windows`: median over rounds of the mean over texts.
        comparison: paired comparison of `windows` with `truncate`.
    """

    max_length: int
    rows: int
    share: float
    windows: float
    accuracy: dict[str, Interval]
    milliseconds: dict[str, float]
    comparison: Comparison

    def record(self) -> dict[str, Any]:
        """Return the results for JSON."""
        return asdict(self) | {"comparison": self.comparison.model_dump()}

    def table(self) -> pd.DataFrame:
        """Return a table with the rows `truncate` and `windows`."""
        return pd.DataFrame({"accuracy": pd.DataFrame(self.accuracy).loc["value"], "milliseconds": self.milliseconds})


def compare_long_texts(
    artifact: Artifact, fine_tuned: FineTuned, splits: Splits, texts: int = 100, rounds: int = 3
) -> LongTexts | None:
    """Compare truncation and windows on the long texts of the test split; None if there are fewer than FEWEST.

    Texts with more windows than the server accepts are left out.

    Args:
        artifact: the served artifact.
        fine_tuned: the fine-tuned model, for its tokenizer.
        splits: the labelled texts.
        texts: maximum number of timed texts.
        rounds: number of passes over them.
    """
    tokenizer, seed = fine_tuned.tokenizer(), fine_tuned.config.seed
    lengths = token_lengths(splits.test, tokenizer)
    windows = count_windows(lengths, artifact.manifest.max_length, tokenizer.num_special_tokens_to_add())
    is_long = (windows > 1) & (windows <= MAX_WINDOWS)
    if is_long.sum() < FEWEST:
        return None
    rows, targets = splits.test[is_long], np.array(splits.targets(splits.test))[is_long]
    predictor, listed = Predictor(artifact, artifact.manifest.default_variant), rows["text"].tolist()
    positive, threshold = artifact.manifest.labels[1], artifact.manifest.decision.threshold
    scores = {
        way: np.array([prediction.scores[positive] for prediction in predictor.predict(listed, truncation=way)])
        for way in (BEGINNING, WHOLE)
    }
    labels = {way: values >= threshold for way, values in scores.items()}
    ways = {str(way): partial(_read, predictor, way) for way in (BEGINNING, WHOLE)}
    times = time_interleaved(ways, sample_stream(listed, texts, seed), rounds)
    return LongTexts(
        max_length=artifact.manifest.max_length,
        rows=len(rows),
        share=float(is_long.mean()),
        windows=float(windows[is_long].mean()),
        accuracy={
            way: metrics_with_intervals(targets.tolist(), values, seed, threshold)["accuracy"]
            for way, values in scores.items()
        },
        milliseconds={way: float(np.median(values.mean(axis=1))) for way, values in times.items()},
        comparison=compare(targets, labels[WHOLE], labels[BEGINNING], "reading windows", "reading the beginning"),
    )


def long_texts_sentence(artifact: Artifact, fine_tuned: FineTuned, splits: Splits, results: LongTexts | None) -> str:
    """Return the number of test texts longer than the maximum length and the result of the comparison, if any."""
    max_length = artifact.manifest.max_length
    longer = token_lengths(splits.test, fine_tuned.tokenizer()) > max_length
    count = (
        f"{longer.sum():,} of the {len(longer):,} test texts ({longer.mean():.1%}) have more than {max_length} tokens."
    )
    if results:
        return f"{count} {results.comparison.sentence}"
    few = f" At least {FEWEST} are needed to compare truncation with windows."
    return count + (few if longer.any() else "")


def _read(predictor: Predictor, way: Truncation, text: str) -> None:
    predictor.predict([text], truncation=way)
