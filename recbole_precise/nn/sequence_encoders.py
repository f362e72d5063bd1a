"""Sequence encoders: item vectors in time order to states.

Through PyTorch's scaled_dot_product_attention.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_precise.nn.dropout import Dropout

#: Between the two layers of a feed-forward network, by RecBole's names (`hidden_act`).
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class PackedEncoder(nn.Module):
    """Base of sequence encoders.

    They give `packed_states(item_vectors, mask, **context) -> [positions, width]`.

    `causal` is its claim: the state of a position depends on nothing that comes after it. `context`
    is what an encoder reads beside the items, such as times; most read nothing.
    """

    causal: bool
    #: It draws the first values of its weights itself; else the model draws them
    #: (`initializer_range`).
    draws_weights = False

    def packed_states(self, item_vectors: Tensor, mask: Tensor, **context: Tensor) -> Tensor:
        """States of the real positions alone, row by row: `[positions, width]`."""
        raise NotImplementedError

    def forward(self, item_vectors: Tensor, mask: Tensor, **context: Tensor) -> Tensor:
        """Encode every position: `[batch, length, width]`, zero where padded.

        Takes `item_vectors [batch, length, width]` and bool `mask [batch, length]` (right-padded).
        """
        packed = self.packed_states(item_vectors, mask, **context)
        states = packed.new_zeros((*mask.shape, packed.shape[-1]))
        states[mask] = packed
        return states

    def user_vector(self, item_vectors: Tensor, mask: Tensor, **context: Tensor) -> Tensor:
        """State of each row's last real position: `[batch, width]`."""
        packed = self.packed_states(item_vectors, mask, **context)
        return packed[mask.sum(1).cumsum(0) - 1]


class TransformerBlock(nn.Module):
    """Multi-head self-attention and a feed-forward network, each with a residual.

    LayerNorm comes before or after them.

    Everything but attention runs on the real positions alone, packed as `[positions, width]`.
    """

    def __init__(
        self,
        width: int,
        n_heads: int,
        inner_size: int,
        hidden_dropout: float,
        attn_dropout: float,
        norm_first: bool,
        eps: float = 1e-12,
        act: str = "gelu",
    ) -> None:
        super().__init__()
        if width % n_heads:
            raise ValueError(
                f"the width of an item vector ({width}) must be a multiple of n_heads ({n_heads})"
            )
        self.n_heads = n_heads
        self.norm_first = norm_first
        self.attn_dropout = attn_dropout
        self.act = ACTIVATIONS[act]
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.inner = nn.Linear(width, inner_size)
        self.outer = nn.Linear(inner_size, width)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.feed_forward_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(hidden_dropout)

    def attend(self, packed: Tensor, mask: Tensor, causal: bool) -> Tensor:
        """Attend inside each row: `packed [positions, width]`, bool `mask [batch, length]`."""
        batch, length = mask.shape
        qkv = self.qkv(packed)
        padded = qkv.new_zeros((batch, length, qkv.shape[-1]))
        padded[mask] = qkv
        query, key, value = padded.view(batch, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        # rows are padded on the right: under a causal mask no real position can see padding
        attn_mask = None if causal else mask[:, None, None, :]
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=attn_mask,
            is_causal=causal,
            dropout_p=self.attn_dropout if self.training else 0.0,
        )
        return self.dropout(self.out(mixed.transpose(1, 2)[mask].flatten(1)))

    def forward(self, packed: Tensor, mask: Tensor, causal: bool) -> Tensor:
        """Transform `packed [positions, width]`; same shape back.

        These are the real positions of bool `mask [batch, length]`, row by row.
        """
        if self.norm_first:
            packed = packed + self.attend(self.attention_norm(packed), mask, causal)
            hidden = self.outer(self.act(self.inner(self.feed_forward_norm(packed))))
            return packed + self.dropout(hidden)
        packed = self.attention_norm(packed + self.attend(packed, mask, causal))
        hidden = self.outer(self.act(self.inner(packed)))
        return self.feed_forward_norm(packed + self.dropout(hidden))


class Transformer(PackedEncoder):
    """Learned positions and a stack of `TransformerBlock`s.

    PRECISE Sec. IV-C: causal; Sec. IV-D: bidirectional.

    Args:
        width: width of item vectors and states. max_length: longest sequence.
        n_layers, n_heads, inner_size: as RecBole spells them.
        hidden_dropout, attn_dropout: on the input and every sublayer; on attention weights.
        causal: a position sees itself and what came before (True) or every real position (False).
        norm_first: LayerNorm before (True) or after (False, RecBole's SASRec) each sublayer.
        act: of the feed-forward network, one of `ACTIVATIONS`.
    """

    def __init__(
        self,
        width: int,
        max_length: int,
        *,
        n_layers: int = 2,
        n_heads: int = 2,
        inner_size: int = 256,
        hidden_dropout: float = 0.2,
        attn_dropout: float = 0.2,
        causal: bool = True,
        norm_first: bool = False,
        eps: float = 1e-12,
        act: str = "gelu",
    ) -> None:
        super().__init__()
        self.causal = causal
        self.max_length = max_length
        self.position = nn.Embedding(max_length, width)
        self.input_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(hidden_dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width, n_heads, inner_size, hidden_dropout, attn_dropout, norm_first, eps, act
            )
            for _ in range(n_layers)
        )
        self.output_norm = nn.LayerNorm(width, eps=eps) if norm_first else nn.Identity()

    def packed_states(self, item_vectors: Tensor, mask: Tensor, **context: Tensor) -> Tensor:
        """States of the real positions alone, row by row: `[positions, width]`."""
        position = self.position.weight[: mask.shape[1]].expand(mask.shape[0], -1, -1)
        packed = self.dropout(self.input_norm(item_vectors[mask] + position[mask]))
        for block in self.blocks:
            packed = block(packed, mask, self.causal)
        return self.output_norm(packed)


class Projected(PackedEncoder):
    """The states of another sequence encoder behind a linear map of their width."""

    def __init__(self, encoder: PackedEncoder, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.project = nn.Linear(width, width)
        self.causal = encoder.causal

    def packed_states(self, item_vectors: Tensor, mask: Tensor, **context: Tensor) -> Tensor:
        """States of the real positions alone, row by row: `[positions, width]`."""
        return self.project(self.encoder.packed_states(item_vectors, mask, **context))
