"""RecBole's batches on the device of a model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from recbole.data.interaction import Interaction


def to_device(device: torch.device) -> Callable[[Interaction], Interaction]:
    """Return a function that puts a batch on `device`.

    Copies to a GPU do not wait for it.
    """

    def move(batch: Interaction) -> Interaction:
        if device.type != "cuda":
            return batch.to(device)
        columns = batch.interaction.items()
        return Interaction(
            {name: column.pin_memory().to(device, non_blocking=True) for name, column in columns}
        )

    return move
