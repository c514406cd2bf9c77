"""Which words made the model say what it says: integrated gradients, drawn as coloured text.

    explain = Explainer(fine_tuned)
    HTML(coloured([explain("a film with no wit at all")], splits.labels))

Needs captum, of the extra `notebooks`.
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

STEPS = (32, 64, 128, 256)  # of the integral: the first that is exact enough
TOLERANCE = 0.05  # of the change that is explained, or of 1 where that is smaller
_TOKENS_AT_ONCE = 4096  # bounds the memory
_TOWARDS, _AWAY = "234, 88, 12", "37, 99, 235"  # orange and blue, told apart by the colour-blind too
_DARKEST = 0.75  # black text on it keeps a contrast of 4.5


@dataclass(frozen=True)
class Word:
    """A word of a text, `text[start:end]`, and the log-odds of the positive label that it brought."""

    start: int
    end: int
    value: float


@dataclass(frozen=True)
class Attribution:
    """How the words of a text made its score.

    Attributes:
        text: the text.
        score: of the positive label, in (0, 1).
        start: the score of as many padding tokens, from which the words bring it to `score`; seldom a half.
        words: in order, as far as the model reads; their values sum up to `change`, but for `error`.
        change: log-odds of the positive label, less those of the same number of padding tokens.
        error: what the values of the words sum up to, less `change`: the error of the integral.
    """

    text: str
    score: float
    start: float
    words: list[Word]
    change: float
    error: float

    @property
    def converged(self) -> bool:
        """Whether the integral is exact enough for the words to be compared."""
        return _close(self.change + self.error, self.change)


class Explainer:
    """Attributes a fine-tuned model's score to the words of a text, by integrated gradients (Sundararajan et al. 2017).

    The path goes from a text of padding tokens between the special ones to the text, in the space of the word
    embeddings; what is explained is the log-odds of the positive label.
    """

    def __init__(self, fine_tuned: FineTuned) -> None:
        self._model: TextClassifier = fine_tuned.model()
        self._tokenizer: PreTrainedTokenizerBase = fine_tuned.tokenizer()
        self._max_length = fine_tuned.config.max_length
        self._embeddings = self._model.encoder.get_input_embeddings()
        self._gradients = LayerIntegratedGradients(self._log_odds, self._embeddings)

    def __call__(self, text: str) -> Attribution:
        """Return what each word of `text` brought; a few hundred milliseconds for a short text and a small model."""
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
        """Return the log-odds of `ids` with the word embeddings of `baseline`: where the path begins.

        The log-odds of `baseline` itself would be others where an encoder takes positions from the ids, as RoBERTa's.
        """
        words = self._embeddings(baseline)
        hook = self._embeddings.register_forward_hook(lambda *_: words)
        try:
            return float(self._log_odds(ids))
        finally:
            hook.remove()

    def _integrated(self, ids: torch.Tensor, baseline: torch.Tensor, change: float) -> list[float]:
        """Return the value of each token; as many steps as it takes for their sum to be `change`."""
        batch_size = max(1, _TOKENS_AT_ONCE // ids.shape[1])
        for steps in STEPS:
            found = self._gradients.attribute(ids, baseline, n_steps=steps, internal_batch_size=batch_size)
            values: list[float] = found.sum(dim=-1)[0].tolist()
            if _close(sum(values), change):
                break
        return values


def _close(total: float, change: float) -> bool:
    return abs(total - change) <= TOLERANCE * max(1.0, abs(change))


def explained(fine_tuned: FineTuned, mistakes: pd.DataFrame, labels: tuple[str, str], rows: int = 5) -> str:
    """Return the first `rows` of a table with the columns text and label, each with its attributions, as HTML."""
    explain = Explainer(fine_tuned)
    shown = mistakes.head(rows)
    return coloured([explain(text) for text in shown["text"]], labels, [f"labelled {one}" for one in shown["label"]])


def coloured(attributions: Sequence[Attribution], labels: tuple[str, str], notes: Sequence[str] = ()) -> str:
    """Return texts as HTML, each word on orange where it speaks for the positive label and on blue where against it.

    Args:
        attributions: the texts.
        labels: negative, positive.
        notes: something to say before each text, such as its true label; none when empty.
    """
    negative, positive = (html.escape(label) for label in labels)
    legend = (
        f"<p>{_mark('orange', 1)} speaks for <b>{positive}</b>, {_mark('blue', -1)} for <b>{negative}</b>; the "
        "strongest word of each text is the darkest. Under the pointer a word shows the log-odds it brings; "
        "together they bring a text from the score of mere padding to its own.</p>"
    )
    heads = notes or [""] * len(attributions)
    texts = "".join(_drawn(one, positive, head) for one, head in zip(attributions, heads, strict=True))
    return f'<div style="background: white; color: black; max-width: 60em">{legend}{texts}</div>'


def _merged(word_ids: Sequence[int | None], offsets: Sequence[tuple[int, int]], values: Sequence[float]) -> list[Word]:
    """Return the words of the tokens; special tokens belong to none."""
    words: dict[int, Word] = {}
    for word, (start, end), value in zip(word_ids, offsets, values, strict=True):
        if word is not None:
            known = words.get(word, Word(start, end, 0.0))
            words[word] = Word(known.start, max(known.end, end), known.value + value)
    return list(words.values())


def _drawn(attribution: Attribution, positive: str, note: str) -> str:
    doubt = "" if attribution.converged else f" (the words miss it by {attribution.error:+.2f} in all: do not compare)"
    head = f"{positive} {attribution.score:.3f}, from {attribution.start:.3f} without words{doubt}"
    said = f"{html.escape(note)}, {head}" if note else head
    body = "".join(_pieces(attribution))
    return f'<p style="line-height: 1.7"><small>{said}</small><br><span style="white-space: pre-wrap">{body}</span></p>'


def _pieces(attribution: Attribution) -> Iterator[str]:
    """Yield the text in pieces: what is between words as it is, and what the model does not read in grey."""
    strongest = max((abs(word.value) for word in attribution.words), default=0.0) or 1.0
    at = 0
    for word in attribution.words:
        yield html.escape(attribution.text[at : word.start])
        yield _mark(attribution.text[max(at, word.start) : word.end], word.value / strongest, f"{word.value:+.2f}")
        at = max(at, word.end)
    if attribution.text[at:].strip():
        yield f'<span style="color: #64748b" title="not read">{html.escape(attribution.text[at:])}</span>'


def _mark(text: str, strength: float, title: str = "") -> str:
    """Return `text` on a colour, with a strength in [-1, 1]."""
    colour = _TOWARDS if strength > 0 else _AWAY
    shown = f' title="{title}"' if title else ""
    style = f"background: rgba({colour}, {_DARKEST * abs(strength):.2f}); border-radius: 3px"
    return f'<span style="{style}"{shown}>{html.escape(text)}</span>'
