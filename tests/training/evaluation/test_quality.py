"""What is reported of a model: beside what it must beat, at the threshold that is served, and with its warnings."""

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
from bert_textclassification.training.evaluation.quality import assess, bound_not_kept, compare_with_rivals
from bert_textclassification.training.export.build import build_artifact
from bert_textclassification.training.modeling.fine_tuned import FineTuned


def told_apart(rows=300, share=0.5):
    """Return splits in which a word gives the label away, and the right labels."""
    positive = np.arange(rows) < share * rows
    texts = [f"{'terrible' if one else 'lovely'} thing number {number}" for number, one in enumerate(positive)]
    frame = pd.DataFrame({"text": texts, "label": np.where(positive, "bad", "good")})
    return Splits(frame, frame, frame, ("good", "bad"), []), positive.astype(int)


def found(share, right, threshold=0.5, **settings):
    """Return the quality of a model of which a share `right` of the answers, evenly spread, are right."""
    splits, targets = told_apart(share=share)
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


def test_a_model_worse_than_the_baseline_is_warned_of():
    quality = found(share=0.5, right=0.8)
    assert quality.comparisons["baseline"].sentence.startswith("The model is worse than the baseline")
    assert any("Not shown to be better than TF-IDF" in warning for warning in quality.warnings)
    assert not any("more frequent label" in warning for warning in quality.warnings)


def test_a_threshold_that_gives_accuracy_away_on_purpose_does_not_make_the_model_worse():
    lowered, half = found(share=0.3, right=0.99, threshold=0.01), found(share=0.3, right=0.99)
    assert lowered.metrics["test"]["accuracy"]["value"] == pytest.approx(0.3)
    assert (lowered.comparisons, lowered.warnings) == (half.comparisons, half.warnings)


def test_a_model_that_is_no_better_than_the_majority_is_warned_of():
    warnings = found(share=0.3, right=0.7).warnings
    assert any("Not shown to be better than always giving the more frequent label" in one for one in warnings)


def test_the_more_frequent_label_is_that_of_the_rows_that_are_judged():
    """60.3 % of test are negative and 48 % of train: 65.7 % of right answers gain 5.4 points, not 26."""
    targets = np.arange(1000) < 397
    scores = np.where(np.arange(1000) % 1000 < 657, targets, ~targets).astype(float)
    comparison = compare_with_rivals(targets.astype(int).tolist(), scores, scores, "accuracy")["majority"]
    assert comparison.points == pytest.approx(5.4)
    assert metric_value("accuracy", targets, constant_scores(targets)) == pytest.approx(0.603)


def test_on_rare_labels_a_model_is_judged_by_how_it_ranks():
    quality = found(share=0.1, right=0.99)
    assert quality.judging["metric"] == "average_precision"
    assert {one.metric for one in quality.comparisons.values()} == {"average_precision"}
    assert quality.comparisons["majority"].points > 50
    assert quality.comparisons["majority"].sentence.startswith(
        "The model is better than always giving the more frequent"
    )
    assert found(share=0.1, right=0.99, selection_metric="accuracy").comparisons["majority"].metric == "accuracy"


@pytest.mark.parametrize(("metric", "value"), [("accuracy", 0.8), ("f1", 2 / 6), ("average_precision", 0.2)])
def test_the_rival_that_reads_no_text_gives_the_best_constant_answer(metric, value):
    targets = [1, 0, 0, 0, 0] * 20
    assert metric_value(metric, targets, constant_scores(targets, metric)) == pytest.approx(value)


def test_a_gap_between_validation_and_test_is_warned_of():
    splits, targets = told_apart()
    wrong = np.arange(len(targets)) % 5 == 0
    logits = np.stack([np.zeros(len(targets)), np.where(targets == 1, 3.0, -3.0)], axis=1).astype(np.float32)
    worse = np.where(wrong[:, None], logits[:, ::-1], logits)
    evaluated = {
        name: Evaluated([], targets.tolist(), found) for name, found in (("validation", logits), ("test", worse))
    }
    served = {
        name: LogOdds(margins(found), margins(found)) for name, found in (("validation", logits), ("test", worse))
    }
    quality = assess(TrainingConfig.of({"data": "x"}), splits, evaluated, served, Decision())
    assert any(one.startswith("Validation says 100.0% accuracy, test 80.0%") for one in quality.warnings)


def test_where_accuracy_says_nothing_average_precision_is_named():
    (warning,) = [one for one in found(share=0.1, right=0.99).warnings if one.startswith("Accuracy says little")]
    assert "always answering 'good' would be right for 90.0%" in warning
    assert "average precision" in warning
    (warning,) = [one for one in found(share=0.9, right=0.99).warnings if one.startswith("Accuracy says little")]
    assert "Read average precision of the negative label" in warning
    assert not [one for one in found(share=0.4, right=0.99).warnings if one.startswith("Accuracy says little")]


def test_a_bound_that_test_does_not_keep_is_warned_of():
    metrics = {"precision": {"value": 0.88, "low": 0.8, "high": 0.9}}
    assert bound_not_kept("precision>=0.9", metrics) == [
        "The threshold was chosen for precision>=0.9; on test precision is 0.880."
    ]
    assert bound_not_kept("precision>=0.8", metrics) == bound_not_kept("f1", metrics) == []


@pytest.fixture(scope="module")
def decided(tiny_fine_tuned, tiny_splits, tmp_path_factory):
    """An artifact with a threshold, a temperature and a review band of its own."""
    settings = {"threshold_objective": "recall>=0.99", "review_cost": 0.2, "false_negative_cost": 3}
    config = tiny_fine_tuned.config.model_copy(update=settings)
    fine_tuned: FineTuned = dataclasses.replace(tiny_fine_tuned, config=config)
    return build_artifact(fine_tuned, tiny_splits, tmp_path_factory.mktemp("decided"))


def test_what_is_served_is_what_was_chosen_and_measured(decided, tiny_splits):
    manifest, targets = decided.manifest, np.array(tiny_splits.targets(tiny_splits.test))
    assert manifest.decision.objective.startswith("recall of at least 0.99")
    predictions = Predictor(decided).predict(tiny_splits.test["text"].tolist())
    labels = np.array([one.label == manifest.labels[1] for one in predictions])
    assert np.mean(labels == targets) == pytest.approx(manifest.metrics["test"]["accuracy"]["value"])
    assert labels[targets == 1].mean() == pytest.approx(manifest.metrics["test"]["recall"]["value"])
    left = np.mean([one.decision == "review" for one in predictions])
    assert 1 - left == pytest.approx(manifest.review["test"]["coverage"])


def test_the_threshold_keeps_its_bound_on_the_rows_it_was_chosen_on(decided):
    assert decided.manifest.metrics["validation"]["recall"]["value"] >= 0.99


def test_the_temperature_lowers_the_log_loss_on_validation(decided):
    validation = decided.manifest.calibration["validation"]
    assert validation["log_loss_after"] < validation["log_loss_before"]


def test_the_card_says_what_was_chosen_and_what_it_yields(decided):
    card = (decided.folder / "model_card.md").read_text()
    for words in ("## Decision", "recall of at least 0.99", "for a person to decide", "## Calibration", "the baseline"):
        assert words in card


def test_warnings_stand_at_the_top_of_the_card(decided):
    card = (decided.folder / "model_card.md").read_text()
    assert [card.index(warning) < card.index("Tells `") for warning in decided.manifest.warnings]
