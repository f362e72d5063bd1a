"""Building the model that settings name."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from recbole_precise import registry
from recbole_precise.config.limits import built_with, check_against_data
from recbole_precise.models.base import SavedWeights


def build_model(config: Any, dataset: Any, weights: SavedWeights) -> nn.Module:
    """Build the model of the settings over a training part, on its device.

    Args:
        config: settings of the run.
        dataset: the training part.
        weights: gives the weights that are about to be loaded, None where there are none; a model
            that takes `saved_weights` gets them.

    Raises:
        ConfigError: settings that this data set, or this machine, has no room for.
    """
    # The settings in a .pth of RecBole are RecBole's own Config.
    entry = getattr(config, "entry", None) or registry.resolve(config["model"])
    check_against_data(config, dataset.item_num)
    model_class = entry.load()
    given = {"saved_weights": weights} if _takes_weights(model_class) else {}
    with built_with(entry.name, of_recbole=entry.target.startswith("recbole.")):
        model = model_class(config, dataset, **given).to(config["device"])
    if given:
        model.saved_weights = None  # a model is copied and sent about without the files of a run
    return model


def _takes_weights(model_class: type) -> bool:
    """Whether the constructor of a class, and of the classes that it hands on to, takes them."""
    for base in model_class.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        if "saved_weights" in parameters:
            return True
        if all(kind.kind is not inspect.Parameter.VAR_KEYWORD for kind in parameters.values()):
            return False
    return False
