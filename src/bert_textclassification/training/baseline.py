"""The baseline that a BERT model must beat: word TF-IDF and logistic regression."""

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from bert_textclassification.training.data import Splits


def fit_baseline(splits: Splits, seed: int) -> Pipeline:
    """Fit on train; the strength of regularisation is the best of four on validation."""
    candidates = [tfidf_model(c, seed).fit(splits.train["text"], splits.targets(splits.train)) for c in (0.3, 1, 3, 10)]
    truth = splits.targets(splits.validation)
    scores: list[float] = [model.score(splits.validation["text"], truth) for model in candidates]
    return candidates[int(np.argmax(scores))]


def baseline_scores(model: Pipeline, texts: list[str]) -> NDArray[np.float64]:
    """Return the positive-class score of each text."""
    scores: NDArray[np.float64] = model.predict_proba(texts)[:, 1]
    return scores


def tfidf_model(strength: float, seed: int) -> Pipeline:
    """Return the model, unfitted; `strength` is the inverse of the regularisation's."""
    return make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1),
        LogisticRegression(C=strength, max_iter=2000, random_state=seed),
    )
