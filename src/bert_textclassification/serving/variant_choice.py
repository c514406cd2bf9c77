"""Choose the variant for this machine: the artifact's default, unless it was measured on another kind of processor.

    python -m bert_textclassification.serving.variant_choice MODEL_DIR

prints its name. `container/serve` runs this once, in a separate process, so that all workers serve the same variant.
"""

import logging
import logging.config
import math
import sys
import time
from pathlib import Path

from bert_textclassification.artifact.manifest import PASSED, Manifest, Variant
from bert_textclassification.artifact.store import Artifact
from bert_textclassification.engines import processor
from bert_textclassification.engines.base import Engine
from bert_textclassification.engines.native.engine import instructions, read_architecture
from bert_textclassification.engines.select import load_engine
from bert_textclassification.errors import EngineUnavailableError, UserError
from bert_textclassification.serving.logs import configuration

log = logging.getLogger(__name__)
BUDGET_S = 0.1  # per variant
LENGTHS = (8, 16, 24, 48)
CLEARLY_FASTER = 1.1  # times as fast


def variant_for_this_machine(artifact: Artifact, requested: str | None = None) -> str:
    """Return the name of the variant to run.

    The default was the fastest on the kind of processor where the artifact was made. On another kind, or if its engine
    is not installed, every variant that keeps the accuracy is timed, in well under a second. The default is used unless
    another variant is clearly faster.

    Args:
        artifact: the artifact.
        requested: a variant to use without timing; a warning says if its scores may differ from the measured ones.

    Raises:
        ArtifactError: there is no such variant, or a file is damaged.
    """
    name, variant = artifact.variant(requested)
    reason = _reason_to_measure(artifact.manifest, variant)
    if reason is None:
        return name
    if requested:
        log.warning("%s Serving %s, as MODEL_VARIANT says.", reason, name)
        return name
    times = {other: time_ms for other in keeping_accuracy(artifact) if (time_ms := milliseconds(artifact, other))}
    fastest = min(times, key=lambda other: times[other])
    served = name if times.get(name, math.inf) <= CLEARLY_FASTER * times[fastest] else fastest
    measured = ", ".join(f"{other} {time_ms:.2f} ms" for other, time_ms in times.items())
    log.warning("%s Measured on this machine, per text: %s. Serving %s.", reason, measured, served)
    return served


def _reason_to_measure(manifest: Manifest, default: Variant) -> str | None:
    """Return why the speeds in the manifest do not apply here; None if they do or their processor is unknown."""
    if default.engine == "native" and not instructions():
        return "The native engine of the default variant is not compiled in this installation."
    made_on = processor.other_kind(manifest.measured_on)
    if made_on is None:
        return None
    return (
        f"Accuracy, scores and speed in the manifest were measured on a processor of the kind {made_on} and this "
        f"one is {processor.kind()}: rounding may change scores, so check the accuracy on labelled texts."
    )


def keeping_accuracy(artifact: Artifact) -> list[str]:
    """Return the variants that may be chosen automatically: FP32, and those that passed the comparison with it."""
    return [name for name, variant in artifact.manifest.variants.items() if variant.verdict == PASSED]


def milliseconds(artifact: Artifact, name: str) -> float | None:
    """Return the time of a short text on this machine, in ms; None if the variant cannot run here.

    A variant with early exits is timed through all layers, and the time is multiplied by the share of layers that ran
    in validation: the exits of the synthetic texts would not be representative.
    """
    path, variant = artifact.model_path(name), artifact.manifest.variants[name]
    try:
        engine = load_engine(path, variant.model_copy(update={"exit_margins": ()}))
    except EngineUnavailableError:
        return None
    longest = artifact.manifest.max_length
    _seconds(engine, longest)  # warm up
    passes = [_seconds(engine, longest)]
    end = time.perf_counter() + BUDGET_S
    while time.perf_counter() < end:
        passes.append(_seconds(engine, longest))
    fastest = min(passes)  # interference only adds time
    return 1000 * fastest / len(LENGTHS) * _share_of_layers(path, variant)


def _share_of_layers(path: Path, variant: Variant) -> float:
    layers = variant.mean_layers.get("validation")
    return 1.0 if layers is None else layers / read_architecture(path).num_hidden_layers


def _seconds(engine: Engine, longest: int) -> float:
    started = time.perf_counter()
    for length in LENGTHS:
        engine.logits([[0] * min(length, longest)])
    return time.perf_counter() - started


def main(model_dir: str) -> int:
    """Print the name of the variant of the model in `model_dir` for this machine; return the exit status."""
    logging.config.dictConfig(configuration(stream="ext://sys.stderr"))
    try:
        print(variant_for_this_machine(Artifact.load(model_dir)))
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
