"""Measure and do a reload.

It has the share of exposed items that universal training has trained, and the mixing of weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn


def exposure_share(items: np.ndarray, trained: np.ndarray) -> dict[str, float | None]:
    """Return the share of a period's exposures whose item was trained.

    There is one by events and one by distinct items; None without events.

    Args:
        items: int64 `[events]` of the period. trained: bool `[catalogue]`.
    """
    if not len(items):
        return {"events": None, "items": None}
    return {
        "events": float(trained[items].mean()),
        "items": float(trained[np.unique(items)].mean()),
    }


def reload(model: nn.Module, universal: Mapping[str, Tensor], blend: float) -> list[str]:
    """Mix universal weights into a model, and return the names of the mixed parameters.

    Every parameter that both have becomes (1 - blend) theta + blend theta_universal.

    blend = 1 copies bit for bit. What `model` alone has (the MLP of targeted training) keeps its
    values.
    """
    shared = []
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in universal:
                continue
            if blend == 1:
                parameter.copy_(universal[name])
            else:
                parameter.mul_(1 - blend).add_(universal[name].to(parameter.device), alpha=blend)
            shared.append(name)
    return shared
