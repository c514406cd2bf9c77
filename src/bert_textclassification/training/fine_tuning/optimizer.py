"""Learning rates by depth: layers near the input hold what pretraining taught, those near the output must learn more.

Each layer's rate is `layerwise_lr_decay` times that of the layer above it (Howard and Ruder 2018); the classification
layers have the highest.
"""

import re
from typing import Any

import torch

from bert_textclassification.training.modeling.classifier import TextClassifier


def groups(model: TextClassifier, rate: float, weight_decay: float, layerwise_lr_decay: float) -> list[dict[str, Any]]:
    """Return the parameters of `model` for an optimizer; biases and norms have no weight decay, as the Trainer has it.

    Args:
        model: the classifier.
        rate: learning rate of the classification layers.
        weight_decay: of the other parameters.
        layerwise_lr_decay: a layer's rate as a share of that of the layer above.
    """
    deep = int(model.encoder.config.num_hidden_layers)
    found: dict[tuple[int, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        own_decay = weight_decay if parameter.ndim > 1 else 0.0
        found.setdefault((depth(name, deep), own_decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate * layerwise_lr_decay ** (deep + 1 - place), "weight_decay": own_decay}
        for (place, own_decay), parameters in found.items()
    ]


def depth(name: str, deep: int) -> int:
    """Return where a parameter is: 0 for embeddings, 1 to `deep` for layers, one more for classification layers.

    An early exit's classification layer is one of these: it has nothing from pretraining to hold.
    """
    if not name.startswith("encoder."):
        return deep + 1
    layer = re.search(r"\.layer\.(\d+)\.", name)
    return int(layer[1]) + 1 if layer else 0
