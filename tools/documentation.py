"""The generated parts of README.md and docs/, between markers such as `<!-- results -->` and `<!-- /results -->`.

    python -m tools.documentation            # write them
    python -m tools.documentation --check    # exit status 1 if one is out of date

Every number in the tables comes from a file in `notebooks/results/` that a run wrote, every setting from its
field, every command from its help.
"""

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import click
from pydantic import AliasChoices

from bert_textclassification import PROGRAM, cli
from bert_textclassification.benchmarks.fine_tuning import FINE_TUNING, fine_tuning_table
from bert_textclassification.benchmarks.ladder.tables import LADDER, ladder_section
from bert_textclassification.benchmarks.load.report import TARGETS
from bert_textclassification.errors import UserError
from bert_textclassification.serving.config import RENAMED, ServingConfig
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.display.tables import markdown_table
from bert_textclassification.training.settings.paths import RESULTS
from tools.results_tables import (
    headline,
    long_texts_table,
    processor_kind,
    quality_table,
    seed_variance_table,
    speed_table,
)

README = Path("README.md")
DOCS = Path("docs")
_BENCHMARKS = DOCS / "benchmarks.md"


def read_results(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Return the published results by name."""
    paths = sorted(path for path in folder.glob("*.json") if path.name != LADDER)
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def ladder_block() -> str:
    """Return what the published ladder gave."""
    return ladder_section(json.loads((RESULTS / LADDER).read_text(encoding="utf-8")))


def fine_tuning_tables() -> str:
    """Return how fast fine-tuning is beside the Trainer's defaults: a paragraph and a table for each published run."""
    return "\n\n".join(
        f"`{name}`, {results['train_rows']:,} training texts, {results['machine']['cores']} cores of "
        f"{processor_kind(results['machine'])}. {results['target']} ({results['gain']['low']:.2f}–"
        f"{results['gain']['high']:.2f}).\n\n{fine_tuning_table(results)}"
        for name, results in read_results(FINE_TUNING).items()
    )


def load_tables() -> str:
    """Return what the published load tests of the running stack gave: a paragraph and a table for each."""
    return "\n\n".join(_load_table(name, summary) for name, summary in read_results(RESULTS / "load").items())


def _load_table(name: str, summary: dict[str, Any]) -> str:
    header = [
        "connections",
        "requests/s (min–max)",
        "of in process",
        "p50, ms",
        "p95, ms",
        "p99, ms",
        "web layers, CPU ms",
    ]
    rows = [
        [
            f"{row['connections']}",
            "{requests_per_second:.0f} ({requests_per_second_low:.0f}–{requests_per_second_high:.0f})".format(**row),
            f"{row['share_of_in_process']:.2f}",
            *(f"{row[column]:.1f}" for column in ("p50_ms", "p95_ms", "p99_ms")),
            f"{row['web_cpu_ms_per_request']:.2f}",
        ]
        for row in summary["by_connections"]
    ]
    targets = "\n".join(f"- {target.line(summary[target.figure])}" for target in TARGETS)
    return f"{_load_facts(name, summary)}\n\n{targets}\n\n{markdown_table(header, rows)}"


def _load_facts(name: str, summary: dict[str, Any]) -> str:
    return (
        f"`{name}`, {summary['variant']}, {summary['threads']} cores of {processor_kind(summary['machine'])}, "
        f"shared with the load generator; medians of {summary['rounds']} rounds of {summary['seconds_per_load']:g} s. "
        f"In process, without a server: {summary['in_process_texts_per_second']:.0f} texts/s, "
        f"{summary['in_process_cpu_ms_per_text']:.2f} ms of CPU per text. At half of that rate, p99 is "
        f"{summary['half_rate_p99_over_p50']:.1f} times p50 ({summary['half_rate_p99_ms']:.0f} ms against "
        f"{summary['half_rate_p50_ms']:.0f}). With {summary['cache_on_hit_share']:.0%} repeated texts, the server "
        f"answers {summary['cache_on_requests_per_second']:.0f} requests/s with the answer cache and "
        f"{summary['cache_off_requests_per_second']:.0f} without it; a cached answer takes "
        f"{summary['cache_hit_cpu_ms_per_request']:.2f} ms of CPU."
    )


def settings_table() -> str:
    """Return the table of the server's settings: the variables in order of precedence, default, meaning."""
    rows = []
    for setting in ServingConfig.model_fields.values():
        alias = setting.validation_alias
        names = [str(name) for name in (alias.choices if isinstance(alias, AliasChoices) else [alias])]
        default = "" if setting.default is None else f"`{setting.default}`"
        rows.append(
            [", ".join(f"`{name}`" for name in names if name not in RENAMED), default, setting.description or ""]
        )
    return markdown_table(["variable", "default", "meaning"], rows)


def training_settings_table() -> str:
    """Return the table of the settings of training: name, default, meaning."""
    rows = [
        [f"`{name}`", "" if setting.is_required() else _shown(setting.default), setting.description or ""]
        for name, setting in TrainingConfig.model_fields.items()
    ]
    return markdown_table(["setting", "default", "meaning"], rows)


def _shown(default: Any) -> str:
    if default is None or default == ():
        return ""
    return f"`{','.join(default) if isinstance(default, tuple) else default}`"


def commands_reference() -> str:
    """Return a section for each command of the command line: its help, arguments and options."""
    return "\n\n".join(_command_section(PROGRAM, cli.cli.commands[name]) for name in sorted(cli.cli.commands))


def _command_section(prefix: str, command: click.Command) -> str:
    name = f"{prefix} {command.name}"
    if isinstance(command, click.Group):
        return "\n\n".join(_command_section(name, command.commands[one]) for one in sorted(command.commands))
    context = click.Context(command, info_name=name)
    text, _, example = inspect.cleandoc(command.help or "").partition("\b\n")
    usage = " ".join(command.collect_usage_pieces(context))
    commands = "\n".join(line.strip() for line in example.splitlines()[1:])
    rows = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    options = markdown_table(["option", "meaning"], [[f"`{option}`", meaning] for option, meaning in rows])
    return f"## {name}\n\n{text.strip()}\n\n```text\n{name} {usage}\n```\n\n```text\n{commands}\n```\n\n{options}"


def blocks() -> dict[str, tuple[Path, str]]:
    """Return the file of each generated part, and what belongs between its markers."""
    results = read_results()
    return {
        "headline": (README, headline(results)),
        "quality": (_BENCHMARKS, quality_table(results)),
        "seeds": (_BENCHMARKS, seed_variance_table(results)),
        "long-texts": (_BENCHMARKS, long_texts_table(results)),
        "results": (_BENCHMARKS, speed_table(results)),
        "ladder": (_BENCHMARKS, ladder_block()),
        "fine-tuning": (_BENCHMARKS, fine_tuning_tables()),
        "load": (_BENCHMARKS, load_tables()),
        "settings": (DOCS / "reference/server-settings.md", settings_table()),
        "training-settings": (DOCS / "reference/training-settings.md", training_settings_table()),
        "commands": (DOCS / "reference/commands.md", commands_reference()),
    }


def generated_block(text: str, name: str) -> str:
    """Return the part of `text` between the markers `<!-- name -->` and `<!-- /name -->`.

    Raises:
        UserError: it lacks the markers.
    """
    start, end = _span(text, name)
    return text[start:end].strip()


def outdated() -> list[str]:
    """Return the names of the parts that are not what they should be."""
    return [
        name
        for name, (path, content) in blocks().items()
        if generated_block(path.read_text(encoding="utf-8"), name) != content
    ]


def update() -> None:
    """Write every generated part between its markers."""
    for name, (path, content) in blocks().items():
        text = path.read_text(encoding="utf-8")
        start, end = _span(text, name)
        path.write_text(f"{text[:start]}\n{content}\n{text[end:]}", encoding="utf-8")


def _span(text: str, name: str) -> tuple[int, int]:
    found = re.search(rf"<!-- {name} -->(.*?)<!-- /{name} -->", text, re.DOTALL)
    if found is None:
        raise UserError(f"The text lacks the markers <!-- {name} --> and <!-- /{name} -->; put them back.")
    return found.span(1)


def main(arguments: list[str]) -> int:
    """Write the generated parts, or check them; return the exit status."""
    if arguments != ["--check"]:
        update()
        return 0
    if names := outdated():
        print(f"out of date: {', '.join(names)}; run python -m tools.documentation.")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
