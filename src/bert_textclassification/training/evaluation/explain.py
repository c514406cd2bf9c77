"""Explain predictions by their words: integrated gradients, drawn as coloured text.

    explain = Explainer(fine_tuned)
    HTML(to_html([explain("a film with no wit at all")], splits.labels))

Needs captum, from the extra `notebooks`.
"""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from captum.attr import LayerIntegratedGradients
from transformers import PreTrainedTokenizerBase

from bert_textclassification.serving.predictor import positive_probability
from bert_textclassification.training.modeling.classifier import TextClassifier
from bert_textclassification.training.modeling.fine_tuned import FineTuned

STEPS = (32, 64, 128, 256)  # of the integral: the first number that is exact enough is used
TOLERANCE = 0.05  # of the explained change, or of 1 if the change is smaller
_TOKENS_AT_ONCE = 4096  # limits the memory
_TOWARDS, _AWAY = "234, 88, 12", "37, 99, 235"  # orange and blue: distinguishable with colour blindness
_DARKEST = 0.75  # keeps a contrast of 4.5 to black text


@dataclass(frozen=True)
class Word:
    """A word of a text, `text[start:end]`, and its contribution to the log-odds of the positive label."""

    start: int
    end: int
    value: float


@dataclass(frozen=True)
class Attribution:
    """The contributions of the words of a text to its score.

    Attributes:
        text: the text.
        score: of the positive label, in (0, 1).
        start: the score of the baseline, the same number of padding tokens; seldom 0.5.
        words: in order, up to the maximum length; their values sum to `change` + `error`.
        change: log-odds of the positive label minus those of the baseline.
        error: sum of the values of the words minus `change`, the error of the integral.
    """

    text: str
    score: float
    start: float
    words: list[Word]
    change: float
    error: float

    @property
    def converged(self) -> bool:
        """Whether the integral is exact enough to compare words."""
        return _close(self.change + self.error, self.change)


class Explainer:
    """Attributes a fine-tuned model's score to the words of a text, by integrated gradients (Sundararajan et al. 2017).

    It explains the log-odds of the positive label. The path runs in the space of the word embeddings, from the
    baseline (padding tokens between the special tokens) to the text.
    """

    def __init__(self, fine_tuned: FineTuned) -> None:
        self._model: TextClassifier = fine_tuned.model()
        self._tokenizer: PreTrainedTokenizerBase = fine_tuned.tokenizer()
        self._max_length = fine_tuned.config.max_length
        self._embeddings = self._model.encoder.get_input_embeddings()
        self._gradients = LayerIntegratedGradients(self._log_odds, self._embeddings)

    def __call__(self, text: str) -> Attribution:
        """Return the contribution of each word; takes a few hundred milliseconds for a short text and a small model."""
        encoded = self._tokenizer(
            text,
            truncation=True,
            max_length=self._max_length,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        ids, special = torch.tensor([encoded["input_ids"]]), torch.tensor([encoded["special_tokens_mask"]])
        baseline = torch.where(special.bool(), ids, self._tokenizer.pad_token_id or 0)
        with torch.no_grad():
            log_odds = float(self._log_odds(ids))
            change = log_odds - self._log_odds_with_words_of(baseline, ids)
        values = self._integrated(ids, baseline, change)
        words = _merged(encoded.word_ids(), encoded["offset_mapping"], values)
        score, start = (positive_probability((0, odds), 1.0) for odds in (log_odds, log_odds - change))
        return Attribution(text, score, start, words, change, sum(values) - change)

    def _log_odds(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model(ids, torch.ones_like(ids)).logits
        return logits[:, 1] - logits[:, 0]

    def _log_odds_with_words_of(self, baseline: torch.Tensor, ids: torch.Tensor) -> float:
        """Return the log-odds of `ids` with the word embeddings of `baseline`, the start of the path.

        The log-odds of `baseline` itself differ for encoders that compute positions from the ids, such as RoBERTa.
        """
        words = self._embeddings(baseline)
        hook = self._embeddings.register_forward_hook(lambda *_: words)
        try:
            return float(self._log_odds(ids))
        finally:
            hook.remove()

    def _integrated(self, ids: torch.Tensor, baseline: torch.Tensor, change: float) -> list[float]:
        """Return the value of each token; the number of steps grows until their sum is close to `change`."""
        batch_size = max(1, _TOKENS_AT_ONCE // ids.shape[1])
        for steps in STEPS:
            gradients = self._gradients.attribute(ids, baseline, n_steps=steps, internal_batch_size=batch_size)
            values: list[float] = gradients.sum(dim=-1)[0].tolist()
            if _close(sum(values), change):
                break
        return values


def _close(total: float, change: float) -> bool:
    return abs(total - change) <= TOLERANCE * max(1.0, abs(change))


def explain_mistakes(fine_tuned: FineTuned, mistakes: pd.DataFrame, labels: tuple[str, str], rows: int = 5) -> str:
    """Return the first `rows` of a table with the columns text and label, each with its attributions, as HTML."""
    explain = Explainer(fine_tuned)
    shown = mistakes.head(rows)
    return to_html([explain(text) for text in shown["text"]], labels, [f"labelled {label}" for label in shown["label"]])


def to_html(attributions: Sequence[Attribution], labels: tuple[str, str], notes: Sequence[str] = ()) -> str:
    """Return texts as HTML; words with evidence for the positive label are orange, words against it are blue.

    Args:
        attributions: the texts.
        labels: negative, positive.
        notes: a note before each text, such as its true label; no notes when empty.
    """
    negative, positive = (html.escape(label) for label in labels)
    legend = (
        f"<p>{_mark('orange', 1)} is evidence for <b>{positive}</b>, {_mark('blue', -1)} for <b>{negative}</b>; the "
        "strongest word of each text is the darkest. Hover over a word to see its contribution to the log-odds. The "
        "contributions sum to the change from the score of padding tokens to the score of the text.</p>"
    )
    heads = notes or [""] * len(attributions)
    texts = "".join(_paragraph(text, positive, head) for text, head in zip(attributions, heads, strict=True))
    return f'<div style="background: white; color: black; max-width: 60em">{legend}{texts}</div>'


def _merged(word_ids: Sequence[int | None], offsets: Sequence[tuple[int, int]], values: Sequence[float]) -> list[Word]:
    """Return the words of the tokens; special tokens belong to no word."""
    words: dict[int, Word] = {}
    for word, (start, end), value in zip(word_ids, offsets, values, strict=True):
        if word is not None:
            known = words.get(word, Word(start, end, 0.0))
            words[word] = Word(known.start, max(known.end, end), known.value + value)
    return list(words.values())


def _paragraph(attribution: Attribution, positive: str, note: str) -> str:
    warning = "" if attribution.converged else f" (error of the sum {attribution.error:+.2f}: do not compare words)"
    head = f"{positive} {attribution.score:.3f}, from {attribution.start:.3f} without words{warning}"
    title = f"{html.escape(note)}, {head}" if note else head
    body = "".join(_spans(attribution))
    return (
        f'<p style="line-height: 1.7"><small>{title}</small><br><span style="white-space: pre-wrap">{body}</span></p>'
    )


def _spans(attribution: Attribution) -> Iterator[str]:
    """Yield the text in spans: words in colour, text between words unchanged, truncated text in grey."""
    strongest = max((abs(word.value) for word in attribution.words), default=0.0) or 1.0
    end = 0
    for word in attribution.words:
        yield html.escape(attribution.text[end : word.start])
        yield _mark(attribution.text[max(end, word.start) : word.end], word.value / strongest, f"{word.value:+.2f}")
        end = max(end, word.end)
    if attribution.text[end:].strip():
        yield f'<span style="color: #64748b" title="not read">{html.escape(attribution.text[end:])}</span>'


def _mark(text: str, strength: float, title: str = "") -> str:
    """Return `text` on a coloured background, with a strength in [-1, 1]."""
    colour = _TOWARDS if strength > 0 else _AWAY
    attribute = f' title="{title}"' if title else ""
    style = f"background: rgba({colour}, {_DARKEST * abs(strength):.2f}); border-radius: 3px"
    return f'<span style="{style}"{attribute}>{html.escape(text)}</span>'
