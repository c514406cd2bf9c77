"""From labelled texts to a BERT classifier that answers in milliseconds on a CPU.

    from bert_textclassification import Predictor
    Predictor.load("runs/demo/model").predict(["my card was charged twice and rent is due today"])

Importing the package imports neither torch nor onnxruntime: `Predictor` is loaded on first use.
"""

import os
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bert_textclassification.serving.predictor import Predictor

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime's telemetry is on by default

PROGRAM = "bert-textclassification"  # name of the command and of the distribution
try:
    __version__ = version(PROGRAM)
except PackageNotFoundError:  # run from the source tree without an installation
    __version__ = "0.dev0"
__all__ = ["PROGRAM", "Predictor", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Predictor":
        from bert_textclassification.serving.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
