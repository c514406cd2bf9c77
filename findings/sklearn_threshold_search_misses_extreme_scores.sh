#!/usr/bin/env bash
# scikit-learn's TunedThresholdClassifierCV tries 100 evenly spaced thresholds and misses the best one on extreme scores.
#
# Most scores of a fine-tuned transformer are close to 0 or 1. By default the thresholds are 100 numbers of a linspace
# from the lowest to the highest score, not the scores themselves. The search cannot separate scores below its first
# step, here 0.01. If positives are rare and have small but well ranked scores, the best threshold lies below that step.
# Remedy: pass `thresholds=` as an array, or use log-odds as scores.
#
# Seen with scikit-learn 1.9.1 on Python 3.11: F1 of the tuned threshold far below the best of all thresholds.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
cat >"$work/finding.py" <<'PYTHON'
import numpy as np
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import f1_score
from sklearn.model_selection import TunedThresholdClassifierCV


class Scores(ClassifierMixin, BaseEstimator):
    """A classifier whose one feature is its score."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.column_stack([1 - X[:, 0], X[:, 0]])

    def predict(self, X):
        return (X[:, 0] >= 0.5).astype(int)


print("scikit-learn", sklearn.__version__)
rng = np.random.default_rng(0)
labels = (rng.random(4000) < 0.05).astype(int)
log_odds = rng.normal(np.where(labels == 1, -6.0, -11.0), 1.5)
log_odds[:20], labels[:20] = 8.0, 1  # some positives have scores near 1
scores = 1 / (1 + np.exp(-log_odds))
column = scores[:, None]
tuned = TunedThresholdClassifierCV(Scores().fit(column, labels), scoring="f1", cv="prefit", refit=False)
tuned.fit(column, labels)
by_search = f1_score(labels, scores >= tuned.best_threshold_)
best = max(f1_score(labels, scores >= threshold) for threshold in np.unique(scores))
print(f"tuned threshold {tuned.best_threshold_:.5f}: F1 {by_search:.3f}; the best of all thresholds: F1 {best:.3f}")
raise SystemExit(0 if best - by_search > 0.1 else "scikit-learn finds the best threshold now")
PYTHON
"$work/venv/bin/python" -W error::FutureWarning "$work/finding.py"
