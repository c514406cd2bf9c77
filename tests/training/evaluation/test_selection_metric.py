"""The selection metric: the rule, its override, and its use for checkpoints, seeds, search and job."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits
from bert_textclassification.training.evaluation.inference import evaluate_splits
from bert_textclassification.training.evaluation.metric_values import metric_value
from bert_textclassification.training.evaluation.selection_metric import choose_metric, with_chosen_metric
from bert_textclassification.training.export.build import build_artifact
from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.fine_tuning.seeds import fine_tune_seeds
from bert_textclassification.training.fine_tuning.trainer import class_weights
from bert_textclassification.training.modeling.fine_tuned import FineTuned
from bert_textclassification.training.tuning.objective import int8_score
from bert_textclassification.training.tuning.space import SearchSpace
from bert_textclassification.training.tuning.study import search


def labelled(positives, rows=100):
    return pd.DataFrame({"text": ["x"] * rows, "label": ["spam"] * positives + ["ham"] * (rows - positives)})


def splits_with(train, validation=None, test=50):
    validation = train if validation is None else validation
    return Splits(labelled(train), labelled(validation), labelled(test), ("ham", "spam"), [])


@pytest.mark.parametrize(
    ("train", "validation", "metric"),
    [
        (50, 50, "accuracy"),
        (20, 20, "accuracy"),
        (80, 80, "accuracy"),
        (19, 19, "average_precision"),
        (4, 4, "average_precision"),
        (96, 96, "average_precision_negative"),
        (50, 4, "average_precision"),  # train was balanced, validation was not
        (4, 50, "average_precision"),
        (50, 96, "average_precision_negative"),
    ],
)
def test_the_balance_of_the_labels_decides(train, validation, metric):
    splits = splits_with(train, validation)
    assert choose_metric(TrainingConfig(data="x"), splits).metric == metric


@pytest.mark.parametrize("metric", ["accuracy", "f1", "average_precision", "average_precision_negative", "loss"])
def test_selection_metric_overrides_the_rule_and_the_sentence_says_so(metric):
    chosen = choose_metric(TrainingConfig(data="x", selection_metric=metric), splits_with(4))
    assert chosen.metric == metric
    assert chosen.sentence.endswith("set by selection_metric.")


def test_the_sentence_names_the_metric_the_rarer_label_and_where_it_is_rare():
    config = TrainingConfig(data="x")
    assert choose_metric(config, splits_with(45)).sentence == (
        "The selection metric is accuracy: the rarer label, 'spam', is 45.0% of train."
    )
    assert "'spam', is 4.0% of validation. Under 20%" in choose_metric(config, splits_with(50, 4)).sentence
    assert "negative label: the rarer label, 'ham', is 4.0% of train" in choose_metric(config, splits_with(96)).sentence


def test_the_test_split_has_no_influence():
    assert choose_metric(TrainingConfig(data="x"), splits_with(50, test=2)).metric == "accuracy"


@pytest.mark.parametrize("positives", [19, 20, 80, 81])
def test_the_loss_has_class_weights_if_the_rule_calls_train_imbalanced(positives):
    config, splits = TrainingConfig(data="x"), splits_with(positives)
    assert (class_weights(splits, config) is None) is (choose_metric(config, splits).metric == "accuracy")


@pytest.fixture(scope="module")
def rare(tiny_splits):
    """The tiny splits with few positive rows: 11 % of validation."""

    def thinned(frame, keep):
        positive = frame["label"] == tiny_splits.labels[1]
        return pd.concat([frame[~positive], frame[positive].head(keep)]).reset_index(drop=True)

    return dataclasses.replace(
        tiny_splits,
        train=thinned(tiny_splits.train, 12),
        validation=thinned(tiny_splits.validation, 4),
        test=thinned(tiny_splits.test, 6),
    )


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config.model_copy(update={"epochs": 4, "seed": 3})


@pytest.fixture(scope="module")
def seeds_of_rare(config, rare, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rare") / "model"
    return fine_tune_seeds(config.model_copy(update={"num_seeds": 2}), rare, folder)


@pytest.mark.slow
def test_checkpoints_are_compared_by_average_precision(seeds_of_rare, rare):
    model = FineTuned.load(seeds_of_rare.folder.parent / "model_3")
    found = [row["eval_average_precision"] for row in model.history if "eval_average_precision" in row]
    assert model.facts["judged_by"] == "average_precision"
    assert model.facts["best_metric"] in found
    evaluated = evaluate_splits(model, model.model(), rare)["validation"]
    margins = evaluated.reference[:, 1] - evaluated.reference[:, 0]
    kept = metric_value("average_precision", evaluated.targets, margins)
    assert kept == pytest.approx(model.facts["best_metric"])


@pytest.mark.slow
def test_seeds_are_chosen_and_reported_by_average_precision(seeds_of_rare):
    models = [FineTuned.load(seeds_of_rare.folder.parent / f"model_{seed}") for seed in (3, 4)]
    best = models[int(np.argmax([model.facts["best_metric"] for model in models]))]
    assert seeds_of_rare.facts["seed"] == best.config.seed
    assert set(seeds_of_rare.facts["seeds"]) == {
        f"{split}_{metric}" for split in ("validation", "test") for metric in ("accuracy", "average_precision")
    }


@pytest.mark.slow
def test_manifest_and_card_name_the_selection_metric(seeds_of_rare, rare, tmp_path):
    manifest = build_artifact(seeds_of_rare, rare, tmp_path).manifest
    assert manifest.judging["metric"] == "average_precision"
    assert {comparison.metric for comparison in manifest.comparisons.values()} == {"average_precision"}
    assert {result.metric for result in manifest.slices} == {"average_precision"}
    card = (tmp_path / "model_card.md").read_text()
    assert manifest.judging["sentence"] in card
    assert "validation average precision" in card


@pytest.mark.slow
def test_checkpoints_are_compared_by_the_loss_if_it_is_the_selection_metric(config, rare, tmp_path):
    model = fine_tune(config.model_copy(update={"selection_metric": "loss", "epochs": 2}), rare, tmp_path)
    assert model.facts["judged_by"] == "loss"
    assert model.facts["best_metric"] in [row["eval_loss"] for row in model.history if "eval_loss" in row]


@pytest.mark.slow
def test_a_search_on_imbalanced_data_maximises_average_precision(config, rare, tmp_path):
    space = SearchSpace.model_validate({"continuous": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}}})
    short = config.model_copy(update={"epochs": 1})
    study = search(short, rare, space, 1, tmp_path)
    model = fine_tune(with_chosen_metric(short, rare), rare, tmp_path / "model")
    assert study.trials[0].values[0] == pytest.approx(int8_score(model, rare))
    assert study.trials[0].values[0] != pytest.approx(np.mean(np.array(rare.targets(rare.validation)) == 0))
