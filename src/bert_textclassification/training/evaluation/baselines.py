"""Baselines for the fine-tuned model: word TF-IDF with logistic regression, and a constant prediction."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.evaluation.metric_values import metric_value

_WORD = r"(?u)\b\w\w+\b"  # scikit-learn's default


def fit_baseline(splits: Splits, seed: int, metric: str = "accuracy") -> Pipeline:
    """Fit on train; choose the best of four regularisation strengths by `metric` on validation."""
    train, targets = splits.train["text"], splits.targets(splits.train)
    candidates = [tfidf_model(c, seed, train).fit(train, targets) for c in (0.3, 1, 3, 10)]
    truth, texts = splits.targets(splits.validation), splits.validation["text"].tolist()
    values = [metric_value(metric, truth, baseline_scores(model, texts)) for model in candidates]
    return candidates[int(np.argmax(values))]


def baseline_scores(model: Pipeline, texts: list[str]) -> NDArray[np.float64]:
    """Return the positive-class score of each text."""
    scores: NDArray[np.float64] = model.predict_proba(texts)[:, 1]
    return scores


def constant_scores(targets: Sequence[int], metric: str = "accuracy") -> NDArray[np.float64]:
    """Return the scores of the best constant prediction: the same score for every row.

    The score is the share of positives in `targets`, so that the predicted label is the more frequent one of the
    evaluated rows. The more frequent label of train may be the other one, which any model would beat. For F1 the best
    constant prediction is the positive label.
    """
    share = float(np.mean(targets))
    return np.full(len(targets), 1.0 if metric == "f1" else share)


def tfidf_model(strength: float, seed: int, texts: Iterable[str]) -> Pipeline:
    """Return the unfitted model for these texts; `strength` is the inverse of the regularisation strength.

    Words have two characters or more. If no text has such a word (all are emoji, for example), each character is a
    word.
    """
    pattern = _WORD if any(re.search(_WORD, text) for text in texts) else r"\S"
    return make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1, token_pattern=pattern),
        LogisticRegression(C=strength, max_iter=2000, random_state=seed),
    )
