"""Classify texts: tokenise, run the engine, calibrate, decide.

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
from bert_textclassification.serving.cache import OutputCache
from bert_textclassification.serving.calibration import calibrated_log_odds
from bert_textclassification.serving.text_checks import check_texts
from bert_textclassification.serving.variant_choice import variant_for_this_machine

Truncation = Literal["truncate", "windows", "error"]
REVIEW = "review"
MAX_WINDOWS = 64  # per text: bounds the cost of a single text
CHARS_PER_CHUNK = 100_000  # the tokenizer needs about 80 bytes per character


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one text.

    Attributes:
        label: the label after the decision threshold.
        score: calibrated probability of that label, in (0, 1), on the same scale for all early exits.
        decision: the label, or "review" if the positive score lies in the artifact's review band.
        scores: calibrated probability of each label.
        logits: raw outputs of the model, in the order of the artifact's labels; with windows, their mean.
        tokens: tokens that the model read, including special tokens; with windows, the sum.
        truncated: whether a part of the text was not read.
        windows: number of windows.
        layers: with an early-exit variant, the layers that ran; with windows, the maximum.
        cached: whether the output came from the cache; it equals a computed one.
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
    """Token ids of a text, including special tokens: of its first window, or of all windows."""

    windows: list[list[int]]
    truncated: bool

    @property
    def ids(self) -> list[int]:
        """The ids of the first window."""
        return self.windows[0]


@dataclass(frozen=True, slots=True)
class TextOutput:
    """The model's output for a text before the decision; `log_odds` are the positive label's calibrated log-odds."""

    logits: tuple[float, float]
    log_odds: float
    tokens: int
    truncated: bool
    windows: int
    layers: int | None


class Predictor:
    """Classifies texts with a loaded artifact. Safe to share between threads.

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
        self._cache: OutputCache[TextOutput] = OutputCache(cache_size)

    @classmethod
    def load(
        cls, model_dir: str | Path, variant: str | None = None, threads: int = 1, cache_size: int = 0
    ) -> "Predictor":
        """Load the artifact in `model_dir`.

        Args:
            model_dir: the artifact's folder.
            variant: the variant to run; the artifact's default when None.
            threads: cores that one call may use.
            cache_size: texts whose outputs are cached.

        Raises:
            ArtifactError: the artifact is missing, damaged, of another schema, or lacks the variant.
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
            texts: any number of non-empty strings in an order: a list, a column of a table, a generator.
            truncation: how to treat a text above the model's maximum length. "truncate" keeps its beginning (its end if
                the manifest's truncation_side is "left"); "windows" classifies windows that overlap by a quarter and
                averages their calibrated log-odds, weighted by tokens; "error" raises.
            threshold: minimum positive score for the positive label, in (0, 1); the artifact's threshold when None.
            scheduler: runs each batch, and tokenises all chunks of texts after the first.

        Raises:
            RequestError: a text is empty, not valid Unicode, or too long; a parameter has an invalid value; or the
                model's output for a text is not finite (status 500).
        """
        check_parameters(truncation, threshold)
        texts = as_list(texts)
        outputs = self._outputs(texts, truncation, scheduler)
        return [
            self.decide(text, self._prediction(output, threshold, cached))
            for text, (output, cached) in zip(texts, outputs, strict=True)
        ]

    def decide(self, text: str, prediction: Prediction) -> Prediction:
        """Return the final prediction for `text`; override it to add business rules."""
        return prediction

    def tokenise(
        self, texts: Iterable[str], windows: bool = False, scheduler: Scheduler = run_inline
    ) -> list[TokenisedText]:
        """Tokenise `texts` without padding: truncated, or in overlapping windows.

        Raises:
            RequestError: a text is empty or not valid Unicode, or has too many windows.
        """
        texts = as_list(texts)
        check_texts(texts)
        tokenizer = self._window_tokenizer if windows else self._tokenizer
        # The first chunk runs without the scheduler: a request of few texts would otherwise queue twice.
        schedulers = chain([run_inline], repeat(scheduler))
        chunks = zip(_chunks(texts), schedulers, strict=False)
        encoded = (item for chunk, run in chunks for item in run(partial(tokenizer.encode_batch_fast, chunk)))
        if windows:
            pieces = ([item.ids, *(piece.ids for piece in item.overflowing)] for item in encoded)
            return [TokenisedText(ids, truncated=False) for ids in pieces]
        return [TokenisedText([item.ids], truncated=bool(item.overflowing)) for item in encoded]

    def _outputs(
        self, texts: Sequence[str], truncation: Truncation, scheduler: Scheduler
    ) -> list[tuple[TextOutput, bool]]:
        """Return the output of each text and whether it was cached; equal texts are computed once."""
        check_texts(texts)
        windows = truncation == "windows"
        keys = [self._cache.key(text, windows) for text in texts]
        known = {key: output for key in keys if (output := self._cache.get(key)) is not None}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        tokenised = dict(zip(new, self.tokenise(list(new.values()), windows, scheduler), strict=True))
        _reject_too_many_windows([len(tokenised[key].windows) if key in tokenised else 1 for key in keys])
        if truncation == "error":
            self._reject_truncated([(known.get(key) or tokenised[key]).truncated for key in keys])
        computed = dict(zip(new, self._compute(list(tokenised.values()), scheduler), strict=True))
        _reject_not_finite([key in computed and not _is_finite(computed[key]) for key in keys])
        for key, output in computed.items():
            self._cache.put(key, output)
        return [(known[key], True) if key in known else (computed[key], False) for key in keys]

    def _compute(self, tokenised: Sequence[TokenisedText], scheduler: Scheduler) -> Iterator[TextOutput]:
        outputs = self._engine.run([ids for text in tokenised for ids in text.windows], scheduler)
        log_odds = calibrated_log_odds(outputs, self._scales)
        rows = iter(np.column_stack([outputs.logits, log_odds]).tolist())
        depths = None if outputs.layers is None else iter(outputs.layers.tolist())
        for text in tokenised:
            lengths = [len(ids) for ids in text.windows]
            windows = list(islice(rows, len(lengths)))
            layers = None if depths is None else max(islice(depths, len(lengths)))
            negative, positive, pooled = _mean(windows, lengths)
            yield TextOutput((negative, positive), pooled, sum(lengths), text.truncated, len(lengths), layers)

    def _reject_truncated(self, truncated: Sequence[bool]) -> None:
        if True in truncated:
            raise RequestError(
                "text_too_long",
                f"The text is longer than the model's {self.artifact.manifest.max_length} tokens; shorten it or set "
                'truncation to "truncate" or "windows".',
                f"instances[{truncated.index(True)}]",
            )

    def _prediction(self, output: TextOutput, threshold: float | None, cached: bool) -> Prediction:
        decision = self.artifact.manifest.decision
        negative, positive = self.artifact.manifest.labels
        positive_score = probability(output.log_odds)
        scores = {negative: 1.0 - positive_score, positive: positive_score}
        cut = decision.threshold if threshold is None else threshold
        label = positive if positive_score >= cut else negative
        low, high = decision.review_band or (1.0, 1.0)
        return Prediction(
            label=label,
            score=scores[label],
            decision=REVIEW if low <= positive_score < high else label,
            scores=scores,
            logits=output.logits,
            tokens=output.tokens,
            truncated=output.truncated,
            windows=output.windows,
            layers=output.layers,
            cached=cached,
        )


def positive_probability(logits: Sequence[float], temperature: float) -> float:
    """Return the softmax probability of the second class after temperature scaling (Guo et al. 2017)."""
    return probability((float(logits[1]) - float(logits[0])) / temperature)


def probability(log_odds: float) -> float:
    """Return the probability with these log-odds: the logistic function."""
    # exp of a negative number underflows at worst; it never overflows
    return 1.0 / (1.0 + math.exp(-log_odds)) if log_odds >= 0 else math.exp(log_odds) / (1.0 + math.exp(log_odds))


def load_tokenizer(
    path: Path, max_length: int, overlap: int = 0, truncation_side: TruncationSide = "right"
) -> Tokenizer:
    """Load a tokenizer that truncates at `max_length` tokens and never pads; windows overlap by `overlap` tokens.

    The tokenizer file's own settings are overridden: some pad every text to the full length, which would cost as much
    as the longest text, and not all record the side on which training truncated.
    """
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, stride=overlap, direction=truncation_side)
    return tokenizer


def _mean(rows: Sequence[list[float]], weights: Sequence[int]) -> Sequence[float]:
    """Return the weighted mean of each column; a single row is returned unchanged, bit by bit."""
    if len(rows) == 1:
        return rows[0]
    means: list[float] = np.average(rows, axis=0, weights=weights).tolist()
    return means


def check_parameters(truncation: str, threshold: float | None) -> None:
    """Validate the parameters of a call from Python.

    Raises:
        RequestError: the truncation is unknown, or the threshold is not a number in (0, 1).
    """
    if truncation not in get_args(Truncation):
        message = f"Unknown truncation {truncation!r:.80}; use one of {', '.join(get_args(Truncation))}."
        raise RequestError("invalid_parameter", message, "parameters.truncation")
    is_number = isinstance(threshold, int | float | np.number) and not isinstance(threshold, bool)
    if threshold is not None and not (is_number and 0 < threshold < 1):
        message = f"The threshold must be a number between 0 and 1, not {threshold!r:.80}."
        raise RequestError("invalid_parameter", message, "parameters.threshold")


def as_list(texts: Iterable[str]) -> list[str]:
    """Return `texts` as a list.

    Raises:
        RequestError: `texts` is one string, a whole table, or unordered.
    """
    if isinstance(texts, str):
        raise RequestError("not_a_list", 'Give a list of texts, such as ["one text"], not one string.')
    if isinstance(texts, Mapping | Set) or hasattr(texts, "columns") or not isinstance(texts, Iterable):
        message = f"Give a list of texts, such as one column of a table, not {type(texts).__name__}."
        raise RequestError("not_a_list", message)
    return list(texts)


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield `texts` in chunks of about CHARS_PER_CHUNK characters, to bound the tokenizer's memory."""
    chunk: list[str] = []
    chars = 0
    for text in texts:
        if chunk and chars + len(text) > CHARS_PER_CHUNK:
            yield chunk
            chunk, chars = [], 0
        chunk.append(text)
        chars += len(text)
    if chunk:
        yield chunk


def _is_finite(output: TextOutput) -> bool:
    return math.isfinite(output.logits[0]) and math.isfinite(output.logits[1])


def _reject_not_finite(infinite: Sequence[bool]) -> None:
    if True in infinite:
        raise RequestError(
            "not_finite",
            "The model's outputs for this text are not finite numbers; serve another variant with MODEL_VARIANT, or "
            "train again.",
            f"instances[{infinite.index(True)}]",
            status=500,
        )


def _reject_too_many_windows(windows: Sequence[int]) -> None:
    for index, count in enumerate(windows):
        if count > MAX_WINDOWS:
            raise RequestError(
                "text_too_long",
                f"The text has {count} windows, and the limit is {MAX_WINDOWS}; send it in parts.",
                f"instances[{index}]",
            )
