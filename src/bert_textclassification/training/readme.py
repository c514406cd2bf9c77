"""The parts of the README that are made from elsewhere, between markers such as `<!-- results -->`.

    python -m bert_textclassification.training.readme

Every number in the tables comes from a file in `notebooks/results/` that a run wrote, every setting from its field.
"""

import json
import re
from pathlib import Path
from typing import Any

from pydantic import AliasChoices

from bert_textclassification.errors import UserError
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.training.tables import markdown_table, percent, with_interval

RESULTS = Path("notebooks/results")
README = Path("README.md")


def results_table(results: dict[str, dict[str, Any]]) -> str:
    """Return the README's table: one row for each published run, by name."""
    header = [
        "data", "rows (train / test)", "TF-IDF baseline, %", "FP32, % (95 % interval)", "int8, %",
        "agreement, %", "served", "torch FP32 p50, ms", "int8 p50, ms", "speed-up (min–max)", "HTTP p50, ms",
    ]  # fmt: skip
    rows = []
    for name, result in results.items():
        table = result["quantization_benchmark"]["table"]
        fp32, int8 = table["torch fp32"], table["onnx int8"]
        balance = result["exploration"]["balance"]
        rows.append(
            [
                name,
                f"{balance['train']['rows']:,} / {balance['test']['rows']:,}",
                percent(result["exploration"]["baseline_test"]["accuracy"]["value"]),
                with_interval(result["fine_tuning"]["test"]["accuracy"]),
                percent(int8["accuracy"]),
                percent(int8["agreement"]),
                result["quantization_benchmark"]["default_variant"],
                f"{fp32['p50_ms']:.1f}",
                f"{int8['p50_ms']:.2f}",
                f"{int8['speedup']:.2f}x ({int8['speedup_low']:.2f}–{int8['speedup_high']:.2f})",
                f"{result['deployment']['latency_ms']['p50']:.2f}",
            ]
        )
    return markdown_table(header, rows)


def read_results(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Return the published results by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


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
    return {"results": results_table(read_results()), "settings": settings_table()}


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
