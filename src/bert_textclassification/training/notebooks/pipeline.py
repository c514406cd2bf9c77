"""Run the four notebooks in order on one data set: explore, fine-tune, quantize and benchmark, deploy.

    bert-textclassification notebooks --name demo
    bert-textclassification notebooks --name mine --data mine.csv positive_label=spam epochs=3
    bert-textclassification notebooks --name mine --data mine.csv --first 3

Settings are `name=value`: parameters of the notebooks, or fields of TrainingConfig. What the notebooks make is left in
`runs/<name>/`. Progress and a summary go to stderr and stdout; the last line of stdout is one JSON object. A run that
stopped, by a mistake or by Ctrl-C, ends with the command that goes on.
"""

import difflib
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import papermill
from pydantic import ValidationError

from bert_textclassification.errors import ConfigurationError, UserError
from bert_textclassification.training.command_line import OPTIONS, parse_settings
from bert_textclassification.training.config import DEFAULT_BASE_MODEL, TrainingConfig
from bert_textclassification.training.data.files import require_found
from bert_textclassification.training.modeling.record import config_of, read_record
from bert_textclassification.training.notebooks.run import execute
from bert_textclassification.training.runs import RunFolder
from bert_textclassification.training.settings import command
from bert_textclassification.training.settings.notebook_parameters import NotebookParameters
from bert_textclassification.training.settings.paths import REPOSITORY, SERVE, absolute_paths
from bert_textclassification.training.settings.prices import DEFAULT_PRICES, read_prices
from bert_textclassification.training.settings.wrong_values import one_sentence
from bert_textclassification.training.summary import summary_line, summary_table, warning_lines

STAGES = {  # of results.json, by the notebook that records them
    "01_exploration": "exploration",
    "02_fine_tuning": "fine_tuning",
    "03_quantization_benchmark": "quantization_benchmark",
    "04_deployment": "deployment",
}
NOTEBOOKS = tuple(STAGES)
_SOURCES = REPOSITORY / "notebooks"
_DEFAULTS = {
    "base_model": DEFAULT_BASE_MODEL,
    "serve_with": str(SERVE),
    "prices": str(DEFAULT_PRICES),
}
SHIPPED_DATA = REPOSITORY / "local_test" / "test_dir" / "input" / "data"


def run_notebooks(
    name: str, data: str | None, settings: Sequence[str], first: int = 1, last: int = len(NOTEBOOKS)
) -> None:
    """Run the notebooks from `first` to `last`, numbered from 1, and print the summary.

    Args:
        name: of the run; its folder is runs/NAME.
        data: file, folder or hub name of labelled texts; None for those of the fine-tuned model where notebook 02 is
            not run, else for the shipped messages.
        settings: `name=value` pairs: parameters of the notebooks, or fields of TrainingConfig.
        first: number of the first notebook.
        last: number of the last notebook.

    Raises:
        UserError: a setting cannot be used, or a notebook failed; the message ends with the command that goes on.
        KeyboardInterrupt: with that command.
    """
    if not _SOURCES.is_dir():
        raise UserError(f"There is no folder {_SOURCES}; run this where the repository has been cloned.")
    if first > last:
        raise ConfigurationError(f"--first {first} comes after --last {last}; nothing would run.")
    given = parse_settings(list(settings))
    trained = _trained_config(name) if first > 2 else None
    data = data or (trained.data if trained else command.shown(SHIPPED_DATA))
    values = notebook_values(data, given)
    require_found(values["data"])
    if trained is not None:
        _refuse_changes(trained, {setting: values[setting] for setting in (*given, "data")})
    run = RunFolder(Path("runs") / name)
    for number in range(first, last + 1):
        then = f"go on with:\n{_command_to_go_on(name, data, settings, number, last)}"
        try:
            run_notebook(number, values, run)
        except UserError as problem:
            raise UserError(f"{problem} Mend the cause, then {then}") from problem
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{NOTEBOOKS[number - 1]} was interrupted; {then}") from None
    results = run.results()
    shown = {stage: results[stage] for stage in tuple(STAGES.values())[:last] if stage in results}
    print(summary_table(shown))
    print(*warning_lines(shown), sep="\n", end="\n" * bool(warning_lines(shown)), file=sys.stderr)
    print(json.dumps(summary_line(shown, run.model)))


def _trained_config(name: str) -> TrainingConfig | None:
    """Return the settings of the model that an earlier run has fine-tuned; None where there is none."""
    folder = Path("runs") / name / "fine_tuned"
    return config_of(read_record(folder)) if folder.is_dir() else None


def _refuse_changes(trained: TrainingConfig, given: dict[str, Any]) -> None:
    """Refuse settings of training that would change nothing, because notebook 02 is not run again.

    Raises:
        ConfigurationError: one differs from that of the fine-tuned model.
    """
    asked = TrainingConfig.of(
        {"data": trained.data} | {n: v for n, v in given.items() if n in TrainingConfig.model_fields}
    )
    for setting in given:
        before, now = getattr(trained, setting, None), getattr(asked, setting, None)
        is_automatic = now in (0, "auto")  # the fine-tuned model has what was found
        if before != now and not is_automatic:
            raise ConfigurationError(
                f"{setting} is {now!r}, but the fine-tuned model has {before!r}; notebook 02 applies it: use --first 2."
            )


def _command_to_go_on(name: str, data: str, settings: Sequence[str], number: int, last: int) -> str:
    until = [] if last == len(NOTEBOOKS) else ["--last", str(last)]
    steps = ["--first", str(number), *until]
    return command.command_line(["notebooks", "--name", name, "--data", data, *steps, *settings])


def run_notebook(number: int, values: dict[str, Any], run: RunFolder) -> None:
    """Execute the notebook of this number, from 1 on, with those of the values that it takes.

    Raises:
        UserError: it failed; the annotated copy is in the run's folder.
    """
    name = NOTEBOOKS[number - 1]
    print(f"== {number} of {len(NOTEBOOKS)}: {name}", file=sys.stderr, flush=True)
    source = _SOURCES / f"{name}.ipynb"
    declared = set(papermill.inspect_notebook(str(source)))  # papermill itself only warns of a misspelt one
    copy = run.root / source.name
    try:
        execute(source, copy, _parameters(declared, values | {"run_dir": str(run.root)}))
    except UserError as problem:
        raise UserError(f"{problem} The annotated copy is {command.shown(copy)}.") from problem


def notebook_values(data: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what the notebooks get, by name: paths absolute, defaults that lie in the repository filled in.

    Raises:
        ConfigurationError: a setting is unknown, out of bounds, or names a file that cannot be used.
    """
    _refuse_unknown(settings)
    values = absolute_paths(_DEFAULTS | settings | {"data": data})
    TrainingConfig.of({name: values[name] for name in values if name in TrainingConfig.model_fields})
    own = {name: value for name, value in values.items() if name in NotebookParameters.model_fields}
    try:
        parameters = NotebookParameters.model_validate(own).model_dump(include=set(own))
    except ValidationError as problem:
        raise ConfigurationError(one_sentence(problem, NotebookParameters)) from None
    read_prices(parameters["prices"])
    _refuse_missing_server(parameters["serve_with"])
    return values | parameters


def _refuse_unknown(settings: Iterable[str]) -> None:
    known = {*NotebookParameters.model_fields, *TrainingConfig.model_fields} - OPTIONS.keys()
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigurationError(
                f"There is no setting {name!r}{f', did you mean {near[0]!r}' if near else ''}? Known ones: "
                f"{', '.join(sorted(known))}."
            )


def _refuse_missing_server(serve_with: str) -> None:
    if not Path(serve_with).is_file() and shutil.which("docker") is None:
        raise ConfigurationError(
            f"serve_with={serve_with!r} is no file here, and there is no docker command to run it as an image; "
            "correct the path, or install Docker."
        )


def _parameters(declared: set[str], values: dict[str, Any]) -> dict[str, Any]:
    """Return the values a notebook declares; the rest of TrainingConfig goes into its `settings`."""
    own = {name: value for name, value in values.items() if name in declared}
    rest = {
        name: value
        for name, value in values.items()
        if name not in declared and name in TrainingConfig.model_fields and name != "data"
    }
    return own | ({"settings": rest} if "settings" in declared else {})
