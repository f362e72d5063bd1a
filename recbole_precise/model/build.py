"""Building the model that settings name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from recbole_precise import registry
from recbole_precise.model.text_tuning import going_on_with


def build_model(
    config: Any, dataset: Any, weights: Callable[[], Mapping[str, Any] | None]
) -> nn.Module:
    """The model of the settings over a training part, on its device.

    Args:
        weights: gives the weights that are about to be loaded, None where there are none; see
            `going_on_with`.
    """
    with going_on_with(weights):
        return registry.get_model(config["model"])(config, dataset).to(config["device"])
