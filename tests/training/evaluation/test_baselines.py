"""The baseline learns a small hand-made table and the tiny data."""

import numpy as np
import pandas as pd
from sklearn.base import clone

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.evaluation.baselines import baseline_scores, fit_baseline
from bert_textclassification.training.prepare import load_splits


def test_the_baseline_learns_words_and_pairs_of_words(tmp_path):
    splits = _learnable(tmp_path)
    model = fit_baseline(splits, seed=0)
    scores = baseline_scores(model, ["not good today", "good today", "bad today", "not bad today"])
    assert (scores > 0.5).tolist() == [True, False, True, False]


def test_texts_without_words_have_a_baseline_of_symbols(tmp_path):
    rows = [
        f"{'😀' if n % 3 else '😡'}{'🙂' * (n % 7)}{'🙃' * (n // 7)},{'ham' if n % 3 else 'spam'}" for n in range(60)
    ]
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    splits = load_splits(TrainingConfig(data=str(tmp_path / "a.csv"), drop_issues=("label_error",)))
    scores = baseline_scores(fit_baseline(splits, seed=0), ["😡🙂", "😀🙂"])
    assert scores[0] > 0.5 > scores[1]


def test_baseline_scores_are_probabilities_of_the_positive_label(tiny_splits):
    model = fit_baseline(tiny_splits, seed=0)
    scores = baseline_scores(model, tiny_splits.train["text"].tolist())
    assert scores.shape == (len(tiny_splits.train),)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert np.mean((scores > 0.5) == np.array(tiny_splits.targets(tiny_splits.train))) > 0.9


def test_the_baseline_is_the_best_candidate_on_validation(tiny_splits):
    chosen = fit_baseline(tiny_splits, seed=0)
    truth = tiny_splits.targets(tiny_splits.validation)
    scores = []
    for c in (0.3, 1, 3, 10):
        model = clone(chosen).set_params(logisticregression__C=c)
        model.fit(tiny_splits.train["text"], tiny_splits.targets(tiny_splits.train))
        scores.append(model.score(tiny_splits.validation["text"], truth))
    assert min(scores) < max(scores)
    assert chosen.score(tiny_splits.validation["text"], truth) == max(scores)


def _learnable(folder):
    """Complaints (`not good`, `bad`) and praise (`good`, `not bad`), each in many wordings."""
    sayings = {"not good": "yes", "bad": "yes", "good": "no", "not bad": "no"}
    rows = [{"text": f"{saying} item{n}", "label": sayings[saying]} for n in range(40) for saying in sayings]
    pd.DataFrame(rows).to_csv(folder / "a.csv", index=False)
    return load_splits(TrainingConfig(data=str(folder / "a.csv"), positive_label="yes"))
