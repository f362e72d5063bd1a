"""Item texts as one frozen vector each, behind a trained linear map: the plain way to bring text into an item's vector."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recbole_precise.nn.item_encoders import principal_projection


class TextVectors(nn.Module):
    """The mean of an item's token states, centred, never trained, through a linear map to `width`.

    The map begins as the projection on the principal directions, scaled so that its rows have the root mean square `std`;
    an item without text has a trained vector in its place.

    Args:
        pooled: float `[items, hidden]`, the mean token state of each item, zeros without text.
        has_text: bool `[items]`.
    """

    reads_text = True

    def __init__(self, pooled: np.ndarray, has_text: np.ndarray, *, width: int, std: float) -> None:
        super().__init__()
        self.width = width
        vectors, self.has_text = torch.from_numpy(np.asarray(pooled, dtype=np.float32)), torch.from_numpy(np.asarray(has_text, dtype=bool))
        some = vectors[self.has_text]
        self.mean = some.mean(0)
        # plain attributes, not buffers: neither saved with the weights nor broadcast at every step
        self.frozen = torch.where(self.has_text[:, None], vectors - self.mean, 0.0)
        direction = principal_projection(some, width)
        scale = std / ((some - self.mean) @ direction).pow(2).mean().sqrt().clamp_min(1e-12)
        self.adapter = nn.Linear(vectors.shape[1], width, bias=False)
        with torch.no_grad():
            self.adapter.weight.copy_(direction.t() * scale)
        self.no_text = nn.Parameter(torch.zeros(width))

    def rows(self, item_ids: Tensor | None) -> Tensor:
        """Text vectors of `item_ids [n]`, or of the whole catalogue for None: `[n, width]`."""
        device = self.no_text.device
        if self.frozen.device != device:
            self.frozen, self.has_text = self.frozen.to(device), self.has_text.to(device)
        frozen, has_text = (self.frozen, self.has_text) if item_ids is None else (self.frozen[item_ids], self.has_text[item_ids])
        return torch.where(has_text[:, None], self.adapter(frozen), self.no_text)

    def extend(self, states: np.ndarray, token_ids: np.ndarray, offsets: np.ndarray) -> Tensor:
        """Add items that were never trained, from their token states; see `TextEncoder.extend`."""
        lengths = torch.from_numpy(np.diff(np.asarray(offsets, dtype=np.int64)))
        owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        total = torch.zeros(len(lengths), self.frozen.shape[1]).index_add_(0, owner, torch.from_numpy(np.ascontiguousarray(states)).float())
        there = lengths > 0
        added = torch.where(there[:, None], total / lengths.clamp_min(1)[:, None] - self.mean, 0.0)
        self.frozen, self.has_text = torch.cat([self.frozen, added.to(self.frozen)]), torch.cat([self.has_text, there.to(self.has_text)])
        return there
