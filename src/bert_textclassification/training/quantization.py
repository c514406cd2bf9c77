"""Make the servable variants of a fine-tuned model and let measurements choose the default.

    artifact = build_artifact(fine_tuned, splits, Path("runs/demo/model"))

Every variant is measured with the engine that will serve it: its labels against the torch model's, on validation and
test, and its speed on this processor. The fastest that loses nothing on validation becomes the default; test only
reports.
"""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bert_textclassification.artifact import (
    MANIFEST,
    MODEL_CARD,
    PASSED,
    TOKENIZER,
    Artifact,
    Decision,
    StoredFile,
    Variant,
    sha256_of,
    write_manifest,
)
from bert_textclassification.errors import NonFiniteLogitsError
from bert_textclassification.serving import processor
from bert_textclassification.serving.engine import Outputs, load_engine
from bert_textclassification.serving.native_engine import NativeEngine, instructions, read_architecture
from bert_textclassification.training.benchmark import sample_stream, single, time_interleaved
from bert_textclassification.training.calibration import fit_temperature
from bert_textclassification.training.comparison import (
    SIGNIFICANT,
    compare,
    largest_loss,
    mcnemar,
    smallest_visible_loss,
)
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data import Splits, fingerprints
from bert_textclassification.training.decision import choose_decision, labels_of
from bert_textclassification.training.early_exit import smallest_margins
from bert_textclassification.training.evaluation import accuracy, agreement, largest_score_change
from bert_textclassification.training.fine_tuning import (
    Evaluated,
    FineTuned,
    evaluate_splits,
    require_same_data,
)
from bert_textclassification.training.manifest import Chosen, describe, versions
from bert_textclassification.training.model_files import WEIGHTS
from bert_textclassification.training.progress import progress
from bert_textclassification.training.quality import Logits, assess
from bert_textclassification.training.report import model_card
from bert_textclassification.training.understanding import with_understanding
from bert_textclassification.training.unfinished import Unfinished
from bert_textclassification.training.variants import FORMS, REFERENCE, Models, obstacle, write

TIMED_TEXTS, TIMED_ROUNDS = 100, 5


def build_artifact(fine_tuned: FineTuned, splits: Splits, folder: Path) -> Artifact:
    """Write the artifact of `fine_tuned` to `folder` and return it, verified; after an interruption, go on with it.

    Raises:
        DataError: these are not the splits that it was fine-tuned on.
    """
    require_same_data(fine_tuned, splits)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)  # until the new one is written, this is no artifact
    models = Models.of(fine_tuned)
    evaluated = evaluate_splits(fine_tuned, models.model, splits)
    unfinished = Unfinished(folder, _made_from(fine_tuned, splits), {form.file for form in FORMS.values()})
    shutil.copyfile(fine_tuned.folder / TOKENIZER, folder / TOKENIZER)
    jury, rows = judges(evaluated), " and ".join(judges_of(evaluated))
    yardstick = choose_decision(fine_tuned.config, jury.targets, jury.reference, rows)
    variants, not_built = measure_variants(folder, models, evaluated, unfinished, fine_tuned.config, yardstick)
    default, reason = choose_default(variants, len(jury.targets))
    chosen = Chosen(variants, default, reason, not_built)
    logits = _logits(folder / variants[default].file, variants[default], evaluated)
    # Chosen anew on the scores that are served: a bound that FP32 keeps, int8 may miss by a text.
    served = np.concatenate([logits[split] for split in judges_of(evaluated)])
    decision = choose_decision(fine_tuned.config, jury.targets, served, rows)
    quality = assess(fine_tuned.config, splits, evaluated, logits, decision)
    manifest = describe(fine_tuned, splits, folder / TOKENIZER, chosen, evaluated, logits, decision, quality)
    manifest = with_understanding(manifest, folder, fine_tuned, splits)
    (folder / MODEL_CARD).write_text(model_card(manifest), encoding="utf-8")
    artifact = write_manifest(folder, manifest)
    unfinished.finish()
    return artifact


def measure_variants(
    folder: Path,
    models: Models,
    evaluated: dict[str, Evaluated],
    unfinished: Unfinished,
    config: TrainingConfig,
    decision: Decision,
) -> tuple[dict[str, Variant], dict[str, str]]:
    """Make and measure every variant that can be made; return them with a verdict each, and why the others cannot."""
    obstacles = {name: obstacle(form, models) for name, form in FORMS.items()}
    not_built = {name: reason for name, reason in obstacles.items() if reason}
    variants = {}
    for name in progress([name for name in FORMS if name not in not_built], desc="measuring variants", unit="variant"):
        path = write(FORMS[name], models, folder)
        try:
            variants[name] = unfinished.get(name) or unfinished.put(
                name, measure_variant(name, path, evaluated, decision, config.max_exit_loss)
            )
        except NonFiniteLogitsError as problem:
            if name == REFERENCE:
                raise
            not_built[name] = str(problem)
            if path.name not in {variant.file for variant in variants.values()}:
                path.unlink()
    return judged(folder, variants, evaluated["validation"], config.max_accuracy_loss), not_built


def judges_of(evaluated: dict[str, Evaluated]) -> list[str]:
    """Return the splits that decide: validation, and what was held back from train where that is small."""
    return [name for name in ("validation", "held_back") if name in evaluated]


def judges(evaluated: dict[str, Evaluated]) -> Evaluated:
    """Return the rows of the splits that decide, as one."""
    parts = [evaluated[name] for name in judges_of(evaluated)]
    return Evaluated(
        [ids for part in parts for ids in part.token_ids],
        [target for part in parts for target in part.targets],
        np.concatenate([part.reference for part in parts]),
    )


def measure_variant(
    name: str, path: Path, evaluated: dict[str, Evaluated], decision: Decision, max_exit_loss: float = 0
) -> Variant:
    """Run the variant `name` at `path` with the engine that serves it and compare it with the torch model.

    Raises:
        NonFiniteLogitsError: it gives no numbers for some texts.
    """
    form = FORMS[name]
    margins = exit_margins(path, evaluated["validation"], decision, max_exit_loss) if form.exits_early else ()
    variant = Variant(
        **StoredFile.of(path).model_dump(),
        precision=form.precision,
        engine=form.engine,
        batch_size=form.batch_size,
        exit_margins=margins,
        accuracy={},
        agreement={},
        largest_score_change={},
    )
    engine = load_engine(path, variant)
    outputs = {split: engine.run(found.token_ids) for split, found in evaluated.items()}
    if not all(np.isfinite(output.logits).all() for output in outputs.values()) or not np.isfinite(margins).all():
        raise NonFiniteLogitsError(f"The arithmetic of {name} overflows: some texts have no score.")
    return variant.model_copy(update=measurements(name, outputs, evaluated, decision))


def measurements(
    name: str, outputs: dict[str, Outputs], evaluated: dict[str, Evaluated], decision: Decision
) -> dict[str, Any]:
    """Return what a variant's outputs are worth beside the torch model's, by the names of Variant's fields.

    `decision` is the torch model's. Each variant has a temperature of its own: an early exit is less sure than the last
    layer, and the threshold means the same only on calibrated scores.
    """
    jury = judges_of(evaluated)
    truth = [target for split in jury for target in evaluated[split].targets]
    temperature = fit_temperature(truth, np.concatenate([outputs[split].logits for split in jury]))
    own_decision = decision.model_copy(update={"temperature": temperature})
    labels = {split: labels_of(output.logits, own_decision) for split, output in outputs.items()}
    references = {split: labels_of(found.reference, decision) for split, found in evaluated.items()}
    own, theirs = (np.concatenate([found[split] for split in jury]) for found in (labels, references))
    return {
        "accuracy": {split: accuracy(found.targets, labels[split]) for split, found in evaluated.items()},
        "agreement": {split: agreement(references[split], labels[split]) for split in evaluated},
        "largest_score_change": {
            split: largest_score_change(found.reference, outputs[split].logits) for split, found in evaluated.items()
        },
        "mean_layers": {
            split: float(np.mean(output.layers)) for split, output in outputs.items() if output.layers is not None
        },
        "temperature": temperature,
        "loss_points": 100 * (accuracy(truth, theirs) - accuracy(truth, own)),
        "p_value": mcnemar(truth, theirs, own),
        "loss_at_most": largest_loss(truth, theirs, own),
        "compared": compare(evaluated["test"].targets, labels["test"], references["test"], name, "the FP32 model"),
    }


def exit_margins(path: Path, validation: Evaluated, decision: Decision, max_loss: float) -> tuple[float, ...]:
    """Return the margins from which the early exits of the native model at `path` answer; JSON has no infinity."""
    exits = len(read_architecture(path).after) - 1
    only = np.where(np.eye(exits, dtype=bool), 0, np.inf).tolist()
    early = [NativeEngine(path, margins=margins).logits(validation.token_ids) for margins in only]
    last = NativeEngine(path).logits(validation.token_ids)
    largest = float(np.finfo(np.float32).max)
    found = smallest_margins(validation.targets, early, last, max_loss, decision)
    return tuple(min(one, largest) for one in found)


def judged(
    folder: Path, variants: dict[str, Variant], validation: Evaluated, max_accuracy_loss: float
) -> dict[str, Variant]:
    """Return the variants with their speed on this machine and a verdict."""
    stream = sample_stream(validation.token_ids, TIMED_TEXTS, seed=0)
    engines = {name: load_engine(folder / variant.file, variant) for name, variant in variants.items()}
    times = time_interleaved({name: single(engine) for name, engine in engines.items()}, stream, TIMED_ROUNDS)
    return {
        name: variant.model_copy(
            update={
                "milliseconds": round(float(np.median(times[name].mean(axis=1))), 3),
                "verdict": verdict(variant, max_accuracy_loss, FORMS[name].of_student),
            }
        )
        for name, variant in variants.items()
    }


def verdict(variant: Variant, max_accuracy_loss: float, is_student: bool = False) -> str:
    """Return PASSED, or why the variant may not be the default.

    The model's own weights, rounded, pass unless they are seen to lose. A student is another model, right and wrong on
    other texts: it has to be shown that it loses no more than is allowed.
    """
    loss = variant.loss_points
    if loss > max_accuracy_loss:
        return f"loses {loss:.2f} points of accuracy, where {max_accuracy_loss:g} are allowed"
    if loss > 0 and variant.p_value is not None and variant.p_value < SIGNIFICANT:
        return f"loses {loss:.2f} points of accuracy, and not by chance (p = {variant.p_value:.3f})"
    if is_student and variant.loss_at_most is not None and variant.loss_at_most > max_accuracy_loss:
        return (
            f"may lose up to {variant.loss_at_most:.2f} points of accuracy, as far as the rows can tell, where "
            f"{max_accuracy_loss:g} are allowed"
        )
    return PASSED


def choose_default(variants: dict[str, Variant], rows: int) -> tuple[str, str]:
    """Return the fastest variant that passed, and why it is the default."""
    passed = {name: variant for name, variant in variants.items() if variant.verdict == PASSED}
    name = min(passed, key=lambda one: passed[one].milliseconds or math.inf)
    chosen, reference = passed[name], variants[REFERENCE]
    faster = (reference.milliseconds or 0) / (chosen.milliseconds or math.inf)
    others = "".join(f" {other} {variant.verdict}." for other, variant in variants.items() if other not in passed)
    return name, (
        f"{name} is the fastest that keeps the accuracy: {faster:.1f} times fp32's speed on this machine, accuracy "
        f"{0 - chosen.loss_points:+.2f} points on the {rows} rows that judge.{others} So many rows cannot show a loss "
        f"under {100 * smallest_visible_loss(rows):.2f} points."
    )


def variants_table(artifact: Artifact) -> pd.DataFrame:
    """Return the measurements of each variant on validation and test, as a table for people."""
    rows = {
        name: {
            f"{measure} ({split})": value
            for measure in ("accuracy", "agreement", "largest_score_change", "mean_layers")
            for split, value in getattr(variant, measure).items()
        }
        for name, variant in artifact.manifest.variants.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").round(4).T


def served_logits(artifact: Artifact, evaluated: dict[str, Evaluated]) -> Logits:
    """Return the logits that the default variant of `artifact` gives to each split, float32 [texts, 2]."""
    name, variant = artifact.variant()
    return _logits(artifact.model_path(name), variant, evaluated)


def _logits(path: Path, variant: Variant, evaluated: dict[str, Evaluated]) -> Logits:
    engine = load_engine(path, variant)
    return {name: engine.logits(split.token_ids) for name, split in evaluated.items()}


def _made_from(fine_tuned: FineTuned, splits: Splits) -> list[str]:
    """Return what determines the measurements of the variants."""
    student = fine_tuned.student()
    weights = [fine_tuned.folder / WEIGHTS] + ([] if student is None else [student.folder / WEIGHTS])
    return [
        *(sha256_of(path) for path in weights),
        *fingerprints(splits).values(),
        fine_tuned.config.model_dump_json(),
        *(f"{name} {version}" for name, version in versions().items()),
        *instructions(),
        processor.kind(),
    ]
