"""Mixture of attention experts over the tokens of an item (PRECISE, Sec. IV-B), on ragged tokens.

Every expert is a weighted sum of an item's token vectors, so the chosen experts' sum is again one
weighted sum: the weights are mixed first and the tokens are summed once, whatever the number of
experts.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def segment_softmax(scores: Tensor, segment: Tensor, n_segments: int) -> Tensor:
    """Softmax of `scores [tokens, experts]` inside each segment.

    `segment` int64 `[tokens]` names each row's.
    """
    index = segment[:, None].expand_as(scores)
    top = scores.new_full((n_segments, scores.shape[1]), -torch.inf).scatter_reduce(
        0, index, scores.detach(), "amax"
    )
    weight = (scores - top[segment]).exp()
    total = weight.new_zeros((n_segments, scores.shape[1])).index_add(0, segment, weight)
    return weight / total[segment]


class TopKGate(nn.Module):
    """A gate that keeps an item's best `top_experts` experts.

    Scores all experts, takes the softmax over the kept ones, and gives all others exactly 0.

    Args:
        width: width of the gate's input. n_experts, top_experts: E and K of the paper.
        noise: standard deviation of Gaussian noise on the scores while training; the paper names
            none.
    """

    def __init__(self, width: int, n_experts: int, top_experts: int, noise: float = 0.0) -> None:
        super().__init__()
        if not 1 <= top_experts <= n_experts:
            raise ValueError(
                f"top_experts must be between 1 and n_experts ({n_experts}), not {top_experts}"
            )
        self.top_experts = top_experts
        self.noise = noise
        self.score = nn.Linear(width, n_experts, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Weigh the experts by `inputs [items, width]`: `[items, experts]`, rows sum to 1."""
        scores = self.score(inputs)
        if self.training and self.noise:
            scores = scores + self.noise * torch.randn_like(scores)
        kept, chosen = scores.topk(self.top_experts, dim=-1)
        return torch.zeros_like(scores).scatter(-1, chosen, kept.softmax(-1))


def weighted_sums(table: Tensor, token_index: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Sum weighted rows of a table item by item: `[items, width]`.

    The summands are `weights [tokens]` times the rows `token_index [tokens]` of `table [rows,
    width]`.
    """
    if table.requires_grad or not weights.requires_grad:
        return F.embedding_bag(
            token_index, table, offsets[:-1], mode="sum", per_sample_weights=weights
        )
    # embedding_bag of torch before 2.3 cannot differentiate the weights alone
    lengths = offsets[1:] - offsets[:-1]
    segment = torch.repeat_interleave(
        torch.arange(len(lengths), device=offsets.device), lengths, output_size=len(token_index)
    )
    return table.new_zeros(len(lengths), table.shape[1]).index_add(
        0, segment, table[token_index] * weights[:, None]
    )


class MeanPooling(nn.Module):
    """Mean of an item's token vectors: the variant PRECISE-Pool."""

    def forward(
        self, table: Tensor, token_index: Tensor, offsets: Tensor, like: Tensor | None = None
    ) -> Tensor:
        """As `ExpertPooling.forward`."""
        return F.embedding_bag(token_index, table, offsets[:-1], mode="mean")


class ExpertPooling(nn.Module):
    """Embedding Fusion's experts and gate: c_v = sum_k w_k(v) sum_j alpha_kj t_j.

    PRECISE Sec. IV-B; docs/methods.md 1, steps 3 to 5.

    alpha_k = softmax_j(q_k . W_k t_j / sqrt(d)); since only the product q_k W_k enters, it is one
    trainable vector per expert. The gate reads the mean of the item's tokens, so that unseen items
    are gated too.

    Args:
        width: width of the token vectors. n_experts, top_experts: E and K. noise: see `TopKGate`.
        value_projection: give each expert a value projection of its own (the paper names none).
    """

    def __init__(
        self,
        width: int,
        n_experts: int = 4,
        top_experts: int = 2,
        noise: float = 0.0,
        value_projection: bool = False,
    ) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(n_experts, width))
        self.gate = TopKGate(width, n_experts, top_experts, noise)
        self.value = (
            nn.Parameter(torch.eye(width).repeat(n_experts, 1, 1)) if value_projection else None
        )
        self.last_usage: Tensor | None = None

    def forward(
        self, table: Tensor, token_index: Tensor, offsets: Tensor, like: Tensor | None = None
    ) -> Tensor:
        """Pool each item's tokens into one vector.

        Args:
            table: `[rows, width]` token vectors.
            token_index: int64 `[tokens]` rows of `table`, item after item.
            offsets: int64 `[items + 1]` where each item's tokens begin.
            like: `[rows, width]` whose size sets the scale of the scores; default: the table.

        Returns:
            `[items, width]`; zeros for an item without tokens.
        """
        n_items = len(offsets) - 1
        lengths = offsets[1:] - offsets[:-1]
        segment = torch.repeat_interleave(
            torch.arange(n_items, device=offsets.device), lengths, output_size=len(token_index)
        )
        mean = F.embedding_bag(token_index, table, offsets[:-1], mode="mean")
        # the gate compares directions: without this its scores would be as small as the table's
        # initial values
        weights = self.gate(F.layer_norm(mean, mean.shape[-1:]))
        self.last_usage = (weights.detach() > 0).float().mean(0)
        scale = (table if like is None else like).detach().pow(2).mean().clamp_min(
            1e-12
        ).rsqrt() / math.sqrt(table.shape[1])
        scores = (table @ self.query.t()) * scale
        attention = segment_softmax(scores[token_index], segment, n_items)
        mixed = attention * weights[segment]
        if self.value is None:
            return weighted_sums(table, token_index, offsets, mixed.sum(1))
        pooled = [
            weighted_sums(table, token_index, offsets, mixed[:, k].contiguous())
            for k in range(mixed.shape[1])
        ]
        return torch.einsum("end,edf->nf", torch.stack(pooled), self.value)
