"""Reported quality: comparisons with baselines, metrics at the served threshold, and warnings."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from bert_textclassification.artifact.manifest import Decision
from bert_textclassification.serving.calibration import margins
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.evaluation.baselines import constant_scores
from bert_textclassification.training.evaluation.calibration import LogOdds
from bert_textclassification.training.evaluation.inference import Evaluated
from bert_textclassification.training.evaluation.metric_values import metric_value
from bert_textclassification.training.evaluation.quality import assess, bound_warnings, compare_with_rivals
from bert_textclassification.training.export.build import build_artifact
from bert_textclassification.training.modeling.fine_tuned import FineTuned


def separable_splits(rows=300, share=0.5):
    """Return splits in which a word determines the label, and the targets."""
    positive = np.arange(rows) < share * rows
    texts = [
        f"{'terrible' if is_positive else 'lovely'} thing number {number}"
        for number, is_positive in enumerate(positive)
    ]
    frame = pd.DataFrame({"text": texts, "label": np.where(positive, "bad", "good")})
    return Splits(frame, frame, frame, ("good", "bad"), []), positive.astype(int)


def quality_of(share, right, threshold=0.5, **settings):
    """Return the quality of a model with the accuracy `right`, the same for both labels."""
    splits, targets = separable_splits(share=share)
    wrong = np.arange(len(targets)) % 100 >= round(100 * right)
    logits = np.stack([np.zeros(len(targets)), np.where((targets == 1) ^ wrong, 3.0, -3.0)], axis=1).astype(np.float32)
    evaluated = {name: Evaluated([], targets.tolist(), logits) for name in ("validation", "test")}
    config = TrainingConfig.of({"data": "x", **settings})
    return assess(
        config,
        splits,
        evaluated,
        dict.fromkeys(evaluated, LogOdds(margins(logits), margins(logits))),
        Decision(threshold=threshold, review_band=(0.2, 0.8)),
    )


def test_a_model_worse_than_the_baseline_gets_a_warning():
    quality = quality_of(share=0.5, right=0.8)
    assert quality.comparisons["baseline"].sentence.startswith("The model is worse than the baseline")
    assert any("Not shown to be better than TF-IDF" in warning for warning in quality.warnings)
    assert not any("more frequent label" in warning for warning in quality.warnings)


def test_comparisons_do_not_depend_on_the_decision_threshold():
    lowered, half = quality_of(share=0.3, right=0.99, threshold=0.01), quality_of(share=0.3, right=0.99)
    assert lowered.metrics["test"]["accuracy"]["value"] == pytest.approx(0.3)
    assert (lowered.comparisons, lowered.warnings) == (half.comparisons, half.warnings)


def test_a_model_no_better_than_the_majority_gets_a_warning():
    warnings = quality_of(share=0.3, right=0.7).warnings
    assert any(
        "Not shown to be better than always predicting the more frequent label" in warning for warning in warnings
    )


def test_the_more_frequent_label_is_that_of_the_test_rows():
    """60.3 % of test are negative and 48 % of train: an accuracy of 65.7 % gains 5.4 points, not 26."""
    targets = np.arange(1000) < 397
    scores = np.where(np.arange(1000) % 1000 < 657, targets, ~targets).astype(float)
    comparison = compare_with_rivals(targets.astype(int).tolist(), scores, scores, "accuracy")["majority"]
    assert comparison.points == pytest.approx(5.4)
    assert metric_value("accuracy", targets, constant_scores(targets)) == pytest.approx(0.603)


def test_on_rare_labels_the_ranking_is_compared():
    quality = quality_of(share=0.1, right=0.99)
    assert quality.judging["metric"] == "average_precision"
    assert {comparison.metric for comparison in quality.comparisons.values()} == {"average_precision"}
    assert quality.comparisons["majority"].points > 50
    assert quality.comparisons["majority"].sentence.startswith(
        "The model is better than always predicting the more frequent"
    )
    assert quality_of(share=0.1, right=0.99, selection_metric="accuracy").comparisons["majority"].metric == "accuracy"


@pytest.mark.parametrize(("metric", "value"), [("accuracy", 0.8), ("f1", 2 / 6), ("average_precision", 0.2)])
def test_the_majority_baseline_is_the_best_constant_prediction(metric, value):
    targets = [1, 0, 0, 0, 0] * 20
    assert metric_value(metric, targets, constant_scores(targets, metric)) == pytest.approx(value)


def test_a_gap_between_validation_and_test_gets_a_warning():
    splits, targets = separable_splits()
    wrong = np.arange(len(targets)) % 5 == 0
    logits = np.stack([np.zeros(len(targets)), np.where(targets == 1, 3.0, -3.0)], axis=1).astype(np.float32)
    worse = np.where(wrong[:, None], logits[:, ::-1], logits)
    evaluated = {
        name: Evaluated([], targets.tolist(), rows) for name, rows in (("validation", logits), ("test", worse))
    }
    served = {name: LogOdds(margins(rows), margins(rows)) for name, rows in (("validation", logits), ("test", worse))}
    quality = assess(TrainingConfig.of({"data": "x"}), splits, evaluated, served, Decision())
    assert any(warning.startswith("Validation has 100.0% accuracy and test has 80.0%") for warning in quality.warnings)


def test_if_accuracy_is_not_informative_average_precision_is_named():
    (warning,) = [
        text for text in quality_of(share=0.1, right=0.99).warnings if text.startswith("Accuracy is not informative")
    ]
    assert "always predicting 'good' is right for 90.0%" in warning
    assert "average precision" in warning
    (warning,) = [
        text for text in quality_of(share=0.9, right=0.99).warnings if text.startswith("Accuracy is not informative")
    ]
    assert "Use average precision of the negative label" in warning
    assert not [
        text for text in quality_of(share=0.4, right=0.99).warnings if text.startswith("Accuracy is not informative")
    ]


def test_a_bound_not_met_on_test_gets_a_warning():
    metrics = {"precision": {"value": 0.88, "low": 0.8, "high": 0.9}}
    assert bound_warnings("precision>=0.9", metrics) == [
        "The threshold was chosen for precision>=0.9; on test precision is 0.880."
    ]
    assert bound_warnings("precision>=0.8", metrics) == bound_warnings("f1", metrics) == []


@pytest.fixture(scope="module")
def decided(tiny_fine_tuned, tiny_splits, tmp_path_factory):
    """An artifact with a threshold, a temperature and a review band of its own."""
    settings = {"threshold_objective": "recall>=0.99", "review_cost": 0.2, "false_negative_cost": 3}
    config = tiny_fine_tuned.config.model_copy(update=settings)
    fine_tuned: FineTuned = dataclasses.replace(tiny_fine_tuned, config=config)
    return build_artifact(fine_tuned, tiny_splits, tmp_path_factory.mktemp("decided"))


def test_the_served_model_is_the_one_measured(decided, tiny_splits):
    manifest, targets = decided.manifest, np.array(tiny_splits.targets(tiny_splits.test))
    assert manifest.decision.objective == "highest precision with recall of at least 0.99"
    predictions = Predictor(decided).predict(tiny_splits.test["text"].tolist())
    labels = np.array([prediction.label == manifest.labels[1] for prediction in predictions])
    assert np.mean(labels == targets) == pytest.approx(manifest.metrics["test"]["accuracy"]["value"])
    assert labels[targets == 1].mean() == pytest.approx(manifest.metrics["test"]["recall"]["value"])
    left = np.mean([prediction.decision == "review" for prediction in predictions])
    assert 1 - left == pytest.approx(manifest.review["test"]["coverage"])


def test_the_threshold_keeps_its_bound_on_the_rows_it_was_chosen_on(decided):
    assert decided.manifest.metrics["validation"]["recall"]["value"] >= 0.99


def test_the_temperature_lowers_the_log_loss_on_validation(decided):
    validation = decided.manifest.calibration["validation"]
    assert validation["log_loss_after"] < validation["log_loss_before"]


def test_the_card_reports_the_decision(decided):
    card = (decided.folder / "model_card.md").read_text()
    for words in ("## Decision", "recall of at least 0.99", "left to human review", "## Calibration", "the baseline"):
        assert words in card


def test_warnings_are_at_the_top_of_the_card(decided):
    card = (decided.folder / "model_card.md").read_text()
    assert [card.index(warning) < card.index("Classifies texts") for warning in decided.manifest.warnings]
