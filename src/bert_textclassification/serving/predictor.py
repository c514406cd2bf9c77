"""Texts in, predictions out: tokenise, schedule, decide.

For example::

    predictor = Predictor.load("runs/demo/model")
    predictor.predict(["the lift is stuck with my mother inside"])[0].label
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from tokenizers import Tokenizer

from bert_textclassification.artifact.manifest import TruncationSide
from bert_textclassification.artifact.store import Artifact
from bert_textclassification.engines.base import Scheduler, run_inline
from bert_textclassification.engines.select import load_engine
from bert_textclassification.errors import RequestError
from bert_textclassification.serving.cache import AnswerCache
from bert_textclassification.serving.calibration import calibrated_log_odds
from bert_textclassification.serving.text_checks import check_texts
from bert_textclassification.serving.variant_choice import variant_for_this_machine

Truncation = Literal["truncate", "windows", "error"]
REVIEW = "review"
MAX_WINDOWS = 64  # of one text: a bound on what a single text may cost
CHARS_AT_ONCE = 100_000  # the tokenizer needs about 80 bytes for each character that it holds


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one text.

    Attributes:
        label: the label after the decision threshold.
        score: calibrated probability of that label, in (0, 1), on one scale wherever the text left the model.
        decision: the label, or "review" where the artifact has a review band and the positive score lies in it.
        scores: calibrated probability of each label.
        logits: raw outputs of the model, in the order of the artifact's labels; of windows, their mean.
        tokens: tokens the model read, special ones included; of windows, the sum.
        truncated: whether the text was longer than what the model read of it.
        windows: how many windows the text was read in.
        layers: how many of the model's layers it took, where some texts take fewer than all; of windows, the most.
        cached: whether the answer was remembered; it is the same as the computed one.
    """

    label: str
    score: float
    decision: str
    scores: dict[str, float]
    logits: tuple[float, float]
    tokens: int
    truncated: bool
    windows: int = 1
    layers: int | None = None
    cached: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class TokenisedText:
    """A text as the model reads it: the ids of its first window, or of all, special tokens included."""

    windows: list[list[int]]
    truncated: bool

    @property
    def ids(self) -> list[int]:
        """The ids of the first window."""
        return self.windows[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said of a text, before anything is decided; log_odds are the calibrated ones of the positive."""

    logits: tuple[float, float]
    log_odds: float
    tokens: int
    truncated: bool
    windows: int
    layers: int | None


class Predictor:
    """A loaded artifact that answers. Safe to share between threads.

    To add business rules, subclass and override `decide`.
    """

    def __init__(self, artifact: Artifact, variant: str | None = None, threads: int = 1, cache_size: int = 0) -> None:
        self.artifact, manifest = artifact, artifact.manifest
        self.variant_name, self.variant = artifact.variant(variant_for_this_machine(artifact, variant))
        self._scales = manifest.exit_scales(self.variant_name)
        self.temperature = self._scales[-1].temperature
        longest, side, path = manifest.max_length, manifest.truncation_side, artifact.tokenizer_path()
        self._engine = load_engine(artifact.model_path(self.variant_name), self.variant, threads)
        self._tokenizer = load_tokenizer(path, longest, truncation_side=side)
        self._window_tokenizer = load_tokenizer(path, longest, longest // 4, side)
        self._cache: AnswerCache[Answer] = AnswerCache(cache_size)

    @classmethod
    def load(
        cls, model_dir: str | Path, variant: str | None = None, threads: int = 1, cache_size: int = 0
    ) -> "Predictor":
        """Load the artifact in `model_dir`.

        Args:
            model_dir: the artifact's folder.
            variant: which form of the model; the artifact's default when None.
            threads: cores that one call may use.
            cache_size: texts whose answers are remembered.

        Raises:
            ArtifactError: the artifact is missing, damaged, from another schema, or lacks the variant.
        """
        return cls(Artifact.load(model_dir), variant, threads, cache_size)

    def predict(
        self,
        texts: Iterable[str],
        *,
        truncation: Truncation = "truncate",
        threshold: float | None = None,
        scheduler: Scheduler = run_inline,
    ) -> list[Prediction]:
        """Classify `texts`, in order.

        Args:
            texts: any number of non-empty strings, in an order: a list, a column of a table, a generator.
            truncation: what to do with a text longer than the model reads: read its beginning (its end where the
                manifest's truncation_side is "left"), read all of it in windows that overlap by a quarter and take the
                mean of their calibrated log-odds weighted by their tokens, or refuse.
            threshold: positive-class score from which the positive label is given, in (0, 1); the artifact's own when
                None.
            scheduler: what does the work of each batch, and of tokenising all but the first texts of many.

        Raises:
            RequestError: a text is empty or not valid Unicode, or too long for what `truncation` asks; a parameter has
                a wrong value; or the model gives no number for a text (status 500).
        """
        check_parameters(truncation, threshold)
        texts = listed(texts)
        answers = self._answers(texts, truncation, scheduler)
        return [
            self.decide(text, self._predicted(answer, threshold, cached))
            for text, (answer, cached) in zip(texts, answers, strict=True)
        ]

    def decide(self, text: str, prediction: Prediction) -> Prediction:
        """Return the final prediction for `text`: the hook for business rules, none by default."""
        return prediction

    def tokenise(
        self, texts: Iterable[str], windows: bool = False, scheduler: Scheduler = run_inline
    ) -> list[TokenisedText]:
        """Tokenise `texts` without padding, the beginning of each or all of it in overlapping windows.

        Raises:
            RequestError: a text is empty or not valid Unicode, or has too many windows.
        """
        texts = listed(texts)
        check_texts(texts)
        tokenizer = self._window_tokenizer if windows else self._tokenizer
        # The first chunk waits for nobody: a request of few texts would wait twice otherwise.
        schedulers = chain([run_inline], repeat(scheduler))
        chunks = zip(_chunks(texts), schedulers, strict=False)
        encoded = (item for some, do in chunks for item in do(partial(tokenizer.encode_batch_fast, some)))
        if windows:
            pieces = ([item.ids, *(piece.ids for piece in item.overflowing)] for item in encoded)
            return [TokenisedText(ids, truncated=False) for ids in pieces]
        return [TokenisedText([item.ids], truncated=bool(item.overflowing)) for item in encoded]

    def _answers(self, texts: Sequence[str], truncation: Truncation, scheduler: Scheduler) -> list[tuple[Answer, bool]]:
        """Return the answer to each text and whether it was remembered; equal texts are computed once."""
        check_texts(texts)
        windows = truncation == "windows"
        keys = [self._cache.key(text, windows) for text in texts]
        known = {key: answer for key in keys if (answer := self._cache.get(key)) is not None}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        tokenised = dict(zip(new, self.tokenise(list(new.values()), windows, scheduler), strict=True))
        _refuse_too_many_windows([len(tokenised[key].windows) if key in tokenised else 1 for key in keys])
        if truncation == "error":
            self._refuse_truncated([(known.get(key) or tokenised[key]).truncated for key in keys])
        computed = dict(zip(new, self._compute(list(tokenised.values()), scheduler), strict=True))
        _refuse_not_finite([key in computed and not _is_finite(computed[key]) for key in keys])
        for key, answer in computed.items():
            self._cache.put(key, answer)
        return [(known[key], True) if key in known else (computed[key], False) for key in keys]

    def _compute(self, tokenised: Sequence[TokenisedText], scheduler: Scheduler) -> Iterator[Answer]:
        outputs = self._engine.run([ids for text in tokenised for ids in text.windows], scheduler)
        log_odds = calibrated_log_odds(outputs, self._scales)
        rows = iter(np.column_stack([outputs.logits, log_odds]).tolist())
        depths = None if outputs.layers is None else iter(outputs.layers.tolist())
        for text in tokenised:
            lengths = [len(ids) for ids in text.windows]
            windows = list(islice(rows, len(lengths)))
            layers = None if depths is None else max(islice(depths, len(lengths)))
            negative, positive, pooled = _mean(windows, lengths)
            yield Answer((negative, positive), pooled, sum(lengths), text.truncated, len(lengths), layers)

    def _refuse_truncated(self, truncated: Sequence[bool]) -> None:
        if True in truncated:
            raise RequestError(
                "text_too_long",
                f"The text is longer than the {self.artifact.manifest.max_length} tokens that the model reads; shorten "
                'it or ask for truncation "truncate" or "windows".',
                f"instances[{truncated.index(True)}]",
            )

    def _predicted(self, answer: Answer, threshold: float | None, cached: bool) -> Prediction:
        decision = self.artifact.manifest.decision
        negative, positive = self.artifact.manifest.labels
        positive_score = probability(answer.log_odds)
        scores = {negative: 1.0 - positive_score, positive: positive_score}
        cut = decision.threshold if threshold is None else threshold
        label = positive if positive_score >= cut else negative
        low, high = decision.review_band or (1.0, 1.0)
        return Prediction(
            label=label,
            score=scores[label],
            decision=REVIEW if low <= positive_score < high else label,
            scores=scores,
            logits=answer.logits,
            tokens=answer.tokens,
            truncated=answer.truncated,
            windows=answer.windows,
            layers=answer.layers,
            cached=cached,
        )


def positive_probability(logits: Sequence[float], temperature: float) -> float:
    """Return the softmax probability of the second class, logits divided by the temperature (Guo et al. 2017)."""
    return probability((float(logits[1]) - float(logits[0])) / temperature)


def probability(log_odds: float) -> float:
    """Return the probability with these log-odds: the logistic function."""
    # exp of a negative number only: it may vanish but never overflows
    return 1.0 / (1.0 + math.exp(-log_odds)) if log_odds >= 0 else math.exp(log_odds) / (1.0 + math.exp(log_odds))


def load_tokenizer(
    path: Path, max_length: int, overlap: int = 0, truncation_side: TruncationSide = "right"
) -> Tokenizer:
    """Load a tokenizer that cuts at `max_length` tokens, windows overlapping by `overlap`, and never pads.

    The tokenizer file does not decide: some fix padding to their full length, which would run every text at the cost
    of the longest, and it does not always say on which side training cut the texts.
    """
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, stride=overlap, direction=truncation_side)
    return tokenizer


def _mean(rows: Sequence[list[float]], weights: Sequence[int]) -> Sequence[float]:
    """Return the weighted mean of each column; a single row as it is, to the last bit."""
    if len(rows) == 1:
        return rows[0]
    means: list[float] = np.average(rows, axis=0, weights=weights).tolist()
    return means


def check_parameters(truncation: str, threshold: float | None) -> None:
    """Refuse what a caller in Python may give in place of what is asked for.

    Raises:
        RequestError: there is no such way of truncation, or the threshold is no number in (0, 1).
    """
    if truncation not in get_args(Truncation):
        message = f"There is no truncation {truncation!r:.80}; say one of {', '.join(get_args(Truncation))}."
        raise RequestError("invalid_parameter", message, "parameters.truncation")
    is_number = isinstance(threshold, int | float | np.number) and not isinstance(threshold, bool)
    if threshold is not None and not (is_number and 0 < threshold < 1):
        message = f"The threshold must be a number between 0 and 1, not {threshold!r:.80}."
        raise RequestError("invalid_parameter", message, "parameters.threshold")


def listed(texts: Iterable[str]) -> list[str]:
    """Return `texts` as a list.

    Raises:
        RequestError: it is one string, a whole table, or has no order.
    """
    if isinstance(texts, str):
        raise RequestError("not_a_list", 'Give a list of texts, such as ["one text"], not one string.')
    if isinstance(texts, Mapping | Set) or hasattr(texts, "columns") or not isinstance(texts, Iterable):
        message = f"Give a list of texts, such as one column of a table, not {type(texts).__name__}."
        raise RequestError("not_a_list", message)
    return list(texts)


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield `texts` in runs of about CHARS_AT_ONCE characters: what the tokenizer holds at a time is bounded."""
    chunk: list[str] = []
    chars = 0
    for text in texts:
        if chunk and chars + len(text) > CHARS_AT_ONCE:
            yield chunk
            chunk, chars = [], 0
        chunk.append(text)
        chars += len(text)
    if chunk:
        yield chunk


def _is_finite(answer: Answer) -> bool:
    return math.isfinite(answer.logits[0]) and math.isfinite(answer.logits[1])


def _refuse_not_finite(infinite: Sequence[bool]) -> None:
    if True in infinite:
        raise RequestError(
            "not_finite",
            "The model's outputs for this text are not finite numbers; serve another variant with MODEL_VARIANT, or "
            "train again.",
            f"instances[{infinite.index(True)}]",
            status=500,
        )


def _refuse_too_many_windows(windows: Sequence[int]) -> None:
    for index, count in enumerate(windows):
        if count > MAX_WINDOWS:
            raise RequestError(
                "text_too_long",
                f"The text has {count} windows where {MAX_WINDOWS} are read; send it in parts.",
                f"instances[{index}]",
            )
