"""Render the model card from the manifest, with the template model_card.md.jinja."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bert_textclassification.artifact.manifest import Comparison, ExitScale, Manifest, Variant
from bert_textclassification.training.display.tables import FIGURES, figure, percent, with_interval
from bert_textclassification.training.evaluation.behavioral.suite import behaviours_section
from bert_textclassification.training.evaluation.calibration import describe_calibration
from bert_textclassification.training.evaluation.slices import slices_section


def model_card(manifest: Manifest) -> str:
    """Return the model card in Markdown."""
    return (
        _environment()
        .get_template("model_card.md.jinja")
        .render(
            manifest=manifest,
            beside_fp32={name: variant.model_dump() for name, variant in _beside_fp32(manifest).items()},
            comparisons=_comparisons(manifest),
            scales=_scales(manifest),
            FIGURES=FIGURES,
        )
    )


def _environment() -> Environment:
    # No HTML escapes: the filters `line`, `cell` and `code` escape for Markdown.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (figure, percent, describe_calibration, slices_section, behaviours_section)
    environment.filters |= {function.__name__: function for function in filters}
    environment.filters |= {"interval": with_interval, "number": format, "line": _line, "cell": _cell, "code": _code}
    return environment


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")


def _code(text: str) -> str:
    """Return `text` as a code span, in which Markdown and HTML are not interpreted."""
    fence = "`"
    while fence in text:
        fence += "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{_line(text)}{space}{fence}"


def _beside_fp32(manifest: Manifest) -> dict[str, Variant]:
    names = dict.fromkeys(("fp32", manifest.default_variant))
    return {name: manifest.variants[name] for name in names if name in manifest.variants}


def _comparisons(manifest: Manifest) -> list[Comparison]:
    quantized = [variant for variant in manifest.variants.values() if variant.precision != "fp32"]
    return [*manifest.comparisons.values(), *(variant.compared for variant in quantized if variant.compared)]


def _scales(manifest: Manifest) -> list[tuple[str, ExitScale]]:
    """Return the name and the scale of each exit of the default variant."""
    *early, last = manifest.exit_scales(manifest.default_variant)
    return [(f"early exit {number}", scale) for number, scale in enumerate(early, 1)] + [("last layer", last)]
