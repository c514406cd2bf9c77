"""The metrics that a training job prints, one `name=value` per line, and the regular expressions that parse them.

train_loss, eval_loss, eval_accuracy, ...     during training: of the torch model, on validation
validation_accuracy, ..., test_accuracy, ...  at the end: of the served variant of the artifact
"""

from collections.abc import Mapping

from bert_textclassification.artifact.manifest import Manifest
from bert_textclassification.training.evaluation.metric_names import METRICS

_WHILE_TRAINING = {"loss": "train_loss", "eval_loss": "eval_loss"} | {
    f"eval_{name}": f"eval_{name}" for name in METRICS
}
NAMES = (*_WHILE_TRAINING.values(), *(f"{split}_{name}" for split in ("validation", "test") for name in METRICS))


def metric_line(name: str, value: float) -> str:
    """Return the line of one metric."""
    return f"{name}={value:.6f}"


def metric_definitions() -> list[dict[str, str]]:
    """Return every name with its regular expression, in the format of SageMaker's `MetricDefinitions`."""
    return [{"Name": name, "Regex": rf"\b{name}=([-+.0-9eE]+)"} for name in NAMES]


def print_metrics(manifest: Manifest) -> None:
    """Print the metrics of the finished artifact."""
    for split, metrics in manifest.metrics.items():
        for name, metric in metrics.items():
            print(metric_line(f"{split}_{name}", metric["value"]), flush=True)


def print_logged(logs: Mapping[str, float]) -> None:
    """Print the metrics among the values that the Trainer logs."""
    for name in _WHILE_TRAINING.keys() & logs.keys():
        print(metric_line(_WHILE_TRAINING[name], logs[name]), flush=True)
