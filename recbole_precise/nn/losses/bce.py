"""Binary cross entropy with uniform negatives, as in SASRec's own paper and in PAD's code."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_ROUNDS = 8


def bce_loss(positive: Tensor, negative: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Mean of `-log sigmoid(positive)` plus mean of `-log(1 - sigmoid(negative))`.

    Args:
        positive: scores of the targets `[n]`. negative: scores of negatives `[n, m]`.
        allowed: bool `[n, m]`, negatives that count; None: all.
    """
    fooled = F.softplus(negative)
    if allowed is None:
        return F.softplus(-positive).mean() + fooled.mean()
    return F.softplus(-positive).mean() + (fooled * allowed).sum() / allowed.sum().clamp_min(1)


def draw_unseen(
    shape: tuple[int, ...],
    n_items: int,
    forbidden: Callable[[Tensor], Tensor],
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Draw uniform items of the catalogue, again while they are forbidden.

    From torch's global generator. Args: n_items: rows of the catalogue, row 0 the padding;
    forbidden: int64 `shape` -> bool `shape`.

    Returns: (int64 `shape`, bool `shape`: what is still forbidden after some rounds, in a catalogue
        with hardly anything else).
    """
    drawn = torch.randint(1, n_items, shape, device=device)
    bad = forbidden(drawn)
    for _ in range(_ROUNDS):
        if not bad.any():
            break
        drawn = torch.where(bad, torch.randint(1, n_items, shape, device=device), drawn)
        bad = forbidden(drawn)
    return drawn, bad
