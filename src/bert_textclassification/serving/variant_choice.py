"""Which variant this machine runs: the artifact's default, unless that was chosen for another kind of processor."""

import logging
import time

from bert_textclassification.artifact import PASSED, Artifact
from bert_textclassification.errors import EngineUnavailableError
from bert_textclassification.serving.engine import Engine, load_engine
from bert_textclassification.serving.native_engine import instructions

log = logging.getLogger(__name__)
BUDGET_S = 0.1  # for each variant
LENGTHS = (8, 16, 24, 48)


def variant_for_this_machine(artifact: Artifact, asked: str | None = None) -> str:
    """Return the name of the variant to run.

    The default was the fastest where the artifact was made. On a processor without the instructions that it relied on,
    every variant that keeps the accuracy is timed, in well under a second, and the fastest is taken.

    Args:
        artifact: the artifact.
        asked: the variant that somebody has named, which is not questioned.

    Raises:
        ArtifactError: there is no such variant, or one of the files is damaged.
    """
    name, variant = artifact.variant(asked)
    relied_on = artifact.manifest.made_on.get("instructions", "")
    if asked or variant.engine != "native" or relied_on in instructions():
        return name
    times = {other: found for other in keeping_accuracy(artifact) if (found := milliseconds(artifact, other))}
    fastest = min(times, key=lambda one: times[one])
    measured = ", ".join(f"{other} {found:.2f} ms" for other, found in times.items())
    log.warning(
        "The default variant %s was chosen for processors with %s, which this one or this installation lacks. Measured "
        "here: %s a text. Serving %s.", name, relied_on, measured, fastest
    )  # fmt: skip
    return fastest


def keeping_accuracy(artifact: Artifact) -> list[str]:
    """Return the variants that may be served without being named: FP32, and what passed the comparison with it."""
    return [name for name, variant in artifact.manifest.variants.items() if variant.verdict == PASSED]


def milliseconds(artifact: Artifact, name: str) -> float | None:
    """Return the time of a short text on this machine, or None if the variant cannot run here."""
    try:
        engine = load_engine(artifact.model_path(name), artifact.manifest.variants[name])
    except EngineUnavailableError:
        return None
    _pass(engine, artifact.manifest.max_length)  # warm up
    passes, started = 0, time.perf_counter()
    while time.perf_counter() - started < BUDGET_S:
        _pass(engine, artifact.manifest.max_length)
        passes += 1
    return 1000 * (time.perf_counter() - started) / passes / len(LENGTHS)


def _pass(engine: Engine, longest: int) -> None:
    for length in LENGTHS:
        engine.logits([[0] * min(length, longest)])
