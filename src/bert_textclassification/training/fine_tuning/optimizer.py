"""Learning rates by depth: low near the input, to keep what pretraining learned, and higher near the output.

The rate of each layer is `layerwise_lr_decay` times the rate of the layer above it (Howard and Ruder 2018). The
classification layers have the highest rate.
"""

import re
from typing import Any

import torch

from bert_textclassification.training.modeling.classifier import TextClassifier


def groups(model: TextClassifier, rate: float, weight_decay: float, layerwise_lr_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups for an optimizer; biases and norms have no weight decay, as in the Trainer.

    Args:
        model: the classifier.
        rate: learning rate of the classification layers.
        weight_decay: of the other parameters.
        layerwise_lr_decay: rate of a layer divided by the rate of the layer above.
    """
    num_layers = int(model.encoder.config.num_hidden_layers)
    parameter_groups: dict[tuple[int, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        decay = weight_decay if parameter.ndim > 1 else 0.0
        parameter_groups.setdefault((depth(name, num_layers), decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate * layerwise_lr_decay ** (num_layers + 1 - level), "weight_decay": decay}
        for (level, decay), parameters in parameter_groups.items()
    ]


def depth(name: str, num_layers: int) -> int:
    """Return the depth of a parameter: 0 for embeddings, 1 to `num_layers` for layers, one more for classification.

    The classification layers of early exits have the same depth as the last one: they are not pretrained.
    """
    if not name.startswith("encoder."):
        return num_layers + 1
    layer = re.search(r"\.layer\.(\d+)\.", name)
    return int(layer[1]) + 1 if layer else 0
