"""Texts in, predictions out: tokenise, schedule, decide.

predictor = Predictor.load("runs/demo/model")
predictor.predict(["the lift is stuck with my mother inside"])[0].label
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bert_textclassification.artifact import Artifact
from bert_textclassification.errors import RequestError
from bert_textclassification.serving.engine import Engine

Truncation = Literal["truncate", "error"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one text.

    Attributes:
        label: the label after the decision threshold.
        score: calibrated probability of that label, in (0, 1).
        scores: calibrated probability of each label.
        logits: raw outputs of the model, in the order of the artifact's labels.
        tokens: tokens the model read, special ones included.
        truncated: whether the text was longer than the model reads.
    """

    label: str
    score: float
    scores: dict[str, float]
    logits: tuple[float, float]
    tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class TokenisedText:
    """The ids of one text, special tokens included, cut to the model's maximum length."""

    ids: list[int]
    truncated: bool


class Predictor:
    """A loaded artifact that answers. Safe to share between threads.

    To add business rules, subclass and override `decide`.
    """

    def __init__(self, artifact: Artifact, variant: str | None = None, threads: int = 1) -> None:
        self.artifact = artifact
        self.variant_name, chosen = artifact.variant(variant)
        self._engine = Engine(artifact.model_path(self.variant_name), chosen.batch_size, threads)
        self._tokenizer = load_tokenizer(artifact.tokenizer_path(), artifact.manifest.max_length)

    @classmethod
    def load(cls, model_dir: str | Path, variant: str | None = None, threads: int = 1) -> "Predictor":
        """Load the artifact in `model_dir`; `threads` is the number of cores that one call may use.

        Raises:
            ArtifactError: the artifact is missing, damaged, from another schema, or lacks the variant.
        """
        return cls(Artifact.load(model_dir), variant, threads)

    def predict(
        self, texts: Sequence[str], *, truncation: Truncation = "truncate", threshold: float | None = None
    ) -> list[Prediction]:
        """Classify `texts`, in order.

        Args:
            texts: any number of non-empty strings.
            truncation: what to do with a text longer than the model reads.
            threshold: positive-class score from which the positive label is given; the artifact's own when None.

        Raises:
            RequestError: a text is empty or not valid Unicode, or too long when `truncation` is "error".
        """
        tokenised = self.tokenise(texts)
        if truncation == "error":
            self._refuse_truncated(tokenised)
        logits = self._engine.logits([text.ids for text in tokenised])
        return [
            self.decide(text, self._predicted(ids, row, threshold))
            for text, ids, row in zip(texts, tokenised, logits, strict=True)
        ]

    def decide(self, text: str, prediction: Prediction) -> Prediction:
        """Return the final prediction for `text`: the hook for business rules, none by default."""
        return prediction

    def tokenise(self, texts: Sequence[str]) -> list[TokenisedText]:
        """Tokenise `texts` without padding.

        Raises:
            RequestError: a text is empty or not valid Unicode.
        """
        if isinstance(texts, str):
            raise RequestError("not_a_list", 'Give a list of texts, such as ["one text"], not one string.')
        for index, text in enumerate(texts):
            _check_text(text, index)
        encoded = self._tokenizer.encode_batch_fast(list(texts))
        return [TokenisedText(item.ids, truncated=bool(item.overflowing)) for item in encoded]

    def _refuse_truncated(self, tokenised: Sequence[TokenisedText]) -> None:
        for index, text in enumerate(tokenised):
            if text.truncated:
                limit = self.artifact.manifest.max_length
                raise RequestError(
                    "text_too_long",
                    f"The text is longer than the {limit} tokens that the model reads; shorten it or ask for "
                    'truncation "truncate".',
                    f"instances[{index}]",
                )

    def _predicted(self, text: TokenisedText, logits: NDArray[np.float32], threshold: float | None) -> Prediction:
        decision = self.artifact.manifest.decision
        negative, positive = self.artifact.manifest.labels
        positive_score = positive_probability(logits, decision.temperature)
        scores = {negative: 1.0 - positive_score, positive: positive_score}
        cut = decision.threshold if threshold is None else threshold
        label = positive if positive_score >= cut else negative
        return Prediction(
            label=label,
            score=scores[label],
            scores=scores,
            logits=(float(logits[0]), float(logits[1])),
            tokens=len(text.ids),
            truncated=text.truncated,
        )


def positive_probability(logits: NDArray[np.float32], temperature: float) -> float:
    """Return the softmax probability of the second class, logits divided by the temperature (Guo et al. 2017)."""
    margin = (float(logits[1]) - float(logits[0])) / temperature
    return float(1.0 / (1.0 + np.exp(-margin))) if margin >= 0 else float(np.exp(margin) / (1.0 + np.exp(margin)))


def load_tokenizer(path: Path, max_length: int) -> Tokenizer:
    """Load a tokenizer that cuts at `max_length` tokens and never pads.

    Some tokenizer files fix padding to their full length, which would run every text at the cost of the longest.
    """
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def _check_text(text: str, index: int) -> None:
    field = f"instances[{index}]"
    if not isinstance(text, str):
        raise RequestError("not_a_string", f"A text must be a string, not {type(text).__name__}.", field)
    if not text.strip():
        raise RequestError("empty_text", "The text is empty; leave it out or send some words.", field)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise RequestError(
            "invalid_unicode", "The text holds half of a surrogate pair; send valid Unicode.", field
        ) from None
