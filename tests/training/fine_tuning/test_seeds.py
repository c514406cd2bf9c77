"""Several seeds: the best on validation is kept, and the mean over the seeds is reported."""

import numpy as np
import pytest
from safetensors.torch import load_file

from bert_textclassification.training.export.build import build_artifact
from bert_textclassification.training.fine_tuning.seeds import fine_tune_seeds, mean_with_interval, seeds_table
from bert_textclassification.training.modeling.fine_tuned import FineTuned
from tools.results_tables import seed_variance_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def best(tiny_config, tiny_splits, tmp_path_factory):
    config = tiny_config.model_copy(update={"num_seeds": 3, "epochs": 2, "seed": 7})
    return fine_tune_seeds(config, tiny_splits, tmp_path_factory.mktemp("seeds") / "model")


def test_the_best_seed_on_validation_is_kept(best):
    models = [FineTuned.load(best.folder.parent / f"model_{seed}") for seed in (7, 8, 9)]
    metrics = [model.facts["best_metric"] for model in models]
    expected = models[int(np.argmax(metrics))]
    assert best.facts["seed"] == expected.config.seed
    weights = [load_file(model.folder / "model.safetensors")["head.weight"] for model in (best, expected)]
    assert weights[0].equal(weights[1])


def test_the_mean_of_all_seeds_is_reported_in_manifest_and_card(best, tiny_splits, tmp_path):
    artifact = build_artifact(best, tiny_splits, tmp_path)
    interval = artifact.manifest.seeds["test_accuracy"]
    assert interval["value"] == pytest.approx(np.mean([values["test"] for values in best.facts["accuracies"]]))
    assert "FP32 over 3 seeds" in (tmp_path / "model_card.md").read_text()


def test_one_seed_has_no_variance(tiny_artifact):
    assert tiny_artifact.manifest.seeds == {}


def test_the_interval_is_that_of_students_t():
    interval = mean_with_interval([0.90, 0.91, 0.92])
    assert interval["value"] == pytest.approx(0.91)
    assert interval["high"] - interval["value"] == pytest.approx(4.3027 * 0.01 / np.sqrt(3), rel=1e-4)


def test_a_published_run_with_several_seeds_has_a_row():
    accuracies = [{"validation": 0.9, "test": 0.91}, {"validation": 0.88, "test": 0.89}]
    facts = {"seeds": seeds_table(accuracies), "accuracies": accuracies}
    table = seed_variance_table({"lucky": {"fine_tuning": {"facts": facts}}, "once": {"fine_tuning": {"facts": {}}}})
    (row,) = table.splitlines()[2:]
    assert row.startswith("| lucky | 2 | 89.00 (")
    assert row.endswith("| 91.00, 89.00 |")
