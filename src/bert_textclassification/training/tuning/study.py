"""Search for the settings of the most accurate and fastest int8 model, with Optuna.

    bert-textclassification search --name mine --data mine.csv --trials 20 positive_label=spam

Each trial fine-tunes with settings of the search space and has two objectives, both of its int8 model: the selection
metric on validation (`selection_metric.py`) and the milliseconds per text. The test split is never used. The study is
`runs/<name>/search/study.db`. The same command resumes an interrupted search, and extends a finished one if --trials is
larger. The last line of stdout is the best trial as one JSON object.
"""

import contextlib
import fcntl
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.training.automatic_choices import decisions
from bert_textclassification.training.command_line_settings import parse_settings
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits, fingerprint
from bert_textclassification.training.data_quality.max_length import positions, with_max_length
from bert_textclassification.training.evaluation.selection_metric import with_chosen_metric
from bert_textclassification.training.export.timing import machine
from bert_textclassification.training.fine_tuning.trainer import class_weights
from bert_textclassification.training.modeling.base_models import find_base_model
from bert_textclassification.training.modeling.classifier import layers_of_exits
from bert_textclassification.training.prepare import load_splits
from bert_textclassification.training.runs import RunFolder
from bert_textclassification.training.tuning.latency import Stopwatch
from bert_textclassification.training.tuning.objective import REJECTED, Objective, higher_is_better
from bert_textclassification.training.tuning.report import training_command, write_best, write_report
from bert_textclassification.training.tuning.space import SearchSpace, read_space

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_MADE_FROM = "made from"  # attribute of the study
_AGAIN = "again"  # attribute of a trial: the number of the trial that it repeats


def search(config: TrainingConfig, splits: Splits, space: SearchSpace, trials: int, folder: Path) -> optuna.Study:
    """Resume the study in `folder`, or start it, until `trials` trials are finished; return it.

    The first trial has the settings of `config` that lie in the space.

    Raises:
        ConfigurationError: the study has other data, settings or space, or another process is running it.
    """
    config = with_max_length(with_chosen_metric(config, splits), splits)
    _reject_class_weights_without_effect(config, splits, space)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        study = open_study(config, splits, space, folder)
        requeue_unfinished(study)
        if not study.trials:
            usual = config.model_dump(include=set(space.names()))
            study.enqueue_trial({name: value for name, value in usual.items() if space.holds(name, value)})
        left = trials - len(study.get_trials(deepcopy=False, states=FINISHED))
        objective = Objective(config, splits, space, Stopwatch(config, splits, study))
        study.optimize(objective, n_trials=max(0, left), callbacks=[_print_trial])
    return study


def open_study(config: TrainingConfig, splits: Splits, space: SearchSpace, folder: Path) -> optuna.Study:
    """Return the study in `folder`; create it if there is none.

    Raises:
        ConfigurationError: it was made from other data, settings or space, or on another processor.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}",
        study_name="search",
        directions=["maximize" if higher_is_better(config) else "minimize", "minimize"],
        load_if_exists=True,
    )
    # With the same seed, a resumed sampler would suggest the first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    made_from = _made_from(config, splits, space)
    before = study.user_attrs.get(_MADE_FROM, made_from)
    if changed := [name for name, value in made_from.items() if before[name] != value]:
        raise ConfigurationError(
            f"The search in {folder} was made with another {' and another '.join(changed)}, so its trials cannot be "
            "compared with new ones; choose another name, or delete the folder."
        )
    study.set_user_attr(_MADE_FROM, made_from)
    return study


def requeue_unfinished(study: optuna.Study) -> None:
    """Enqueue the failed trials and the killed ones, which still count as running, again.

    Trials whose settings were rejected are not repeated: they would be rejected again, and no other would ever run.
    """
    again = {trial.user_attrs.get(_AGAIN) for trial in study.trials}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.FAIL)):
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        if trial.number not in again and REJECTED not in trial.user_attrs:
            study.enqueue_trial(trial.params, user_attrs={_AGAIN: trial.number})


def _reject_class_weights_without_effect(config: TrainingConfig, splits: Splits, space: SearchSpace) -> None:
    automatic = config.model_copy(update={"class_weights": "auto"})
    if "class_weights" in space.names() and class_weights(splits, automatic) is None:
        raise ConfigurationError(
            "The search space has class_weights, which change nothing here: train is so balanced that it has none; "
            "take them out."
        )


def _made_from(config: TrainingConfig, splits: Splits, space: SearchSpace) -> dict[str, Any]:
    rows = "".join(fingerprint(frame) for name, frame in splits.items() if name != "test")
    return {
        "data set": hashlib.sha256(rows.encode()).hexdigest(),
        "set of settings": config.model_dump(mode="json", exclude={"data"}),
        "search space": space.model_dump(mode="json"),
        "processor": machine()["processor"],
    }


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the study against other processes; the lock is released when the process ends."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"Another process is searching in {folder}; wait until it has finished, or choose another name."
            ) from None
        yield


def _print_trial(study: optuna.Study, trial: FrozenTrial) -> None:
    """Print a line about a completed or pruned trial."""
    settings = " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in trial.params.items()
    )
    outcome = "pruned" if trial.values is None else "score {:.4f}, {:.2f} ms per text".format(*trial.values)
    print(f"trial {trial.number}: {outcome}; {settings}", file=sys.stderr, flush=True)


def settings_of(data: str, given: dict[str, Any], space: SearchSpace) -> TrainingConfig:
    """Return the base settings; `num_layers` defaults to the number of layers of the base model.

    Raises:
        ConfigurationError: a setting is invalid or also searched, the space has more layers than the base model or
            fewer than `exit_layers` need, or it has a `max_length` that the base model cannot read.
    """
    if both := sorted(set(given) & set(space.names())):
        raise ConfigurationError(
            f"{', '.join(both)} is both given and in the search space; remove it from one of the two."
        )
    config = TrainingConfig.of({"data": data} | given)
    base = find_base_model(config.base_model)
    base_layers, longest = base.layers(), positions(base.config())
    for layers in map(int, space.values("num_layers", config.num_layers)):
        if layers > base_layers:
            raise ConfigurationError(
                f"The search space has num_layers {layers}, but {config.base_model} has only {base_layers}."
            )
        for exits in space.values("exit_layers", config.exit_layers):
            layers_of_exits(str(exits), layers or base_layers)
    if (most := max(map(int, space.values("max_length", 0)))) > longest:
        raise ConfigurationError(
            f"The search space has max_length {most}, but {config.base_model} reads only {longest} tokens."
        )
    return config.model_copy(update={"num_layers": config.num_layers or base_layers})


def run_search(name: str, data: str, trials: int, space_file: Path, settings: Sequence[str]) -> None:
    """Search, then print the trials, the command that trains with the best settings, and the best trial as JSON.

    Args:
        name: of the run; the study is in runs/NAME/search.
        data: file, folder or hub name of labelled texts.
        trials: total number of trials, including those of earlier calls.
        space_file: YAML file of the search space.
        settings: `name=value` pairs of the training settings that are not searched.

    Raises:
        UserError: the data, the space or a setting cannot be used.
    """
    space, given = read_space(space_file), parse_settings(list(settings))
    config = settings_of(data, given, space)
    splits = load_splits(config)
    print(*decisions(config, splits), sep="\n", file=sys.stderr)
    config = with_chosen_metric(config, splits)
    folder = RunFolder(Path("runs") / name).search
    study = search(config, splits, space, trials, folder)
    print(write_report(study, config, folder).to_string(index=False, float_format="{:.4g}".format))
    best = write_best(study, config, given, folder)
    print(f"The trials, the figures and best.json are in {folder}. To train with the best settings:")
    print(training_command(name, data, best["settings"]))
    print(json.dumps(best))
