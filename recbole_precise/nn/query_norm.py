"""The block of the original SASRec (arXiv 1808.09781), which normalises the query alone.

As HSTU's authors run it beside HSTU.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from recbole_precise.nn.dropout import Dropout
from recbole_precise.nn.scaled_input import ScaledInput, plain_norm, unpacked
from recbole_precise.nn.sequence_encoders import PackedEncoder


class QueryNormBlock(nn.Module):
    """`q = LN(x).

    Y = q + MHA(q, x, x); z = LN(y); x <- z + FFN(z)`; LN has no weights, the FFN is Linear, ReLU,
    Linear.
    """

    def __init__(self, width: int, n_heads: int, inner_size: int, dropout: float) -> None:
        super().__init__()
        if width % n_heads:
            raise ValueError(
                f"the width of an item vector ({width}) must be a multiple of n_heads ({n_heads})"
            )
        self.n_heads = n_heads
        self.attn_dropout = dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.inner = nn.Linear(width, inner_size)
        self.outer = nn.Linear(inner_size, width)
        self.dropout = Dropout(dropout)
        for linear in (self.query, self.key_value, self.out, self.inner, self.outer):
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, packed: Tensor, mask: Tensor) -> Tensor:
        """`packed [positions, width]` of the real positions of bool `mask [batch, length]`.

        Same shape back.
        """
        normed = plain_norm(packed)
        query = unpacked(self.query(normed), mask).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        key, value = (
            unpacked(self.key_value(packed), mask)
            .unflatten(-1, (2, self.n_heads, -1))
            .permute(2, 0, 3, 1, 4)
        )
        # rows are padded on the right: under a causal mask no real position can see padding
        mixed = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, dropout_p=self.attn_dropout if self.training else 0.0
        )
        hidden = plain_norm(normed + self.out(mixed.transpose(1, 2)[mask].flatten(1)))
        return hidden + self.dropout(self.outer(self.dropout(F.relu(self.inner(hidden)))))


class QueryNormTransformer(PackedEncoder):
    """`ScaledInput` and a stack of `QueryNormBlock`s.

    Without a norm at the end (the score is a cosine).

    Args:
        width: of item vectors and states. max_length: longest sequence. inner_size: width of the
            FFN.
        dropout: on the input, attention weights and the FFN.
    """

    causal = True
    draws_weights = True

    def __init__(
        self,
        width: int,
        max_length: int,
        *,
        n_layers: int,
        n_heads: int,
        inner_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.input = ScaledInput(width, max_length, dropout)
        self.blocks = nn.ModuleList(
            QueryNormBlock(width, n_heads, inner_size, dropout) for _ in range(n_layers)
        )

    def packed_states(self, item_vectors: Tensor, mask: Tensor, **context: Tensor) -> Tensor:
        """States of the real positions alone, row by row: `[positions, width]`."""
        packed = self.input(item_vectors, mask)
        for block in self.blocks:
            packed = block(packed, mask)
        return packed
