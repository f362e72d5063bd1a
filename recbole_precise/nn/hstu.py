"""HSTU: pointwise SiLU attention with relative position and time biases.

A gate takes the place of the feed-forward network.

Reference: Jiaqi Zhai et al. "Actions Speak Louder than Words: Trillion-Parameter Sequential
Transducers for Generative Recommendations." ICML 2024, arXiv 2402.17152, Sec. 3 and the authors'
public configurations of ML-1M and Amazon Books.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_precise.nn.dropout import Dropout
from recbole_precise.nn.scaled_input import ScaledInput, causal_mask, plain_norm, unpacked
from recbole_precise.nn.sequence_encoders import PackedEncoder

TIME_BUCKETS = 128
_LOG_STEP = 0.301  # a bucket is a factor of e^0.301 in time


def time_buckets(asked: Tensor, times: Tensor) -> Tensor:
    """int64 `[batch, length, length]`: `floor(ln(max(|asked_i - t_j|, 1)) / 0.301)`, at most 128.

    Args:
        asked: `[batch, length]` seconds, the time at which position i is asked. times: `[batch,
            length]` seconds of the events.
    """
    gap = (asked[:, :, None] - times[:, None, :]).abs().clamp_min(1)
    return (gap.double().log() / _LOG_STEP).long().clamp_max(TIME_BUCKETS)


class HSTULayer(nn.Module):
    """`x <- x + W_o dropout(U * LN(A V))`, an HSTU layer.

    `A_ij = SiLU(q_i . k_j + p[i - j] + tau[b(i, j)]) / N` for j <= i, else 0.

    U, V, Q, K are SiLU(LN(x) W), split; N is the longest length, a constant; p and tau are shared
    by the heads.

    Args:
        width: of the states. max_length: N. n_heads, query_size (of Q and K), value_size (of U and
            V): per head.
        timed: have the time bias tau.
    """

    def __init__(
        self,
        width: int,
        max_length: int,
        n_heads: int,
        query_size: int,
        value_size: int,
        dropout: float,
        timed: bool,
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.max_length = max_length
        self.sizes = [
            n_heads * value_size,
            n_heads * value_size,
            n_heads * query_size,
            n_heads * query_size,
        ]
        self.project = nn.Linear(width, sum(self.sizes), bias=False)
        self.out = nn.Linear(n_heads * value_size, width)
        self.position_bias = nn.Parameter(
            torch.empty(max_length).normal_(std=0.02)
        )  # by i - j: what comes later is never seen
        self.time_bias = (
            nn.Parameter(torch.empty(TIME_BUCKETS + 1).normal_(std=0.02)) if timed else None
        )
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.project.weight, std=0.02)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, packed: Tensor, mask: Tensor, buckets: Tensor | None) -> Tensor:
        """Encode `packed [positions, width]`; same shape back.

        Takes bool `mask [batch, length]` and `buckets [batch, length, length]`.
        """
        gate, value, query, key = F.silu(self.project(plain_norm(packed))).split(self.sizes, -1)
        query, key, value = (
            unpacked(part, mask).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for part in (query, key, value)
        )
        length = mask.shape[1]
        place = torch.arange(length, device=mask.device)
        bias = self.position_bias[(place[:, None] - place).clamp_min(0)]
        if self.time_bias is not None:
            bias = (bias + self.time_bias[buckets])[:, None]
        weights = F.silu(query @ key.transpose(-1, -2) + bias) / self.max_length
        # rows are padded on the right: under a causal mask no real position can see padding
        mixed = weights.masked_fill(~causal_mask(length, mask.device), 0.0) @ value
        return packed + self.out(
            self.dropout(gate * plain_norm(mixed.transpose(1, 2)[mask].flatten(1)))
        )


class HSTUEncoder(PackedEncoder):
    """`ScaledInput` and a stack of `HSTULayer`s, without a norm at the end (the score is a cosine).

    Args:
        timed: read `times` and `asked` beside the items; without, the relative position bias alone.
        The others as in `HSTULayer`.
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
        query_size: int,
        value_size: int,
        dropout: float,
        timed: bool,
    ) -> None:
        super().__init__()
        self.timed = timed
        self.input = ScaledInput(width, max_length, dropout)
        self.layers = nn.ModuleList(
            HSTULayer(width, max_length, n_heads, query_size, value_size, dropout, timed)
            for _ in range(n_layers)
        )

    def packed_states(self, item_vectors: Tensor, mask: Tensor, **context: Tensor) -> Tensor:
        """States of the real positions alone, row by row: `[positions, width]`.

        Args:
            context: `times`, `asked`: `[batch, at least length]`, see `time_buckets`; needed when
                `timed`.
        """
        packed = self.input(item_vectors, mask)
        buckets = None
        length = mask.shape[1]
        if self.timed:
            buckets = time_buckets(context["asked"][:, :length], context["times"][:, :length])
        for layer in self.layers:
            packed = layer(packed, mask, buckets)
        return packed
