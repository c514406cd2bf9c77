"""The search: its two objectives, pruning, resuming, and the files it writes."""

import fcntl
import json
import shlex

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from bert_textclassification import cli
from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.data_quality.max_length import with_max_length
from bert_textclassification.training.tuning import study as command
from bert_textclassification.training.tuning.objective import CURVE, REJECTED, score, should_prune
from bert_textclassification.training.tuning.report import best_trial, importances, training_command, trials_table
from bert_textclassification.training.tuning.space import SearchSpace
from bert_textclassification.training.tuning.study import FINISHED, search, settings_of

pytestmark = pytest.mark.slow

SPACE = SearchSpace.model_validate(
    {
        "continuous": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
        "integer": {"num_layers": {"low": 1, "high": 2}},
        "categorical": {"max_length": [8, 64]},
    }
)


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config.model_copy(update={"epochs": 2, "num_layers": 2})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def study(config, tiny_splits, folder):
    return search(config, tiny_splits, SPACE, 3, folder)


def finished(values, directions=("maximize", "minimize")):
    """Return a study of finished trials with these scores and milliseconds."""
    study = optuna.create_study(directions=directions)
    for pair in values:
        study.add_trial(optuna.create_trial(values=pair))
    return study


def test_a_search_runs_as_many_trials_as_asked_and_none_when_asked_again(study, config, tiny_splits, folder):
    assert len(study.get_trials(states=FINISHED)) == 3
    assert len(search(config, tiny_splits, SPACE, 3, folder).trials) == 3
    assert len(search(config, tiny_splits, SPACE, 4, folder).get_trials(states=FINISHED)) == 4


def test_the_first_trial_has_the_base_settings(study, config):
    assert study.trials[0].params == {"learning_rate": config.learning_rate, "num_layers": 2, "max_length": 64}


def test_trials_of_one_shape_are_equally_fast(study):
    found = {(trial.params["num_layers"], trial.params["max_length"]): set() for trial in study.trials}
    for trial in study.trials:
        found[(trial.params["num_layers"], trial.params["max_length"])].add(trial.user_attrs["milliseconds"])
    assert all(len(milliseconds) == 1 for milliseconds in found.values())


def test_every_trial_writes_its_learning_curve(study):
    for trial in study.trials:
        shares = [share for share, _ in trial.user_attrs[CURVE]]
        assert shares == ([0.5, 1.0] if trial.state is TrialState.COMPLETE else [0.5])


@pytest.mark.parametrize(
    ("curve", "pruned"),
    [
        ([(0.5, 0.79)], True),
        ([(0.49, 0.79)], True),  # evaluations are at whole steps
        ([(0.5, 0.8)], False),
        ([(0.25, 0.85), (0.5, 0.7)], False),  # its best checkpoint, which is kept, is good
        ([(0.2, 0.1)], False),  # too early: no rival has been evaluated
    ],
)
def test_a_trial_below_the_median_of_its_rivals_is_pruned(curve, pruned):
    rivals = [[(0.25, 0.7), (1.0, 0.99)], [(0.5, 0.8)], [(0.25, 0.9), (0.5, 0.6)]]
    assert should_prune(curve, rivals, higher_is_better=True) == pruned
    assert not should_prune(curve, rivals[:2], higher_is_better=True)


def test_with_the_loss_lower_is_better():
    rivals = [[(0.5, loss)] for loss in (0.1, 0.2, 0.3)]
    assert should_prune([(0.5, 0.21)], rivals, higher_is_better=False)
    assert not should_prune([(0.5, 0.19)], rivals, higher_is_better=False)


def test_a_pruned_trial_stops_before_its_end(config, tiny_splits, tmp_path):
    study = search(config, tiny_splits, SPACE, 0, tmp_path)
    for _ in range(3):  # as fast, and better than any model can be
        study.add_trial(optuna.create_trial(values=(1.1, 0.0), user_attrs={CURVE: [(0.5, 1.1), (1.0, 1.1)]}))
    study = search(config, tiny_splits, SPACE, 4, tmp_path)
    stopped = study.trials[0]
    assert stopped.state is TrialState.PRUNED
    assert [share for share, _ in stopped.user_attrs[CURVE]] == [0.5]
    table = trials_table(study, config)
    assert table["state"].iloc[[0, -1]].tolist() == ["best", "stopped"]
    assert table["milliseconds"].iloc[-1] == stopped.user_attrs["milliseconds"] > 0


def test_the_loss_of_int8_is_the_cross_entropy(config):
    logits = np.array([[0.0, 0.0], [0.0, np.log(3)]], dtype=np.float32)
    by_loss = config.model_copy(update={"selection_metric": "loss"})
    assert score(by_loss, [0, 1], logits) == pytest.approx((np.log(2) + np.log(4 / 3)) / 2)
    by_accuracy = config.model_copy(update={"selection_metric": "accuracy"})
    assert score(by_accuracy, [1, 0], logits) == 0.5


def test_best_is_the_fastest_within_the_allowed_loss(config):
    study = finished([(0.95, 2.0), (0.948, 1.0), (0.90, 0.5)])
    assert best_trial(study, config.model_copy(update={"max_accuracy_loss": 0.5})).number == 1
    assert best_trial(study, config.model_copy(update={"max_accuracy_loss": 0})).number == 0
    by_loss = config.model_copy(update={"selection_metric": "loss"})
    assert best_trial(finished([(0.2, 2.0), (0.21, 1.0)], ("minimize", "minimize")), by_loss).number == 0


def test_importances_leave_out_an_objective_without_variance():
    study = optuna.create_study(directions=["maximize", "minimize"])
    for rate in (0.1, 0.2, 0.3, 0.4):
        trial = study.ask()
        trial.suggest_float("learning_rate", rate, rate + 0.01)
        study.tell(trial, (rate, 1.0))
    assert importances(study).columns.tolist() == ["score"]


def test_a_trial_of_a_killed_process_is_repeated(config, tiny_splits, tmp_path):
    study = search(config, tiny_splits, SPACE, 1, tmp_path)
    left = study.ask()
    params = SPACE.suggest(left)
    study = search(config, tiny_splits, SPACE, 2, tmp_path)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert study.trials[2].params == params


def test_a_trial_that_was_interrupted_is_repeated(config, tiny_splits, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("bert_textclassification.training.tuning.objective.int8_score", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(config, tiny_splits, SPACE, 1, tmp_path)
    study = search(config, tiny_splits, SPACE, 1, tmp_path)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert study.trials[1].params == study.trials[0].params


def test_trials_that_cannot_be_compared_are_rejected(study, config, tiny_splits, folder):
    narrower = SPACE.model_copy(update={"integer": {}})
    with pytest.raises(ConfigurationError, match="made with another search space, so"):
        search(config, tiny_splits, narrower, 9, folder)
    with pytest.raises(ConfigurationError, match="another set of settings"):
        search(config.model_copy(update={"dropout": 0.2}), tiny_splits, SPACE, 9, folder)


def test_a_second_process_is_rejected(config, tiny_splits, tmp_path):
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="Another process is searching in"):
            search(config, tiny_splits, SPACE, 1, tmp_path)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"num_layers": 1}, "layers is both given and in the search space"),
        ({"exit_layers": "1"}, "exit_layers '1' must be layers in ascending order, before the last of the 1"),
        ({"epoch": 1}, "did you mean 'epochs'"),
    ],
)
def test_settings_that_contradict_the_space_are_rejected_at_once(tiny_base, given, says):
    with pytest.raises(ConfigurationError, match=says):
        settings_of("", {"base_model": str(tiny_base)} | given, SPACE)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"integer": {"max_length": {"low": 8, "high": 4096}}}, r"has max_length 4096, but .* reads only \d+ tokens"),
        (
            {"categorical": {"exit_layers": ["1", "none"]}, "integer": {"num_layers": {"low": 1, "high": 2}}},
            "exit_layers '1' must be layers in ascending order",
        ),
    ],
)
def test_a_space_with_settings_that_no_trial_can_have_is_rejected_at_once(tiny_base, space, says):
    with pytest.raises(ConfigurationError, match=says):
        settings_of("", {"base_model": str(tiny_base)}, SearchSpace.model_validate(space))


def test_a_trial_whose_settings_were_rejected_is_not_queued_again():
    study = optuna.create_study(directions=("maximize", "minimize"))
    for attributes in ({REJECTED: "max_length is too long"}, {}):
        study.add_trial(optuna.create_trial(state=TrialState.FAIL, user_attrs=attributes))
    command.requeue_unfinished(study)
    assert [trial.user_attrs for trial in study.get_trials(states=(TrialState.WAITING,))] == [{"again": 1}]


def test_a_rejection_is_recorded_in_the_trial(config, tiny_splits, tmp_path):
    space = SearchSpace.model_validate({"integer": {"num_layers": {"low": 3, "high": 4}}})
    for _ in range(2):  # the second start does not repeat the trial of the first
        with pytest.raises(ConfigurationError, match="num_layers"):
            search(config, tiny_splits, space, 1, tmp_path)
    trials = command.open_study(
        with_max_length(command.with_chosen_metric(config, tiny_splits), tiny_splits), tiny_splits, space, tmp_path
    ).trials
    assert [REJECTED in trial.user_attrs for trial in trials] == [True, True]
    assert not any("again" in trial.user_attrs for trial in trials)


def test_class_weights_are_not_searched_where_there_are_none(config, tiny_splits, tmp_path):
    space = SearchSpace.model_validate({"categorical": {"class_weights": ["auto", "none"]}})
    with pytest.raises(ConfigurationError, match="class_weights, which change nothing here"):
        search(config, tiny_splits, space, 1, tmp_path)


def test_an_interruption_prints_the_command_that_resumes(tiny_base, tiny_data, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bert_textclassification.training.tuning.study.load_splits", interrupted)
    (tmp_path / "space.yaml").write_text("integer: {num_layers: {low: 1, high: 2}}")
    data = ["--data", str(tiny_data), "--space", "space.yaml"]
    asked = ["--name", "x", *data, f"base_model={tiny_base}", "positive_label=very bad"]
    assert cli.main(["search", *asked]) == 130
    shown = capsys.readouterr()
    assert "The search was interrupted; resume with:" in shown.err
    where = ["--data", str(tiny_data), "--trials", "20", "--space", "space.yaml"]
    again = ["search", "--name", "x", *where, f"base_model={tiny_base}", "positive_label=very bad"]
    assert shlex.split(shown.err.splitlines()[-1])[1:] == again
    assert not shown.out


def test_more_layers_than_the_base_model_has_are_rejected_at_once(tiny_base):
    space = SearchSpace.model_validate({"integer": {"num_layers": {"low": 1, "high": 3}}})
    with pytest.raises(ConfigurationError, match=r"has num_layers 3, but .* has only 2"):
        settings_of("", {"base_model": str(tiny_base)}, space)


def test_the_command_writes_table_pictures_and_best_settings(tiny_base, tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text("integer: {num_layers: {low: 1, high: 2}, epochs: {low: 1, high: 2}}")
    settings = [f"base_model={tiny_base}", "precision=fp32"]
    asked = ["--name", "x", "--data", str(tiny_data), "--trials", "3", "--space", "space.yaml", *settings]
    assert cli.main(["search", *asked]) == 0
    lines = capsys.readouterr().out.splitlines()
    best = json.loads((tmp_path / "runs/x/search/best.json").read_text())
    assert json.loads(lines[-1]) == best
    assert lines[-2] == training_command("x", str(tiny_data), best["settings"])
    assert best["settings"].keys() == {"base_model", "precision", "num_layers", "epochs"}
    written = {path.name for path in (tmp_path / "runs/x/search").iterdir()}
    assert {"study.db", "trials.csv", "history.png", "front.png", "best.json"} <= written


def test_the_command_that_trains_can_be_pasted():
    printed = training_command("mine", "my data.csv", {"num_layers": 3, "positive_label": "very bad"})
    assert (
        printed == """make notebooks NAME=mine DATA='my data.csv' SETTINGS="num_layers=3 'positive_label=very bad'\""""
    )
