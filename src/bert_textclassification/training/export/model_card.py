"""The model card: the manifest for people."""

from bert_textclassification.artifact.manifest import Manifest
from bert_textclassification.training.display.tables import FIGURES, figure, markdown_table, percent, with_interval
from bert_textclassification.training.evaluation.behavioral.suite import behaviours_section
from bert_textclassification.training.evaluation.calibration import calibration_in_words
from bert_textclassification.training.evaluation.slices import slices_section


def model_card(manifest: Manifest) -> str:
    """Return the model card: the manifest for people, as Markdown."""
    variants = [
        [
            name,
            variant.precision,
            f"{variant.size_bytes / 1e6:.1f}",
            *(percent(variant.accuracy[split]) for split in ("validation", "test")),
            percent(variant.agreement["test"]),
            f"{variant.largest_score_change['test']:.4f}",
            f"{variant.mean_layers['test']:.1f}" if variant.mean_layers else "all",
            "" if variant.milliseconds is None else f"{variant.milliseconds:.2f}",
            variant.verdict,
        ]
        for name, variant in manifest.variants.items()
    ]
    metrics = [
        [name, *(with_interval(manifest.metrics[split][name]) for split in ("validation", "test"))]
        for name in manifest.metrics["test"]
    ]
    not_built = "".join(f"\n- `{name}` was not made. {reason}" for name, reason in manifest.not_built.items())
    data = [[name, str(split.rows), str(split.positives)] for name, split in manifest.data.items()]
    findings = [[one.kind, str(one.count), str(one.dropped), one.message] for one in manifest.findings]
    negative, positive = manifest.labels
    warnings = "".join(f"> **Warning.** {warning}\n>\n" for warning in manifest.warnings).removesuffix(">\n")
    return f"""# Model card

{warnings}
Tells `{positive}` from `{negative}` in texts of up to {manifest.max_length} tokens. Made {manifest.created} from
{manifest.base_model.name} with seed {manifest.seed}.

## Quality of the default variant, `{manifest.default_variant}`

{manifest.default_reason}

{markdown_table(["metric, % (95 % interval)", "validation", "test"], metrics)}

{_beside_fp32(manifest)}{_judging(manifest)}{_comparisons(manifest)}{_seeds(manifest)}
## Decision

The positive class is `{positive}`; a text gets it from a score of {manifest.decision.threshold:.4g} on. Objective:
{manifest.decision.objective}. Chosen on {manifest.decision.chosen_on}; the table above says what it yields.
{_review(manifest)}
## Calibration

A score is the logistic function of the difference of the two logits, divided by a temperature, plus an offset. Both are
chosen so that scores can be read as probabilities{_scales(manifest)}.

{markdown_table(["", "calibration error before", "after", "log loss before", "after"], _calibration(manifest))}

{_floors(manifest)}

## Where it is better and worse

{slices_section(manifest.slices)}

## Behaviour

{behaviours_section(manifest.behaviours)}

A failed case of invariance got another label after a change that should not matter, one of a direction moved the score
the wrong way or too little, one of minimum functionality got the wrong label.

## Variants

{
        markdown_table(
            [
                "variant",
                "precision",
                "MB",
                "validation accuracy, %",
                "test accuracy, %",
                "agreement with torch, %",
                "largest score change",
                "layers a text",
                "ms a text",
                "as the default",
            ],
            variants,
        )
    }
{not_built}

## Data

{markdown_table(["split", "rows", f"labelled {positive}"], data)}

### Known of the data

{markdown_table(["finding", "rows", "dropped from train", "what to do"], findings) if findings else "Nothing doubtful."}

## Limits

The numbers hold for texts like the ones above. Longer texts are cut, and the reply says so. The score is the
model's own estimate: read the worst mistakes in notebook 02 before acting on it without a person.
"""


def _comparisons(manifest: Manifest) -> str:
    variants = [one.compared for name, one in manifest.variants.items() if one.compared and one.precision != "fp32"]
    return "".join(f"- {one.sentence}\n" for one in (*manifest.comparisons.values(), *variants))


def _scales(manifest: Manifest) -> str:
    *early, last = manifest.exit_scales(manifest.default_variant)
    named = [(f"early exit {number}", scale) for number, scale in enumerate(early, 1)] + [("last layer", last)]
    return "".join(f"; {name}: {scale.temperature:.3g} and {scale.offset:+.3g}" for name, scale in named)


def _calibration(manifest: Manifest) -> list[list[str]]:
    names = ("error_before", "error_after", "log_loss_before", "log_loss_after")
    return [[split, *(f"{found[name]:.4f}" for name in names)] for split, found in manifest.calibration.items()]


def _floors(manifest: Manifest) -> str:
    """Return a line for each split whose calibration error has a floor beside it; older artifacts have none."""
    return "\n".join(
        f"- {split}: {calibration_in_words(found)}"
        for split, found in manifest.calibration.items()
        if "error_floor" in found
    )


def _beside_fp32(manifest: Manifest) -> str:
    """Return the figures of the default variant on test beside FP32's."""
    names = list(dict.fromkeys(("fp32", manifest.default_variant)))
    variants = {name: manifest.variants[name].model_dump() for name in names if name in manifest.variants}
    rows = [[title, *(figure(variant, name) for variant in variants.values())] for name, title in FIGURES.items()]
    return f"On test, beside the model before it was quantized (`fp32`):\n\n{markdown_table(['', *variants], rows)}\n\n"


def _judging(manifest: Manifest) -> str:
    return f"{manifest.judging['sentence']}\n\n" if manifest.judging else ""


def _review(manifest: Manifest) -> str:
    if manifest.decision.review_band is None:
        return ""
    low, high = manifest.decision.review_band
    found = manifest.review["test"]
    return (
        f"\nScores from {low:.3g} up to {high:.3g} are for a person to decide: on test the model decides "
        f"{found['coverage']:.1%} of the texts, {found['accuracy_decided']:.1%} of these right; a text costs "
        f"{found['cost_with_review']:.4f} on average, {found['cost_without_review']:.4f} without a person.\n"
    )


def _seeds(manifest: Manifest) -> str:
    if not manifest.seeds:
        return ""
    shares = {name: found for name, found in manifest.seeds.items() if not name.endswith("_loss")}
    rows = [[name.replace("_", " "), with_interval(found)] for name, found in shares.items()]
    return (
        f"\nThe same with {manifest.training['num_seeds']} seeds, of which the best on validation is served:\n\n"
        f"{markdown_table(['FP32, %', 'mean (95 % t-interval)'], rows)}\n"
    )
