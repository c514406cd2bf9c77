"""Evaluate a model, in torch or as it is served, on slices of the test split and on behavioural tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bert_textclassification.artifact.manifest import Manifest, SliceResult
from bert_textclassification.artifact.store import Artifact
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.evaluation.all_cores import in_parts
from bert_textclassification.training.evaluation.behavioral.file import load_suite
from bert_textclassification.training.evaluation.behavioral.suite import Outcome, Scorer, run_suite
from bert_textclassification.training.evaluation.inference import encode, torch_logits
from bert_textclassification.training.evaluation.metrics import positive_scores
from bert_textclassification.training.evaluation.selection_metric import choose_metric
from bert_textclassification.training.evaluation.slices import describe, measure_slices
from bert_textclassification.training.modeling.fine_tuned import FineTuned


def add_slices_and_behaviours(manifest: Manifest, folder: Path, fine_tuned: FineTuned, splits: Splits) -> Manifest:
    """Return the manifest of the model in `folder` with slices and behaviours of its default variant."""
    predictor = Predictor(Artifact(folder, manifest, version="unfinished"), manifest.default_variant)
    threshold, scorer = manifest.decision.threshold, served_scorer(predictor)
    slices = slices_of(fine_tuned, splits, scorer(splits.test["text"].tolist()), threshold)
    outcomes = behaviours_of(fine_tuned, splits, scorer, threshold)
    return manifest.model_copy(
        update={"slices": tuple(slices), "behaviours": tuple(outcome.result for outcome in outcomes)}
    )


def slices_of(fine_tuned: FineTuned, splits: Splits, scores: ArrayLike, threshold: float = 0.5) -> list[SliceResult]:
    """Return the slices of the test split, given its positive-class `scores`."""
    config = fine_tuned.config
    described = describe(splits.test, fine_tuned.tokenizer(), config.max_length)
    metric = choose_metric(config, splits).metric
    return measure_slices(described, splits.targets(splits.test), scores, config.seed, threshold, metric)


def behaviours_of(
    fine_tuned: FineTuned, splits: Splits, scorer: Scorer | None = None, threshold: float = 0.5
) -> list[Outcome]:
    """Return the outcomes of the behavioural tests for `scorer`; the default is the torch model."""
    suite = load_suite(fine_tuned.config, splits.labels)
    return run_suite(suite, splits, scorer or torch_scorer(fine_tuned), fine_tuned.config.seed, threshold)


def served_scorer(predictor: Predictor) -> Scorer:
    """Return a function from texts to the positive-class scores that are served."""
    positive = predictor.artifact.manifest.labels[1]

    def scores(texts: Sequence[str]) -> NDArray[np.float64]:
        parts = in_parts(predictor.predict, texts)
        return np.array([prediction.scores[positive] for part in parts for prediction in part])

    return scores


def torch_scorer(fine_tuned: FineTuned) -> Scorer:
    """Return a function from texts to the positive-class scores of the fine-tuned torch model."""
    model, tokenizer = fine_tuned.model(), fine_tuned.tokenizer()

    def scores(texts: Sequence[str]) -> NDArray[np.float64]:
        return positive_scores(torch_logits(model, encode(tokenizer, texts, fine_tuned.config.max_length)))

    return scores
