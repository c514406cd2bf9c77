"""The command line: `bert-textclassification COMMAND`.

Training settings are `name=value`, with the same names as in notebooks and hyperparameters. A command that trains or
measures prints one line of JSON to stdout at the end; progress goes to stderr. Errors are one sentence with exit
status 1; an invalid option has exit status 2, Ctrl-C 130.

Commands import their dependencies when they run: `predict` and `serve` work without the training packages.
"""

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bert_textclassification import PROGRAM, __version__
from bert_textclassification.errors import UserError
from bert_textclassification.serving.protocols.media_types import TEXT_FORMATS

INTERRUPTED = 130  # 128 plus the number of SIGINT, the shells' convention
# The extra of each package; the default is `train`.
_EXTRAS = {"optuna": "search", "papermill": "notebooks", "ipykernel": "notebooks", "captum": "notebooks"}

_model = click.option(
    "--model",
    type=click.Path(path_type=Path),
    default="runs/demo/model",
    show_default=True,
    help="Folder of the model.",
)
_name = click.option("--name", default="mine", show_default=True, help="Name of the run; its folder is runs/NAME.")
_data = click.option("--data", required=True, help="Labelled texts: a file, a folder or the name of a hub data set.")
_settings = click.argument("settings", nargs=-1, metavar="[NAME=VALUE]...")


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog="See COMMAND --help for an example.")
@click.version_option(__version__, prog_name=PROGRAM)
def cli() -> None:
    """From labelled texts to a BERT classifier that answers in milliseconds on a CPU."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # without the line of code
    try:
        status = cli.main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code
    except UserError as problem:
        return _failed(str(problem))
    except ModuleNotFoundError as problem:
        return _failed(_missing_package(problem))
    except click.Abort as stopped:  # click raises it for Ctrl-C
        print(f"\n{str(stopped.__cause__ or '') or 'Interrupted.'}", file=sys.stderr)
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def _failed(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 1


def _missing_package(problem: ModuleNotFoundError) -> str:
    """Return a message that names the extra with the missing package.

    Raises:
        ModuleNotFoundError: the missing module belongs to this package.
    """
    package = (problem.name or "").partition(".")[0]
    if package in ("", "bert_textclassification"):
        raise problem
    extra = _EXTRAS.get(package, "train")
    return f"This command needs the package {package}: pip install '{PROGRAM}[{extra}]'."


def _with_interrupt_message(work: Callable[[], None], message: str) -> None:
    """Run the work; Ctrl-C ends the program with `message`."""
    try:
        work()
    except KeyboardInterrupt as stopped:
        raise KeyboardInterrupt(str(stopped) or message) from None


@cli.command()
@_data
@_name
@_settings
def train(data: str, name: str, settings: tuple[str, ...]) -> None:
    """Fine-tune a model on labelled texts and write the artifact to runs/NAME/model.

    After an interruption, the same command resumes.

    \b
    Example:
      bert-textclassification train --data mine.csv --name mine epochs=3 positive_label=spam
    """
    from bert_textclassification.training.commands import run_training

    run_training(name, data, settings)


@cli.command()
@_model
@_data
@click.option("--variant", help="Variant of the model; default: the artifact's.")
@_settings
def evaluate(model: Path, data: str, variant: str | None, settings: tuple[str, ...]) -> None:
    """Evaluate a model on labelled texts: metrics with intervals, and the confusion matrix.

    Settings: text_column, label_column.

    \b
    Example:
      bert-textclassification evaluate --model runs/mine/model --data test.csv label_column=class
    """
    from bert_textclassification.training.command_line_settings import parse_settings
    from bert_textclassification.training.config import TrainingConfig
    from bert_textclassification.training.evaluation.artifact import evaluate_artifact

    config = TrainingConfig.of({"data": data} | parse_settings(list(settings)))
    click.echo(evaluate_artifact(model, config, variant).text())


@cli.command()
@_model
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True), default="-")
@click.option("--format", "format_name", type=click.Choice([text_format.name for text_format in TEXT_FORMATS.values()]),
              help="Format of input and output; default: by the file's suffix, else one text per line.")  # fmt: skip
@click.option("--column", help="Column of the texts in CSV: its name, or its number from 1.")
@click.option("--threshold", type=float, help="Minimum score for the positive label; default: the artifact's.")
@click.option("--truncation", type=click.Choice(["truncate", "windows", "error"]), help="How to treat long texts.")
def predict(model: Path, file: Path, format_name: str | None, **parameters: Any) -> int:
    """Classify the texts of a file, or of standard input.

    An invalid record gets an error line, and the exit status is 1.

    \b
    Examples:
      echo "my card was charged twice" | bert-textclassification predict --model runs/mine/model
      bert-textclassification predict --model runs/mine/model messages.csv --column text > labels.csv
    """
    from bert_textclassification import Predictor
    from bert_textclassification.serving.predict_file import format_of, predict_file

    is_standard_input = str(file) == "-"
    body = sys.stdin.buffer.read() if is_standard_input else file.read_bytes()
    format_name = format_name or format_of(None if is_standard_input else file)
    given = {name: value for name, value in parameters.items() if value is not None}
    predictions = predict_file(Predictor.load(model), body, format_name, **given)
    sys.stdout.buffer.write(predictions.body)
    if predictions.rejected:
        click.echo(f"{predictions.rejected} records were rejected; each has an error line.", err=True)
    return 1 if predictions.rejected else 0


@cli.command()
@click.option("--model", help="Folder, archive or URI of the model; default: MODEL_DIR, as in a container.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port to listen on; default: PORT, as in a container, else 8080."
)
def serve(model: str | None, port: int | None) -> int:
    """Serve a model over HTTP, as the container does. Other settings come from the environment.

    \b
    Example:
      bert-textclassification serve --model runs/mine/model --port 8080
    """
    from bert_textclassification.serving.stack import supervisor

    os.environ.update({} if model is None else {"MODEL_DIR": model})
    if port is not None:
        for variable in ("SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT"):  # they take precedence over PORT
            os.environ.pop(variable, None)
        os.environ["PORT"] = str(port)
    return supervisor.main()


@cli.command()
@_name
@click.option("--data", help="Labelled texts; default: the data of the fine-tuning.")
def export(name: str, data: str | None) -> None:
    """Build the artifact of a fine-tuned model again: quantize, measure, choose the default variant.

    It reads runs/NAME/fine_tuned and writes runs/NAME/model.

    \b
    Example:
      bert-textclassification export --name mine
    """
    from bert_textclassification.training.commands import run_export

    run_export(name, data)


@cli.command()
@click.option("--name", default="demo", show_default=True, help="Name of the run; its folder is runs/NAME.")
@click.option("--data", help="Labelled texts: a file, a folder or a hub name; default: the shipped messages.")
@click.option("--first", type=click.IntRange(1, 4), default=1, show_default=True, help="First notebook to run.")
@click.option("--last", type=click.IntRange(1, 4), default=4, show_default=True, help="Last notebook to run.")
@_settings
def notebooks(name: str, data: str | None, first: int, last: int, settings: tuple[str, ...]) -> None:
    """Run the four notebooks in a cloned repository: explore, fine-tune, quantize and benchmark, deploy.

    \b
    Example:
      bert-textclassification notebooks --name mine --data mine.csv epochs=3
    """
    from bert_textclassification.training.notebooks.pipeline import run_notebooks

    run_notebooks(name, data, settings, first, last)


@cli.command()
@_name
@click.option("--data", help="Labelled texts: a file, a folder or the name of a hub data set.")
@click.option("--trials", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Total number of trials.")
@click.option("--space", type=click.Path(path_type=Path), help="YAML file with the search space.")
@click.option("--sagemaker-ranges", is_flag=True, help="Print the space as SageMaker's parameter ranges, and stop.")
@_settings
def search(
    name: str, data: str | None, trials: int, space: Path | None, sagemaker_ranges: bool, settings: tuple[str, ...]
) -> None:
    """Search for the settings of the most accurate and the fastest int8 model.

    After an interruption, the same command resumes.

    \b
    Example:
      bert-textclassification search --name mine --data mine.csv --trials 20
    """
    from bert_textclassification.training.display.command_text import command_line
    from bert_textclassification.training.tuning.space import DEFAULT_SPACE, ranges_as_json

    if sagemaker_ranges:
        click.echo(ranges_as_json(space or DEFAULT_SPACE))
        return
    if data is None:
        raise click.MissingParameter(param_type="option", param_hint="'--data'")
    from bert_textclassification.training.tuning.study import run_search

    space_option = [] if space is None else ["--space", str(space)]
    again = command_line(["search", "--name", name, "--data", data, "--trials", str(trials), *space_option, *settings])
    _with_interrupt_message(
        lambda: run_search(name, data, trials, space or DEFAULT_SPACE, settings),
        f"The search was interrupted; resume with:\n{again}",
    )


@cli.command()
@_model
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="CSV file with a column text, or a folder."
)
@click.option("--requests-per-day", type=float, default=10_000, show_default=True, help="Requests of one text each.")
@click.option(
    "--peak-over-mean", type=float, default=3, show_default=True, help="Ratio of peak load to the daily mean."
)
@click.option("--utilisation", type=float, default=0.6, show_default=True, help="CPU utilisation at the peak.")
@click.option("--prices", type=click.Path(path_type=Path), help="YAML table of instances and prices.")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="Length of each of the four loads.")
def capacity(
    model: Path,
    data: Path,
    requests_per_day: float,
    peak_over_mean: float,
    utilisation: float,
    prices: Path | None,
    seconds: float,
) -> None:
    """Measure the server on this machine, and plan instances and cost for a given traffic.

    \b
    Example:
      bert-textclassification capacity --model runs/mine/model --data mine.csv --requests-per-day 1000000
    """
    from bert_textclassification.benchmarks.capacity.measured import plan_for_model
    from bert_textclassification.benchmarks.capacity.planning import Traffic
    from bert_textclassification.training.settings.prices import DEFAULT_PRICES

    traffic = Traffic(requests_per_day, peak_over_mean, utilisation)
    plan_for_model(model, data, traffic, prices or DEFAULT_PRICES, seconds)


@cli.group()
def benchmark() -> None:
    """Measure models, the server and fine-tuning."""


@benchmark.command("ladder")
@_model
@_data
@click.option("--texts", type=click.IntRange(1), default=100, show_default=True, help="Texts per round.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds per stage.")
@click.option("--output", type=click.Path(path_type=Path), default="notebooks/results", show_default=True,
              help="Folder of the results.")  # fmt: skip
def benchmark_ladder(model: Path, data: str, texts: int, rounds: int, output: Path) -> None:
    """Measure each step from the usual recipe to the served model.

    \b
    Example:
      bert-textclassification benchmark ladder --model runs/mine/model --data test.csv
    """
    from bert_textclassification.benchmarks.ladder.report import run_ladder

    run_ladder(model, data, texts, rounds, output)


@benchmark.command("load")
@_model
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="CSV file with a column text, or a folder."
)
@click.option("--variant", help="Variant of the model; default: the artifact's.")
@click.option("--seconds", type=float, default=2.5, show_default=True, help="Length of each load.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Rounds per load.")
@click.option("--connections", type=click.IntRange(1), multiple=True, help="Number of connections; repeatable.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file for the results of every round.")
@click.option("--summary", type=click.Path(path_type=Path), help="JSON file for the summary only.")
def benchmark_load(
    model: Path, data: Path, connections: tuple[int, ...], output: Path | None, summary: Path | None, **given: Any
) -> None:
    """Load-test the server, and compare it with the model in process.

    \b
    Example:
      bert-textclassification benchmark load --model runs/mine/model --data mine.csv
    """
    from bert_textclassification.benchmarks.load.run import CONNECTIONS, Settings, run_load_test

    run_load_test(Settings(model, data, connections=connections or CONNECTIONS, **given), output, summary)


@benchmark.command("training")
@_data
@_name
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Runs of each, with different seeds."
)
@_settings
def benchmark_training(data: str, name: str, seeds: int, settings: tuple[str, ...]) -> None:
    """Compare fine-tuning with the Trainer's defaults: same data, steps and batch size.

    \b
    Example:
      bert-textclassification benchmark training --data mine.csv --name mine epochs=2
    """
    from bert_textclassification.benchmarks.fine_tuning import run_comparison

    run_comparison(name, data, seeds, settings)


if __name__ == "__main__":
    sys.exit(main())
