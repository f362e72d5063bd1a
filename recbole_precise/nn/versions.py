"""When something that was computed from tensors has to be computed again."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def version_of(tensors: Iterable[Tensor]) -> tuple[tuple[torch.device, int], ...]:
    """Compute a key that changes with every change of a value in place.

    Such as a step of an optimizer or loaded weights, and with a move to another device.
    """
    return tuple((tensor.device, tensor._version) for tensor in tensors)
