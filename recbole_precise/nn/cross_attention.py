"""One view of a sequence asks another view of the same sequence, position by position."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """Multi-head attention from one sequence to another (LLM-ESR, arXiv 2405.20646).

    The queries are of the one, the keys and values of the other.

    What comes out takes the place of the second sequence.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        if width % n_heads:
            raise ValueError(
                f"the width of an item vector ({width}) must be a multiple of n_heads ({n_heads})"
            )
        self.n_heads = n_heads
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, asking: Tensor, asked: Tensor, mask: Tensor, causal: bool) -> Tensor:
        """Attend from each row of `asking` to the same row of `asked`.

        Takes `asking, asked [batch, length, width]` of right-padded rows and bool `mask [batch,
        length]`; gives `[batch, length, width]`.

        With `causal` a position sees nothing of what comes later in the other view either; without
        it, no padding.
        """
        query, key, value = (
            layer(given).unflatten(2, (self.n_heads, -1)).transpose(1, 2)
            for layer, given in ((self.query, asking), (self.key, asked), (self.value, asked))
        )
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if causal else mask[:, None, None, :],
            is_causal=causal,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))
