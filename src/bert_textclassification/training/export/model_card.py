"""The model card: the manifest for people, from the template beside this module."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bert_textclassification.artifact.manifest import Comparison, ExitScale, Manifest, Variant
from bert_textclassification.training.display.tables import FIGURES, figure, percent, with_interval
from bert_textclassification.training.evaluation.behavioral.suite import behaviours_section
from bert_textclassification.training.evaluation.calibration import describe_calibration
from bert_textclassification.training.evaluation.slices import slices_section


def model_card(manifest: Manifest) -> str:
    """Return the model card: the manifest for people, as Markdown."""
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
    # Markdown is no HTML: `line`, `cell` and `code` are its escapes.
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
    """Return a code span, in which Markdown and HTML have no meaning."""
    fence = "`"
    while fence in text:
        fence += "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{_line(text)}{space}{fence}"


def _beside_fp32(manifest: Manifest) -> dict[str, Variant]:
    names = dict.fromkeys(("fp32", manifest.default_variant))
    return {name: manifest.variants[name] for name in names if name in manifest.variants}


def _comparisons(manifest: Manifest) -> list[Comparison]:
    variants = [one.compared for one in manifest.variants.values() if one.compared and one.precision != "fp32"]
    return [*manifest.comparisons.values(), *variants]


def _scales(manifest: Manifest) -> list[tuple[str, ExitScale]]:
    """Return the scales of the default variant's exits, by the names of these."""
    *early, last = manifest.exit_scales(manifest.default_variant)
    return [(f"early exit {number}", scale) for number, scale in enumerate(early, 1)] + [("last layer", last)]
