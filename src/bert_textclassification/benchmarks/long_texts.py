"""Texts of more tokens than the model reads: their beginning alone, or all of them in windows?"""

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

FEWEST = 20  # texts below which neither figure means anything
BEGINNING: Truncation = "truncate"
WHOLE: Truncation = "windows"


@dataclass(frozen=True)
class LongTexts:
    """How the test rows fare that are longer than the model reads, answered by what is served.

    Attributes:
        max_length: tokens that the model reads at once.
        rows: how many they are.
        share: of all test rows, in [0, 1].
        windows: that one of them is read in, on average.
        accuracy: on these rows, by how they are read: `truncate` or `windows`.
        milliseconds: for one of them, by how it is read: the median over rounds of the mean over texts.
        comparison: windows with the beginning alone, paired.
    """

    max_length: int
    rows: int
    share: float
    windows: float
    accuracy: dict[str, Interval]
    milliseconds: dict[str, float]
    comparison: Comparison

    def record(self) -> dict[str, Any]:
        """Return the same as JSON has it."""
        return asdict(self) | {"comparison": self.comparison.model_dump()}

    def table(self) -> pd.DataFrame:
        """Return one row for each way to read."""
        return pd.DataFrame({"accuracy": pd.DataFrame(self.accuracy).loc["value"], "milliseconds": self.milliseconds})


def compare_long_texts(
    artifact: Artifact, fine_tuned: FineTuned, splits: Splits, texts: int = 100, rounds: int = 3
) -> LongTexts | None:
    """Compare both ways to read on the long texts of the test split; None where there are under FEWEST of them.

    Texts of more windows than the server takes are left out.

    Args:
        artifact: what is served.
        fine_tuned: the model that it was made of, for its tokenizer.
        splits: the labelled texts.
        texts: how many are timed, at most.
        rounds: times that each way runs over them.
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
        way: np.array([one.scores[positive] for one in predictor.predict(listed, truncation=way)])
        for way in (BEGINNING, WHOLE)
    }
    labels = {way: found >= threshold for way, found in scores.items()}
    ways = {str(way): partial(_read, predictor, way) for way in (BEGINNING, WHOLE)}
    times = time_interleaved(ways, sample_stream(listed, texts, seed), rounds)
    return LongTexts(
        max_length=artifact.manifest.max_length,
        rows=len(rows),
        share=float(is_long.mean()),
        windows=float(windows[is_long].mean()),
        accuracy={
            way: metrics_with_intervals(targets.tolist(), found, seed, threshold)["accuracy"]
            for way, found in scores.items()
        },
        milliseconds={way: float(np.median(found.mean(axis=1))) for way, found in times.items()},
        comparison=compare(targets, labels[WHOLE], labels[BEGINNING], "reading windows", "reading the beginning"),
    )


def long_texts_sentence(artifact: Artifact, fine_tuned: FineTuned, splits: Splits, found: LongTexts | None) -> str:
    """Return how many test texts are longer than the model reads, and what came of the comparison, if there was one."""
    max_length = artifact.manifest.max_length
    longer = token_lengths(splits.test, fine_tuned.tokenizer()) > max_length
    count = (
        f"{longer.sum():,} of the {len(longer):,} test texts ({longer.mean():.1%}) have more than {max_length} tokens."
    )
    if found:
        return f"{count} {found.comparison.sentence}"
    few = f" That is too few to compare the two ways to read them; {FEWEST} are needed."
    return count + (few if longer.any() else "")


def _read(predictor: Predictor, way: Truncation, text: str) -> None:
    predictor.predict([text], truncation=way)
