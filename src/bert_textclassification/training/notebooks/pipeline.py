"""Run the four notebooks in order on one data set: explore, fine-tune, quantize and benchmark, deploy.

    bert-textclassification notebooks --name demo
    bert-textclassification notebooks --name mine --data mine.csv positive_label=spam epochs=3
    bert-textclassification notebooks --name mine --data mine.csv --first 3

Settings are `name=value`: parameters of the notebooks or fields of TrainingConfig. The output folder is `runs/<name>/`.
Progress goes to stderr and a summary to stdout, with one JSON object as the last line. After an error or Ctrl-C, the
run prints the command that resumes it.
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
from bert_textclassification.training.command_line_settings import OPTIONS, parse_settings
from bert_textclassification.training.config import DEFAULT_BASE_MODEL, TrainingConfig
from bert_textclassification.training.data.files import require_found
from bert_textclassification.training.display import command_text
from bert_textclassification.training.modeling.record import config_of, read_record
from bert_textclassification.training.notebooks.run import execute
from bert_textclassification.training.runs import RunFolder
from bert_textclassification.training.settings.notebook_parameters import NotebookParameters
from bert_textclassification.training.settings.paths import REPOSITORY, SERVE, absolute_paths
from bert_textclassification.training.settings.prices import DEFAULT_PRICES, read_prices
from bert_textclassification.training.settings.wrong_values import one_sentence
from bert_textclassification.training.summary import summary_line, summary_table, warning_lines

STAGES = {  # section of results.json, by notebook
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
        data: file, folder or hub name of labelled texts. With None and `first` above 2, the data of the fine-tuned
            model; with None otherwise, the messages in the repository.
        settings: `name=value` pairs: parameters of the notebooks, or fields of TrainingConfig.
        first: number of the first notebook.
        last: number of the last notebook.

    Raises:
        UserError: a setting cannot be used, or a notebook failed; the message ends with the command that resumes.
        KeyboardInterrupt: the run was interrupted; the message has that command.
    """
    if not _SOURCES.is_dir():
        raise UserError(f"There is no folder {_SOURCES}; run this in a clone of the repository.")
    if first > last:
        raise ConfigurationError(f"--first {first} comes after --last {last}; nothing would run.")
    given = parse_settings(list(settings))
    trained = _trained_config(name) if first > 2 else None
    data = data or (trained.data if trained else command_text.shown(SHIPPED_DATA))
    values = notebook_values(data, given)
    require_found(values["data"])
    if trained is not None:
        _reject_changes(trained, {setting: values[setting] for setting in (*given, "data")})
    run = RunFolder(Path("runs") / name)
    for number in range(first, last + 1):
        resume = f"resume with:\n{_resume_command(name, data, settings, number, last)}"
        try:
            run_notebook(number, values, run)
        except UserError as problem:
            raise UserError(f"{problem} Fix the cause, then {resume}") from problem
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{NOTEBOOKS[number - 1]} was interrupted; {resume}") from None
    results = run.results()
    shown = {stage: results[stage] for stage in tuple(STAGES.values())[:last] if stage in results}
    print(summary_table(shown))
    print(*warning_lines(shown), sep="\n", end="\n" * bool(warning_lines(shown)), file=sys.stderr)
    print(json.dumps(summary_line(shown, run.model)))


def _trained_config(name: str) -> TrainingConfig | None:
    """Return the settings of the run's fine-tuned model; None if there is none."""
    folder = Path("runs") / name / "fine_tuned"
    return config_of(read_record(folder)) if folder.is_dir() else None


def _reject_changes(trained: TrainingConfig, given: dict[str, Any]) -> None:
    """Reject training settings that would have no effect because notebook 02 does not run.

    Raises:
        ConfigurationError: a setting differs from that of the fine-tuned model.
    """
    requested = TrainingConfig.of(
        {"data": trained.data} | {n: v for n, v in given.items() if n in TrainingConfig.model_fields}
    )
    for setting in given:
        before, now = getattr(trained, setting, None), getattr(requested, setting, None)
        is_automatic = now in (0, "auto")  # the fine-tuned model has the chosen value
        if before != now and not is_automatic:
            raise ConfigurationError(
                f"{setting} is {now!r}, but the fine-tuned model has {before!r}; use --first 2 to fine-tune again."
            )


def _resume_command(name: str, data: str, settings: Sequence[str], number: int, last: int) -> str:
    until = [] if last == len(NOTEBOOKS) else ["--last", str(last)]
    steps = ["--first", str(number), *until]
    return command_text.command_line(["notebooks", "--name", name, "--data", data, *steps, *settings])


def run_notebook(number: int, values: dict[str, Any], run: RunFolder) -> None:
    """Execute the notebook `number`, counted from 1, with the values that it declares as parameters.

    Raises:
        UserError: a cell failed; the executed copy in the run's folder shows where.
    """
    name = NOTEBOOKS[number - 1]
    print(f"== {number} of {len(NOTEBOOKS)}: {name}", file=sys.stderr, flush=True)
    source = _SOURCES / f"{name}.ipynb"
    declared = set(papermill.inspect_notebook(str(source)))  # papermill only warns about unknown ones
    copy = run.root / source.name
    try:
        execute(source, copy, _parameters(declared, values | {"run_dir": str(run.root)}))
    except UserError as problem:
        raise UserError(f"{problem} The executed copy is {command_text.shown(copy)}.") from problem


def notebook_values(data: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of the notebooks by name, with absolute paths and the repository's defaults.

    Raises:
        ConfigurationError: a setting is unknown, out of bounds, or names a file that cannot be used.
    """
    _reject_unknown(settings)
    values = absolute_paths(_DEFAULTS | settings | {"data": data})
    TrainingConfig.of({name: values[name] for name in values if name in TrainingConfig.model_fields})
    given = {name: value for name, value in values.items() if name in NotebookParameters.model_fields}
    try:
        parameters = NotebookParameters.model_validate(given).model_dump(include=set(given))
    except ValidationError as problem:
        raise ConfigurationError(one_sentence(problem, NotebookParameters)) from None
    read_prices(parameters["prices"])
    _reject_missing_server(parameters["serve_with"])
    return values | parameters


def _reject_unknown(settings: Iterable[str]) -> None:
    known = {*NotebookParameters.model_fields, *TrainingConfig.model_fields} - OPTIONS.keys()
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigurationError(
                f"There is no setting {name!r}{f', did you mean {near[0]!r}' if near else ''}? Known ones: "
                f"{', '.join(sorted(known))}."
            )


def _reject_missing_server(serve_with: str) -> None:
    if not Path(serve_with).is_file() and shutil.which("docker") is None:
        raise ConfigurationError(
            f"serve_with={serve_with!r} is not a file, and there is no docker command to run it as an image; "
            "correct the path, or install Docker."
        )


def _parameters(declared: set[str], values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that a notebook declares; other TrainingConfig fields go into its parameter `settings`."""
    parameters = {name: value for name, value in values.items() if name in declared}
    rest = {
        name: value
        for name, value in values.items()
        if name not in declared and name in TrainingConfig.model_fields and name != "data"
    }
    return parameters | ({"settings": rest} if "settings" in declared else {})
