"""Renamed settings: the old names work until version 1.0, with a warning."""

import warnings
from collections.abc import Mapping
from typing import Any

from bert_textclassification.errors import ConfigurationError

RENAMED = {
    "layers": "num_layers",
    "layer_decay": "layerwise_lr_decay",
    "seeds": "num_seeds",
    "drop": "drop_issues",
    "threshold_for": "threshold_objective",
    "max_exit_loss": "early_exit_budget",
    "behaviours": "behavioral_tests",
}


def with_new_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` under their current names, in the same order.

    Raises:
        ConfigurationError: a setting is given under both names.

    Warns:
        FutureWarning: for each old name.
    """
    for old in settings:
        if (new := RENAMED.get(old)) in settings:
            raise ConfigurationError(f"{old} is the old name of {new}, and both are given; keep {new}.")
    return {current_name(name): value for name, value in settings.items()}


def current_name(name: str) -> str:
    """Return the current name of a setting.

    Warns:
        FutureWarning: `name` is an old name.
    """
    new = RENAMED.get(name)
    if new is None:
        return name
    warnings.warn(
        f"The setting {name} is now called {new}; the old name will be removed in 1.0.", FutureWarning, stacklevel=2
    )
    return new
