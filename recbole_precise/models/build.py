"""Building the model that settings name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from recbole_precise import registry
from recbole_precise.config.limits import built_with, check_against_data
from recbole_precise.models.text_tuning import going_on_with


def build_model(
    config: Any, dataset: Any, weights: Callable[[], Mapping[str, Any] | None]
) -> nn.Module:
    """Build the model of the settings over a training part, on its device.

    Args:
        weights: gives the weights that are about to be loaded, None where there are none; see
            `going_on_with`.

    Raises:
        ConfigError: settings that this data set, or this machine, has no room for.
    """
    # The settings in a .pth of RecBole are RecBole's own Config.
    entry = getattr(config, "entry", None) or registry.resolve(config["model"])
    check_against_data(config, dataset.item_num)
    of_recbole = entry.target.startswith("recbole.")
    with going_on_with(weights), built_with(entry.name, of_recbole=of_recbole):
        return registry.get_model(config["model"])(config, dataset).to(config["device"])
