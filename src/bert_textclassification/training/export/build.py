"""Export the variants of a fine-tuned model, measure them, choose the default and write the artifact.

    artifact = build_artifact(fine_tuned, splits, Path("runs/demo/model"))

Every variant is measured with the engine that will serve it: its labels, ranking and log loss against the torch model
on validation and test, and its speed on this processor. The default is the fastest variant whose losses on validation
are allowed; test is only reported. See `gate`.
"""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bert_textclassification.artifact.hashing import sha256_of
from bert_textclassification.artifact.manifest import Decision, ExitScale, StoredFile, Variant
from bert_textclassification.artifact.store import MANIFEST, MODEL_CARD, TOKENIZER, Artifact, write_manifest
from bert_textclassification.engines import processor
from bert_textclassification.engines.base import Outputs
from bert_textclassification.engines.native.engine import NativeEngine, instructions, read_architecture
from bert_textclassification.engines.select import load_engine
from bert_textclassification.errors import NonFiniteLogitsError
from bert_textclassification.serving.calibration import calibrated_log_odds, margins
from bert_textclassification.training.config import TrainingConfig
from bert_textclassification.training.data.splits import Splits, fingerprints
from bert_textclassification.training.display.progress import progress
from bert_textclassification.training.evaluation.all_cores import run_on_all_cores
from bert_textclassification.training.evaluation.calibration import (
    LogOdds,
    calibration_error,
    fit_scale,
    log_loss,
    probabilities,
)
from bert_textclassification.training.evaluation.inference import Evaluated, evaluate_splits
from bert_textclassification.training.evaluation.metrics import average_precision, largest_score_change
from bert_textclassification.training.evaluation.quality import Served, assess
from bert_textclassification.training.evaluation.robustness import add_slices_and_behaviours
from bert_textclassification.training.evaluation.thresholds import choose_decision
from bert_textclassification.training.export.accuracy_gate import (
    LogOddsBySplit,
    ReferenceDecision,
    Times,
    choose_default,
    keeps_within,
    selection_rows,
    selection_set_of,
    selection_splits,
    verdict,
)
from bert_textclassification.training.export.early_exit import Exits, choose_exits
from bert_textclassification.training.export.manifest import Chosen, describe, versions
from bert_textclassification.training.export.measured_variants import Unfinished
from bert_textclassification.training.export.model_card import model_card
from bert_textclassification.training.export.timing import sample_stream, single, time_interleaved
from bert_textclassification.training.export.variants import REFERENCE, VARIANTS, Models, unavailable_reason, write
from bert_textclassification.training.fine_tuning.run import require_same_data
from bert_textclassification.training.modeling.base_model_files import WEIGHTS
from bert_textclassification.training.modeling.fine_tuned import FineTuned

TIMED_TEXTS, TIMED_ROUNDS = 100, 5


def build_artifact(fine_tuned: FineTuned, splits: Splits, folder: Path) -> Artifact:
    """Write the artifact of `fine_tuned` to `folder` and return it, verified; resume an interrupted export.

    Raises:
        DataError: the model was fine-tuned on other splits.
    """
    require_same_data(fine_tuned, splits)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)  # without it, the folder does not count as an artifact
    models = Models.of(fine_tuned)
    evaluated = evaluate_splits(fine_tuned, models.model, splits)
    unfinished = Unfinished(folder, _made_from(fine_tuned, splits), {spec.file for spec in VARIANTS.values()})
    shutil.copyfile(fine_tuned.folder / TOKENIZER, folder / TOKENIZER)
    reference_decision = ReferenceDecision.of(fine_tuned.config, evaluated)
    variants, not_built = measure_variants(folder, models, evaluated, unfinished, fine_tuned.config, reference_decision)
    times = time_variants(folder, variants, evaluated["validation"])
    variants = judged(variants, times, fine_tuned.config)
    default, reason = choose_default(variants, times, len(selection_set_of(evaluated).targets))
    chosen = Chosen(variants, default, reason, not_built)
    served = _log_odds(folder / variants[default].file, variants[default], variants[default].exit_scales, evaluated)
    temperature = variants[default].exit_scales[-1].temperature
    decision = served_decision(fine_tuned.config, evaluated, served, temperature)
    quality = assess(fine_tuned.config, splits, evaluated, served, decision)
    manifest = describe(fine_tuned, splits, folder / TOKENIZER, chosen, evaluated, served, decision, quality)
    manifest = add_slices_and_behaviours(manifest, folder, fine_tuned, splits)
    (folder / MODEL_CARD).write_text(model_card(manifest), encoding="utf-8")
    artifact = write_manifest(folder, manifest)
    unfinished.finish()
    return artifact


def served_decision(
    config: TrainingConfig, evaluated: dict[str, Evaluated], served: Served, temperature: float
) -> Decision:
    """Choose the threshold on the served scores: int8 may miss a bound by one text that FP32 meets."""
    scores = selection_rows({split: log_odds.scores for split, log_odds in served.items()})
    rows = " and ".join(selection_splits(evaluated))
    return choose_decision(config, selection_set_of(evaluated).targets, scores, rows, temperature)


def measure_variants(
    folder: Path,
    models: Models,
    evaluated: dict[str, Evaluated],
    unfinished: Unfinished,
    config: TrainingConfig,
    reference_decision: ReferenceDecision,
) -> tuple[dict[str, Variant], dict[str, str]]:
    """Export and measure every variant that can be built; return them, and why the others cannot be built."""
    reasons = {name: unavailable_reason(spec, models) for name, spec in VARIANTS.items()}
    not_built = {name: reason for name, reason in reasons.items() if reason}
    variants = {}
    available = [name for name in VARIANTS if name not in not_built]
    for name in progress(available, desc="measuring variants", unit="variant"):
        path = write(VARIANTS[name], models, folder)
        try:
            variants[name] = unfinished.get(name) or unfinished.put(
                name, measure_variant(name, path, evaluated, reference_decision, config)
            )
        except NonFiniteLogitsError as problem:
            if name == REFERENCE:
                raise
            not_built[name] = str(problem)
            if path.name not in {variant.file for variant in variants.values()}:
                path.unlink()
    return variants, not_built


def measure_variant(
    name: str,
    path: Path,
    evaluated: dict[str, Evaluated],
    reference_decision: ReferenceDecision,
    config: TrainingConfig,
) -> Variant:
    """Run the variant `name` at `path` with the engine that serves it and compare it with the torch model.

    Raises:
        NonFiniteLogitsError: its logits for some texts are not finite.
    """
    spec = VARIANTS[name]
    exits = exits_of(name, path, selection_set_of(evaluated), reference_decision, config) if spec.exits_early else None
    variant = Variant(
        **StoredFile.of(path).model_dump(),
        precision=spec.precision,
        engine=spec.engine,
        batch_size=spec.batch_size,
        exit_margins=exits.exit_thresholds if exits else (),
        accuracy={},
        agreement={},
        largest_score_change={},
    )
    engine = load_engine(path, variant)
    outputs = {split: run_on_all_cores(engine, rows.token_ids) for split, rows in evaluated.items()}
    _require_finite(name, *(output.logits for output in outputs.values()))
    scales = exits.scales if exits else (fitted_scale(outputs, evaluated, reference_decision.with_offset),)
    return variant.model_copy(update=measurements(name, outputs, scales, evaluated, reference_decision))


def exits_of(
    name: str, path: Path, selection_set: Evaluated, reference_decision: ReferenceDecision, config: TrainingConfig
) -> Exits:
    """Return the threshold and the scale of each exit of the native model at `path`; see `choose_exits`.

    Raises:
        NonFiniteLogitsError: the logits of an exit are not finite for some texts.
    """
    early = len(read_architecture(path).exit_layers) - 1
    one_exit_each = [*np.where(np.eye(early, dtype=bool), 0, np.inf).tolist(), []]
    logits = [
        run_on_all_cores(NativeEngine(path, exit_thresholds=thresholds), selection_set.token_ids).logits
        for thresholds in one_exit_each
    ]
    _require_finite(name, *logits)
    keeps = partial(keeps_within, selection_set.targets, selection_rows(reference_decision.log_odds), config=config)
    exits = choose_exits(
        selection_set.targets,
        logits,
        reference_decision.threshold,
        config.early_exit_budget,
        keeps,
        reference_decision.with_offset,
    )
    largest = float(np.finfo(np.float32).max)  # JSON has no infinity
    return exits._replace(exit_thresholds=tuple(min(threshold, largest) for threshold in exits.exit_thresholds))


def _require_finite(name: str, *logits: NDArray[np.float32]) -> None:
    if not all(np.isfinite(values).all() for values in logits):
        raise NonFiniteLogitsError(f"The arithmetic of {name} overflows: some texts have no score.")


def fitted_scale(outputs: dict[str, Outputs], evaluated: dict[str, Evaluated], with_offset: bool) -> ExitScale:
    """Return the calibration of a variant without early exits, fitted on the selection set."""
    logits = selection_rows({split: output.logits for split, output in outputs.items()})
    return fit_scale(selection_set_of(evaluated).targets, margins(logits), with_offset)


def measurements(
    name: str,
    outputs: dict[str, Outputs],
    scales: Sequence[ExitScale],
    evaluated: dict[str, Evaluated],
    reference_decision: ReferenceDecision,
) -> dict[str, Any]:
    """Return the quality of a variant's outputs and their comparison with torch, by the names of Variant's fields.

    Each exit has its own scale, so that one threshold fits the calibrated scores of all exits.
    """
    log_odds = {split: calibrated_log_odds(output, scales) for split, output in outputs.items()}
    return {
        "exit_scales": tuple(scales),
        "largest_score_change": {
            split: largest_score_change(rows.reference, outputs[split].logits) for split, rows in evaluated.items()
        },
        "mean_layers": {
            split: float(np.mean(output.layers)) for split, output in outputs.items() if output.layers is not None
        },
        **quality_by_split({split: rows.targets for split, rows in evaluated.items()}, log_odds),
        **reference_decision.compare(name, evaluated, log_odds),
    }


def quality_by_split(targets: dict[str, list[int]], log_odds: LogOddsBySplit) -> dict[str, Any]:
    """Return average precision, log loss and calibration error of each split from calibrated log-odds."""
    return {
        "average_precision": {split: average_precision(targets[split], values) for split, values in log_odds.items()},
        "log_loss": {split: log_loss(targets[split], values) for split, values in log_odds.items()},
        "calibration_error": {
            split: calibration_error(targets[split], probabilities(values)) for split, values in log_odds.items()
        },
    }


def time_variants(folder: Path, variants: dict[str, Variant], validation: Evaluated) -> Times:
    """Return the milliseconds of each variant for each of the sampled validation texts, [rounds, texts]."""
    stream = sample_stream(validation.token_ids, TIMED_TEXTS, seed=0)
    engines = {name: load_engine(folder / variant.file, variant) for name, variant in variants.items()}
    return time_interleaved({name: single(engine) for name, engine in engines.items()}, stream, TIMED_ROUNDS)


def judged(variants: dict[str, Variant], times: Times, config: TrainingConfig) -> dict[str, Variant]:
    """Return the variants with their speed on this machine and a verdict."""
    return {
        name: variant.model_copy(
            update={**milliseconds(times[name]), "verdict": verdict(variant, config, VARIANTS[name])}
        )
        for name, variant in variants.items()
    }


def milliseconds(times: NDArray[np.float64]) -> dict[str, float]:
    """Return median, minimum and maximum over the rounds of the mean time of a text, by the names of Variant's fields.

    Args:
        times: milliseconds, [rounds, texts].
    """
    means = times.mean(axis=1)
    values = {
        "milliseconds": np.median(means), "milliseconds_low": means.min(), "milliseconds_high": means.max(),
    }  # fmt: skip
    return {name: round(float(value), 3) for name, value in values.items()}


def variants_table(artifact: Artifact) -> pd.DataFrame:
    """Return the measurements of each variant on validation and test, as a table for people."""
    measures = (
        "accuracy", "average_precision", "log_loss", "calibration_error", "agreement", "largest_score_change",
        "mean_layers",
    )  # fmt: skip
    rows = {
        name: {
            f"{measure} ({split})": value for measure in measures for split, value in getattr(variant, measure).items()
        }
        | {
            "ms a text": variant.milliseconds,
            "fastest round": variant.milliseconds_low,
            "slowest round": variant.milliseconds_high,
        }
        for name, variant in artifact.manifest.variants.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").round(4).T


def served_log_odds(artifact: Artifact, evaluated: dict[str, Evaluated]) -> Served:
    """Return the log-odds of the default variant of `artifact` for each split, raw and calibrated."""
    name, variant = artifact.variant()
    return _log_odds(artifact.model_path(name), variant, artifact.manifest.exit_scales(name), evaluated)


def _log_odds(
    path: Path, variant: Variant, scales: Sequence[ExitScale], evaluated: dict[str, Evaluated]
) -> dict[str, LogOdds]:
    engine = load_engine(path, variant)
    return {name: LogOdds.of(run_on_all_cores(engine, split.token_ids), scales) for name, split in evaluated.items()}


def _made_from(fine_tuned: FineTuned, splits: Splits) -> list[str]:
    """Return everything that determines the measurements of the variants."""
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
