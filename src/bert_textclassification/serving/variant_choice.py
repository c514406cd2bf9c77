"""Which variant this machine runs: the artifact's default, unless that was chosen for another kind of processor.

    python -m bert_textclassification.serving.variant_choice MODEL_DIR

prints its name. `container/serve` asks that once, in a process of its own, so that all workers serve the same.
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
BUDGET_S = 0.1  # for each variant
LENGTHS = (8, 16, 24, 48)
CLEARLY_FASTER = 1.1  # times as fast


def variant_for_this_machine(artifact: Artifact, asked: str | None = None) -> str:
    """Return the name of the variant to run.

    The default was the fastest on the kind of processor where the artifact was made. On another kind, or where its
    engine is not installed, every variant that keeps the accuracy is timed, in well under a second. The default stays
    unless another variant is clearly faster.

    Args:
        artifact: the artifact.
        asked: the variant that somebody has named: it is served, and other scores than those judged are told.

    Raises:
        ArtifactError: there is no such variant, or one of the files is damaged.
    """
    name, variant = artifact.variant(asked)
    reason = _reason_to_measure(artifact.manifest, variant)
    if reason is None:
        return name
    if asked:
        log.warning("%s Serving %s, as MODEL_VARIANT says.", reason, name)
        return name
    times = {other: found for other in keeping_accuracy(artifact) if (found := milliseconds(artifact, other))}
    fastest = min(times, key=lambda one: times[one])
    served = name if times.get(name, math.inf) <= CLEARLY_FASTER * times[fastest] else fastest
    measured = ", ".join(f"{other} {found:.2f} ms" for other, found in times.items())
    log.warning("%s Measured here: %s a text. Serving %s.", reason, measured, served)
    return served


def _reason_to_measure(manifest: Manifest, default: Variant) -> str | None:
    """Return why the speeds in the manifest do not hold here; None where they do, or it does not say whose they are."""
    if default.engine == "native" and not instructions():
        return "The native engine of the default variant is not compiled in this installation."
    made_on = processor.other_kind(manifest.measured_on)
    if made_on is None:
        return None
    return (
        f"Accuracy, scores and speed in the manifest were measured on a processor of the kind {made_on} and this "
        f"one is {processor.kind()}: scores may differ in rounding, so check the accuracy here on labelled texts."
    )


def keeping_accuracy(artifact: Artifact) -> list[str]:
    """Return the variants that may be served without being named: FP32, and what passed the comparison with it."""
    return [name for name, variant in artifact.manifest.variants.items() if variant.verdict == PASSED]


def milliseconds(artifact: Artifact, name: str) -> float | None:
    """Return the time of a short text on this machine, or None if the variant cannot run here.

    A variant with early exits is timed through all layers, and then counts for the share of them that validation took:
    where the texts of this measurement leave says nothing of real ones.
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
    fastest = min(passes)  # other processes can only add to the time
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
    """Print the name of the variant that this machine runs of the model in `model_dir`; return the exit status."""
    logging.config.dictConfig(configuration(stream="ext://sys.stderr"))
    try:
        print(variant_for_this_machine(Artifact.load(model_dir)))
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
