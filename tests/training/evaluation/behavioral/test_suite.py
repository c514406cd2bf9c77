"""Behavioural tests: the YAML file, its error messages, when a test fails, and the report in the artifact."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.config import SageMakerFolders, TrainingConfig
from bert_textclassification.training.evaluation.behavioral.file import Suite, load_suite
from bert_textclassification.training.evaluation.behavioral.suite import behaviour_table, behaviours_section, run_suite
from bert_textclassification.training.evaluation.robustness import behaviours_of
from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.prepare import load_splits
from tests.conftest import ROOT, SHIPPED_DATA

LABELS = ("routine", "escalate")
BUILT_IN = {
    "a typo", "in capitals", "full stop put or left out", "more spaces", "another name in the text",
    "signed by somebody else", "a remark added",
}  # fmt: skip
MISTAKES = {
    "tests: [{name: a, kind: invariant, pairs: [[x, y]]}]": "test 'a': kind must be invariance, directional or minimum",
    "tests: [{name: a, pairs: [[x, y]]}]": "test 'a': needs a kind: invariance",
    "tests: [{name: a, kind: invariance, pair: [[x, y]]}]": "test 'a': pairs: the key is missing; add it",
    "tests: [{name: a, kind: invariance, pairs: [[x, y]], by: 1}]": "test 'a': by: there is no such key",
    "tests: [{name: a, kind: invariance, pairs: [[x, yes]]}]": "pairs: 1: 2: must be a text; put it in quotes",
    "tests: [{kind: invariance, pairs: [[x, y]]}]": "test 1: name: the key is missing",
    "tests: [{name: a, kind: minimum_functionality, label: urgent, texts: [x]}]": "'urgent' is not a label of the data",
    "tests: [{name: a, kind: directional, towards: up, pairs: [[x, y]]}]": "test 'a': towards: 'up' is not a label of",
    "tests: [{name: a, kind: directional, towards: routine, by: 2, pairs: [[x, y]]}]": "test 'a': by: Input should be",
    "tests: [{name: a, kind: invariance, pairs: [['{nme}', y]]}]": "test 'a': '{nme}' has the placeholder {nme}, but",
    "tests: &one [{name: a, kind: invariance, pairs: [[x, y]]}, {name: a, kind: invariance, pairs: [[x, y]]}]":
        "two tests have the name 'a'; rename one",
    "lists: {text: [a]}": "the list name 'text' is reserved",
    "lists: {name: [only]}": "needs another entry of the list 'name', which has only one",
    "tests: [{name: a, kind: invariance, pairs: [['', y]]}]": "test 'a': pairs: 1: 1: is empty; write a text",
    "test: []": "test: there is no such key",
    "- a": "must be keys with values, such as `tests:`",
    "tests: [a: b": "line 1 cannot be read: it is not valid YAML",
    "tests: []\ntests: []": "line 2 cannot be read: it is not valid YAML (the key 'tests' is given twice)",
    "tests: &a [*a]": "is not valid YAML (it contains itself",
    "tests: [{name: a, kind: invariance, pairs: [[x, 2024-13-45]]}]": "'2024-13-45' is not a valid value of its type",
    "!!python/object/apply:os.system [ls]": "is not valid YAML",
}  # fmt: skip


def suite_of(tmp_path, content, labels=LABELS):
    (tmp_path / "own.yaml").write_text(content, encoding="utf-8")
    return load_suite(TrainingConfig(data="d", behavioral_tests=str(tmp_path / "own.yaml")), labels)


def outcome(splits, scorer, **test):
    (found,) = run_suite(Suite.model_validate({"tests": [{"name": "a", **test}]}), splits, scorer, seed=0)
    return found


def by_length(texts):
    return np.array([min(1.0, len(text) / 10) for text in texts])


@pytest.mark.parametrize("content", MISTAKES)
def test_a_mistake_is_one_sentence_with_file_and_test(content, tmp_path):
    with pytest.raises(ConfigurationError, match=r"^behavioral_tests: .*own\.yaml.*\.$") as problem:
        suite_of(tmp_path, content)
    assert MISTAKES[content] in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.yaml cannot be read \(No such file or directory\)"):
        load_suite(TrainingConfig(data="d", behavioral_tests=str(tmp_path / "none.yaml")), LABELS)


def test_a_mistake_is_rejected_before_training(tiny_config, tiny_splits, tmp_path):
    config = tiny_config.model_copy(update={"behavioral_tests": str(tmp_path / "none.yaml")})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        fine_tune(config, tiny_splits, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_user_tests_are_added_and_replace_those_of_the_same_name(tmp_path):
    own = "tests: [{name: a typo, kind: invariance, pairs: [[x, y]]}, {name: b, kind: invariance, pairs: [[x, y]]}]"
    suite = suite_of(tmp_path, own)
    assert {test.name for test in suite.tests} == BUILT_IN | {"b"}
    assert suite.tests[0].pairs == [("x", "y")]


OWN = "tests: [{name: mine, kind: minimum_functionality, texts: [x], label: 'true'}]"


@pytest.mark.parametrize("place", [".", "training", "all/of/it"])
def test_behaviours_in_the_data_folder_or_below_are_run_and_not_reported_as_unread(tmp_path, place):
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.csv").write_text("text,label\n" + "".join(f"a text {n},{n % 2 == 0}\n" for n in range(40)))
    (folder / "behavioral_tests.yaml").write_text(OWN)
    config = TrainingConfig(data=str(tmp_path))
    assert load_suite(config, ("False", "True")).tests[-1].name == "mine"
    assert not any("behavioral_tests" in note for note in load_splits(config).notes)


def test_a_file_with_the_old_name_is_run_with_a_warning(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"a text {n},{n % 2 == 0}\n" for n in range(40)))
    (tmp_path / "behaviours.yaml").write_text(OWN)
    with pytest.warns(FutureWarning, match=r"Rename .*behaviours\.yaml to behavioral_tests\.yaml"):
        suite = load_suite(TrainingConfig(data=str(tmp_path)), ("False", "True"))
    assert suite.tests[-1].name == "mine"


def test_unused_behavioural_tests_are_reported(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"a text {n},{n % 2}\n" for n in range(40)))
    (tmp_path / "behavioral_tests.yaml").write_text(OWN)
    config = TrainingConfig(data=str(tmp_path), behavioral_tests=str(tmp_path / "other.yaml"))
    assert "Not read as labelled texts: behavioral_tests.yaml." in load_splits(config).notes


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("behaviours.yml",), "behaviours.yml is not read; rename it to behavioral_tests.yaml"),
        (("train/behavioral_tests.yaml", "test/behavioral_tests.yaml"), "keep one, or set behavioral_tests"),
    ],
)
def test_files_that_would_not_be_run_are_rejected(tmp_path, names, says):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(OWN)
    with pytest.raises(ConfigurationError, match=says):
        load_suite(TrainingConfig(data=str(tmp_path)), LABELS)


def test_an_empty_file_leaves_the_built_in_tests(tmp_path):
    assert {test.name for test in suite_of(tmp_path, "# nothing yet\n").tests} == BUILT_IN


def test_labels_may_be_written_as_numbers(tmp_path):
    own = "tests: [{name: a, kind: minimum_functionality, label: 1, texts: [x]}]"
    assert suite_of(tmp_path, own, ("0", "1")).tests[-1].label == "1"


def test_the_data_folder_may_hold_the_tests():
    suite = load_suite(TrainingConfig(data=str(SHIPPED_DATA)), LABELS)
    assert {test.kind for test in suite.tests} == {"invariance", "directional", "minimum_functionality"}


def test_the_example_of_sentiment_is_valid():
    path = ROOT / "notebooks/behavioral_tests/sentiment.yaml"
    assert len(load_suite(TrainingConfig(data="d", behavioral_tests=str(path)), ("0", "1")).tests) > len(BUILT_IN)


def test_in_a_job_the_file_is_found_in_its_channel(tmp_path):
    folders = SageMakerFolders(tmp_path)
    folders.hyperparameters.parent.mkdir(parents=True)
    folders.hyperparameters.write_text('{"behavioral_tests": "behaviours/mine.yaml"}')
    assert folders.training_config().behavioral_tests == str(tmp_path / "input/data/behaviours/mine.yaml")


def test_invariance_fails_where_the_label_changes(tiny_splits):
    found = outcome(tiny_splits, by_length, kind="invariance", pairs=[("abc", "abcdef"), ("abc", "ab")])
    assert (found.result.cases, found.result.failures) == (2, 1)
    assert found.examples == ["'abc' (0.30) → 'abcdef' (0.60)"]


@pytest.mark.parametrize(
    ("towards", "by", "failures"),
    [("escalate", 0, 0), ("escalate", 0.4, 1), ("routine", 0, 1), ("routine", -0.1, 1), ("routine", -0.4, 0)],
)
def test_directional_fails_where_the_score_does_not_move_so_far(towards, by, failures, tiny_splits):
    found = outcome(tiny_splits, by_length, kind="directional", towards=towards, by=by, pairs=[("abc", "abcdef")])
    assert found.result.failures == failures


def test_minimum_functionality_fails_where_the_label_is_another(tiny_splits):
    found = outcome(tiny_splits, by_length, kind="minimum_functionality", label="escalate", texts=["abc", "abcdef"])
    assert (found.result.failures, found.examples) == (1, ["'abc' (0.30)"])


def test_an_unchanged_text_is_not_a_case(tiny_splits):
    found = outcome(tiny_splits, by_length, kind="invariance", pairs=[("a", "a")])
    assert found.result.cases == 0
    assert "no applicable text" in behaviours_section([found.result])
    assert behaviour_table([found])["failure_rate"].isna().all()


def test_a_rare_label_is_half_of_the_texts(tiny_splits):
    by_label = dict(list(tiny_splits.test.groupby("label")))
    rare = pd.concat([by_label["escalate"].head(5), by_label["routine"]])
    splits = dataclasses.replace(tiny_splits, test=rare)
    assert outcome(splits, by_length, kind="invariance", pairs=[("{text}", "{text:capitals}")]).result.cases == 10


def test_a_change_finds_the_few_texts_that_it_changes(tiny_splits):
    texts = ["no name"] * 500 + ["for Maria", "for Emma"]
    frame = pd.DataFrame({"text": texts, "label": "routine"})
    splits = dataclasses.replace(tiny_splits, test=pd.concat([frame, frame.assign(label="escalate", text="b")]))
    suite = load_suite(TrainingConfig(data="d"), LABELS)
    (found,) = [one for one in run_suite(suite, splits, by_length, seed=0) if "another name" in one.result.name]
    assert found.result.cases == 2


def test_the_seed_decides_the_cases(tiny_fine_tuned, tiny_splits):
    tables = [behaviour_table(behaviours_of(tiny_fine_tuned, tiny_splits)) for _ in range(2)]
    assert tables[0].equals(tables[1])
    assert set(tables[0].index) == BUILT_IN


def test_manifest_and_card_report_the_served_model(tiny_artifact):
    results = tiny_artifact.manifest.behaviours
    assert {one.name for one in results} == BUILT_IN
    assert behaviours_section(results) in (tiny_artifact.folder / "model_card.md").read_text()
    assert next(one for one in results if one.name == "more spaces").failures == 0
