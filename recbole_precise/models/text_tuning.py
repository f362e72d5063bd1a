"""The frozen text vectors that models read, as encoded or tuned on what is consumed together.

docs/methods.md 2.
"""

from __future__ import annotations

from dataclasses import fields
from logging import getLogger
from time import perf_counter
from typing import Any

import numpy as np
import torch

from recbole_precise.errors import ConfigError, DataError
from recbole_precise.models.base import SavedWeights, require
from recbole_precise.nn.text_adapter import TextAdapter, Tuning, nearby_pairs
from recbole_precise.nn.text_vectors import FrozenText
from recbole_precise.plugin.training_settings import processes_of

_NAME = "text_adapter"  # of the module in a model, and so of its tensors among saved weights


def is_tuned(config) -> bool:
    """Whether `text_tuning` asks for an adapter."""
    return config["text_tuning"] == "cooccurrence"


def text_vectors(
    model: Any, config, dataset, pooled: np.ndarray, scaled: bool = False
) -> FrozenText:
    """One frozen vector an item from the mean states `pooled [items, hidden]` of its text.

    With `text_tuning` through the adapter `model.text_adapter`, one for all that reads texts in the
    model, which is trained here unless there is one already or the model's `saved_weights` hold
    one. It sees the training sequences of the dataset's view alone.

    Raises DataError where training has no pair to learn from, ConfigError where the adapter's
    training diverges.
    """
    text = FrozenText(pooled, scaled)
    if is_tuned(config):
        if getattr(model, _NAME, None) is None:
            processes = processes_of(config)
            values = processes.first_does(
                lambda: _adapter(config, dataset, text, model.saved_weights).state_dict()
            )  # trained once, the same in all processes
            adapter = TextAdapter(text.hidden_size, len(values["bias"]))
            adapter.take(values)
            setattr(model, _NAME, adapter)
        text.tune(getattr(model, _NAME))
    return text


def tuning_of(config) -> Tuning:
    """Read the settings `text_tuning_*`; what is empty is the default's."""
    given = {field.name: config[f"text_tuning_{field.name}"] for field in fields(Tuning)}
    return Tuning(**{name: value for name, value in given.items() if value is not None})


def _adapter(config, dataset, text: FrozenText, saved_weights: SavedWeights | None) -> TextAdapter:
    """Return the saved adapter where there is one of this shape, else a trained one."""
    tuning = tuning_of(config)
    adapter = TextAdapter(text.hidden_size, tuning.width)
    weights = None if saved_weights is None else saved_weights()
    saved = {
        name.removeprefix(f"{_NAME}."): values
        for name, values in (weights or {}).items()
        if name.startswith(f"{_NAME}.")
    }
    if adapter.take(saved):
        return adapter
    begin = perf_counter()
    items, offsets, _ = (
        np.asarray(part) for part in require(dataset, "train_sequences", config["model"])()
    )
    pairs = nearby_pairs(items, offsets, text.has_text.numpy(), tuning.window)
    if not len(pairs.weight):
        raise DataError(
            f"text_tuning: no two different items with text stand within {tuning.window} places "
            "of each other in a training sequence of "
            f"{config['dataset']}, so there is nothing to learn from; leave text_tuning out."
        )
    try:
        with torch.autograd.set_detect_anomaly(
            False
        ):  # importing RecBole's models switches it on, and every step is slower for it
            first, last = adapter.fit(text.plain, pairs, tuning, config["seed"])
    except ValueError as error:
        raise ConfigError(
            f"text_tuning: {error} (text_tuning_learning_rate, text_tuning_temperature)."
        ) from error
    getLogger().info(
        f"Text vectors tuned on {len(pairs.weight):,} pairs of items that stand near each other "
        f"in training: loss {first:.3f} in the first steps, {last:.3f} in the last "
        f"of {tuning.steps}; {perf_counter() - begin:.1f} seconds."
    )
    return adapter
