"""The parts of the README that are made from elsewhere, between markers such as `<!-- results -->`.

    python -m tools.readme

Every number in the tables comes from a file in `notebooks/results/` that a run wrote, every setting from its field.
"""

import json
import re
from pathlib import Path
from typing import Any

from pydantic import AliasChoices

from bert_textclassification.benchmarks.fine_tuning import FINE_TUNING, fine_tuning_table
from bert_textclassification.benchmarks.ladder.tables import LADDER, ladder_section
from bert_textclassification.benchmarks.load.report import TARGETS
from bert_textclassification.errors import UserError
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.training.display.tables import markdown_table
from bert_textclassification.training.settings.paths import RESULTS
from tools.results_tables import (
    long_texts_table,
    luck_table,
    processor_kind,
    quality_table,
    speed_table,
)

README = Path("README.md")


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
        f"the load's generator included; medians of {summary['rounds']} rounds of {summary['seconds_per_load']:g} s. "
        f"In process, without a server: {summary['in_process_texts_per_second']:.0f} texts/s, "
        f"{summary['in_process_cpu_ms_per_text']:.2f} ms of CPU a text. At half of that rate p99 is "
        f"{summary['half_rate_p99_over_p50']:.1f} times p50 ({summary['half_rate_p99_ms']:.0f} ms against "
        f"{summary['half_rate_p50_ms']:.0f}). Where {summary['cache_on_hit_share']:.0%} of the texts come again, the "
        f"answer cache gives {summary['cache_on_requests_per_second']:.0f} requests/s where none gives "
        f"{summary['cache_off_requests_per_second']:.0f}; an answer from it takes "
        f"{summary['cache_hit_cpu_ms_per_request']:.2f} ms of CPU."
    )


def settings_table() -> str:
    """Return the table of the server's settings: the variables in order of precedence, default, meaning."""
    rows = []
    for setting in ServingConfig.model_fields.values():
        alias = setting.validation_alias
        names = alias.choices if isinstance(alias, AliasChoices) else [alias]
        default = "" if setting.default is None else f"`{setting.default}`"
        rows.append([", ".join(f"`{name}`" for name in names), default, setting.description or ""])
    return markdown_table(["variable", "default", "meaning"], rows)


def blocks() -> dict[str, str]:
    """Return what belongs between each pair of markers."""
    return {
        "quality": quality_table(read_results()),
        "seeds": luck_table(read_results()),
        "long-texts": long_texts_table(read_results()),
        "results": speed_table(read_results()),
        "ladder": ladder_block(),
        "fine-tuning": fine_tuning_tables(),
        "load": load_tables(),
        "settings": settings_table(),
    }


def generated_block(readme: str, name: str) -> str:
    """Return the part of `readme` between the markers `<!-- name -->` and `<!-- /name -->`."""
    start, end = _span(readme, name)
    return readme[start:end].strip()


def update() -> None:
    """Write every made part between its markers in the README."""
    text = README.read_text(encoding="utf-8")
    for name, content in blocks().items():
        start, end = _span(text, name)
        text = f"{text[:start]}\n{content}\n{text[end:]}"
    README.write_text(text, encoding="utf-8")


def _span(readme: str, name: str) -> tuple[int, int]:
    found = re.search(rf"<!-- {name} -->(.*?)<!-- /{name} -->", readme, re.DOTALL)
    if found is None:
        raise UserError(f"README.md lacks the markers <!-- {name} --> and <!-- /{name} -->; put them back.")
    return found.span(1)


if __name__ == "__main__":
    update()
