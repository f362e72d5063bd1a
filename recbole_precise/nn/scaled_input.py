"""What Meta's SASRec and HSTU share: their input, and LayerNorm without weights."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_precise.nn.dropout import Dropout

NORM_EPS = 1e-6


def plain_norm(inputs: Tensor) -> Tensor:
    """LayerNorm over the last dimension, without weights."""
    return F.layer_norm(inputs, inputs.shape[-1:], eps=NORM_EPS)


class ScaledInput(nn.Module):
    """`sqrt(width) * item + learned position`, and dropout, at the real positions alone."""

    def __init__(self, width: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.scale = math.sqrt(width)
        self.position = nn.Embedding(max_length, width)
        nn.init.normal_(self.position.weight, std=1 / self.scale)
        self.dropout = Dropout(dropout)

    def forward(self, item_vectors: Tensor, mask: Tensor) -> Tensor:
        """Scale and pack item vectors: `[positions, width]`, row by row.

        Takes `item_vectors [batch, length, width]` and bool `mask [batch, length]`.
        """
        position = self.position.weight[: mask.shape[1]].expand(mask.shape[0], -1, -1)
        return self.dropout(self.scale * item_vectors[mask] + position[mask])


def unpacked(packed: Tensor, mask: Tensor) -> Tensor:
    """Unpack `packed [positions, ...]` to `[batch, length, ...]`.

    Values are at the real positions of bool `mask [batch, length]`, zeros elsewhere.
    """
    padded = packed.new_zeros((*mask.shape, *packed.shape[1:]))
    return padded.index_put((mask,), packed)


def causal_mask(length: int, device: torch.device) -> Tensor:
    """Bool `[length, length]`, True where column j is no later than row i."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
