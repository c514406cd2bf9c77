"""Run the four notebooks in order on one data set: explore, fine-tune, quantize and benchmark, deploy.

    python -m bert_textclassification.training.pipeline --name demo
    python -m bert_textclassification.training.pipeline --name mine --data mine.csv positive_label=spam epochs=3
    python -m bert_textclassification.training.pipeline --name mine --data mine.csv --first 3

Settings are `name=value`: parameters of the notebooks, or fields of TrainingConfig. What the notebooks make is left in
`runs/<name>/`. Progress and a summary go to stderr and stdout; the last line of stdout is one JSON object.
"""

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import Any

import papermill
import yaml
from papermill.exceptions import PapermillExecutionError

from bert_textclassification.errors import ConfigurationError, UserError
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.report import summary_line, summary_table
from bert_textclassification.training.run_folder import RunFolder

NOTEBOOKS = ("01_exploration", "02_fine_tuning", "03_quantization_benchmark", "04_deployment")
SHIPPED_DATA = Path("local_test/test_dir/input/data")
SERVE = Path("container/serve")
PRICES = Path("ops/config/prices.yaml")
_TEXTS = {name for name, field in TrainingConfig.model_fields.items() if field.annotation in (str, str | None)}


def main(arguments: list[str] | None = None) -> int:
    """Run the pipeline as the command line asks; return the exit status."""
    asked = _parser().parse_args(arguments)
    run = RunFolder(Path("runs") / asked.name)
    try:
        run_notebooks(run, asked.data, parse_settings(asked.settings), range(asked.first, asked.last + 1))
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    if asked.last == len(NOTEBOOKS):
        print(summary_table(run.results()))
        print(json.dumps(summary_line(run)))
    return 0


def run_notebooks(run: RunFolder, data: str, settings: dict[str, Any], numbers: range) -> None:
    """Execute the notebooks with the given numbers; stop at the first that fails.

    Raises:
        ConfigurationError: a setting is unknown or out of bounds, before anything runs.
        UserError: a notebook failed; the annotated copy is in the run's folder.
    """
    source = str(Path(data).resolve()) if Path(data).exists() else data
    if "behaviours" in settings:
        settings = settings | {"behaviours": str(Path(settings["behaviours"]).resolve())}
    declared = {name: _declared(name) for name in NOTEBOOKS}
    _check_settings(source, settings, set().union(*declared.values()))
    files = {"serve_with": str(SERVE.resolve()), "prices": str(PRICES.resolve())}
    values = files | settings | {"run_dir": str(run.root), "data": source}
    for number in numbers:
        name = NOTEBOOKS[number - 1]
        print(f"== {number} of {len(NOTEBOOKS)}: {name}", file=sys.stderr, flush=True)
        _execute(name, _parameters(declared[name], values), run, number)


def _execute(name: str, parameters: dict[str, Any], run: RunFolder, number: int) -> None:
    executed = run.root / f"{name}.ipynb"
    try:
        papermill.execute_notebook(
            _path(name), executed, parameters, cwd="notebooks", stderr_file=sys.stderr, progress_bar=True
        )
    except PapermillExecutionError as problem:
        raise UserError(
            f"{name} stopped at {problem.ename}: {problem.evalue} The annotated copy is {executed}; mend the "
            f"cause and go on with --first {number}."
        ) from problem


def _parameters(declared: set[str], values: dict[str, Any]) -> dict[str, Any]:
    """Return the values a notebook declares; the rest of TrainingConfig goes into its `settings`."""
    own = {name: value for name, value in values.items() if name in declared}
    rest = {
        name: value
        for name, value in values.items()
        if name not in declared and name in TrainingConfig.model_fields and name != "data"
    }
    return own | ({"settings": rest} if "settings" in declared else {})


def _check_settings(data: str, settings: dict[str, Any], declared: set[str]) -> None:
    known = declared | set(TrainingConfig.model_fields)
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigurationError(
                f"There is no setting {name!r}{f', did you mean {near[0]!r}' if near else ''}? Known ones: "
                f"{', '.join(sorted(known))}."
            )
    TrainingConfig.of(
        {"data": data} | {name: settings[name] for name in settings if name in TrainingConfig.model_fields}
    )


def _declared(name: str) -> set[str]:
    """Return the parameter names of a notebook: papermill itself only warns of a misspelt one."""
    return set(papermill.inspect_notebook(_path(name)))


def _path(name: str) -> str:
    return str(Path("notebooks") / f"{name}.ipynb")


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Return what `name=value` pairs of a command line say: values are YAML, but for settings that are texts.

    Raises:
        ConfigurationError: a pair has no equals sign.
    """
    parsed = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigurationError(f"{pair!r} is not a setting; write name=value.")
        parsed[name] = value if name in _TEXTS else yaml.safe_load(value)  # a label may be yes or 0
    return parsed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pipeline", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--name", default="demo", help="name of the run: its folder is runs/NAME")
    parser.add_argument("--data", default=str(SHIPPED_DATA), help="file, folder or hub name of labelled texts")
    steps = range(1, len(NOTEBOOKS) + 1)
    parser.add_argument("--first", type=int, default=1, choices=steps, help="first notebook to run")
    parser.add_argument("--last", type=int, default=4, choices=steps, help="last notebook to run")
    parser.add_argument("settings", nargs="*", metavar="name=value", help="settings of the notebooks")
    return parser


if __name__ == "__main__":
    sys.exit(main())
