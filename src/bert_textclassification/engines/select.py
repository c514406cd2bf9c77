"""Select the engine of a variant."""

from pathlib import Path

from bert_textclassification.artifact.manifest import Variant
from bert_textclassification.engines.base import Engine


def load_engine(path: Path, variant: Variant, threads: int = 1) -> Engine:
    """Load the model file of a variant into its engine.

    Args:
        path: the model file.
        variant: its entry in the manifest.
        threads: cores that one call may use.

    Raises:
        ArtifactError: the engine cannot load the file.
        EngineUnavailableError: this installation lacks the engine.
    """
    if variant.engine == "native":
        from bert_textclassification.engines.native.engine import NativeEngine

        return NativeEngine(path, threads, exit_thresholds=variant.exit_margins)
    from bert_textclassification.engines.onnx import OnnxEngine  # its import alone takes 0.1 s

    return OnnxEngine(path, variant.batch_size, threads)
