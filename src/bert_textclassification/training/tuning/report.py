"""Report a search: a table of its trials, three figures, and the settings of the best trial."""

import json
import shlex
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.tuning.objective import CURVE, MILLISECONDS, higher_is_better
from bert_textclassification.training.tuning.plots import plot_importances, plot_pareto_front, plot_search_history

OBJECTIVES = ("score", MILLISECONDS)


def best_trial(study: optuna.Study, config: TrainingConfig) -> FrozenTrial:
    """Return the fastest trial whose score is within `max_accuracy_loss` points of the best score.

    If the metric is the loss, which has no points, return the trial with the best score.
    """
    sign = 1 if higher_is_better(config) else -1
    allowed = config.max_accuracy_loss / 100 if higher_is_better(config) else 0
    most = max(sign * trial.values[0] for trial in study.best_trials)
    near = [trial for trial in study.best_trials if sign * trial.values[0] >= most - allowed]
    return min(near, key=lambda trial: (trial.values[1], -sign * trial.values[0]))


def trials_table(study: optuna.Study, config: TrainingConfig) -> pd.DataFrame:
    """Return the trials, most accurate first: score, int8 milliseconds per text, settings, state, seconds.

    The state is `best`, `front` (on the Pareto front), `finished` or `stopped` (pruned). The score of a pruned trial is
    its best so far, in the precision of the training.
    """
    best = best_trial(study, config).number
    front = {trial.number for trial in study.best_trials}
    rows = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        state = "best" if trial.number == best else "front" if trial.number in front else "finished"
        score, milliseconds = trial.values or _so_far(trial, config)
        rows.append(
            {"trial": trial.number, "state": state if trial.values else "stopped", "score": score}
            | {"milliseconds": milliseconds, **trial.params}
            | {"seconds": trial.duration.total_seconds() if trial.duration else None}
        )
    return pd.DataFrame(rows).sort_values("score", ascending=not higher_is_better(config), ignore_index=True)


def importances(study: optuna.Study) -> pd.DataFrame:
    """Return the share of each objective's variance that each setting explains (fANOVA, Hutter et al. 2014).

    Settings are rows and objectives columns. An objective without variance has no column.
    """
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    columns = {}
    for number, name in enumerate(OBJECTIVES):
        if len({trial.values[number] for trial in finished}) > 1:
            evaluator = FanovaImportanceEvaluator(seed=0)
            columns[name] = get_param_importances(
                study, evaluator=evaluator, target=lambda trial, number=number: trial.values[number]
            )
    return pd.DataFrame(columns)


def write_report(study: optuna.Study, config: TrainingConfig, folder: Path) -> pd.DataFrame:
    """Write trials.csv and the figures to `folder`; return the table of the trials."""
    table, metric = trials_table(study, config), config.selection_metric
    table.to_csv(folder / "trials.csv", index=False)
    figures = {
        "history": plot_search_history(table, metric, higher_is_better(config)),
        "front": plot_pareto_front(table, metric),
    }
    if len(table_of_importances := importances(study)):
        figures["importances"] = plot_importances(table_of_importances.rename(columns={"score": metric}))
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
    return table


def write_best(study: optuna.Study, config: TrainingConfig, given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write best.json to `folder` and return its content.

    Args:
        study: the search.
        config: the base settings.
        given: the base settings that the user gave, without the data.
        folder: of the search.
    """
    trial = best_trial(study, config)
    best = {
        "trial": trial.number,
        "metric": config.selection_metric,
        "score": trial.values[0],
        "milliseconds": trial.values[1],
        "settings": given | trial.params,
    }
    (folder / "best.json").write_text(json.dumps(best, indent=2) + "\n", encoding="utf-8")
    return best


def training_command(name: str, data: str, settings: dict[str, Any]) -> str:
    """Return the command that trains with `settings`."""
    pairs = shlex.join(f"{setting}={value}" for setting, value in settings.items())
    return f'make notebooks NAME={shlex.quote(name)} DATA={shlex.quote(data)} SETTINGS="{pairs}"'


def _so_far(trial: FrozenTrial, config: TrainingConfig) -> tuple[float, float]:
    scores = [score for _, score in trial.user_attrs[CURVE]]
    best = max(scores) if higher_is_better(config) else min(scores)
    return best, trial.user_attrs[MILLISECONDS]
