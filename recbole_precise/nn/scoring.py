"""How a state and an item vector become a score."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCORES = ("dot", "cosine")


class Score:
    """Dot product, or cosine over a temperature.

    The paper trains with the one and serves with the other (docs/methods.md 3).

    Both are inner products of the two prepared sides, so ranking and export need no special case.
    """

    def __init__(self, kind: str, temperature: float = 1.0) -> None:
        if kind not in SCORES:
            raise ValueError(f"score must be one of {SCORES}, not {kind!r}")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.kind = kind
        self.temperature = temperature

    def user(self, states: Tensor) -> Tensor:
        """`[..., width]` states, ready for an inner product with `item(...)`."""
        return (F.normalize(states, dim=-1) if self.kind == "cosine" else states) / self.temperature

    def item(self, vectors: Tensor) -> Tensor:
        """`[..., width]` item vectors, ready for an inner product with `user(...)`."""
        return F.normalize(vectors, dim=-1) if self.kind == "cosine" else vectors


class LearnedScale(nn.Module):
    """Cosine times a learned scale, as in CLIP and HLLM (arXiv 2409.12740).

    The scale is exp of a parameter, at most 100.

    Args:
        temperature: the scale begins at 1 / temperature.
    """

    kind = "cosine"

    def __init__(self, temperature: float) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def user(self, states: Tensor) -> Tensor:
        """As `Score.user`."""
        return F.normalize(states, dim=-1) * self.log_scale.clamp_max(math.log(100.0)).exp()

    def item(self, vectors: Tensor) -> Tensor:
        """As `Score.item`."""
        return F.normalize(vectors, dim=-1)
