"""Bayesian personalised ranking, and the negatives of its pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bpr_loss(
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    forbidden: Tensor | None = None,
    bonus: Tensor | None = None,
) -> Tensor:
    """Compute BPR: `-log sigmoid(u . positive - u . negative)` (PRECISE Sec. IV-D).

    The mean over a row's pairs, then over rows.

    Args:
        users, positives: `[batch, width]`. negatives: `[batch, n, width]`.
        forbidden: bool `[batch, n]`, pairs that do not count; a row without any pair teaches
            nothing.
        bonus: `[batch, 1 + n]`, added to the scores of the positive and of the negatives.

    Returns: scalar.
    """
    gap = (users * positives).sum(-1, keepdim=True) - torch.einsum("bw,bnw->bn", users, negatives)
    if bonus is not None:
        gap = gap + bonus[:, :1] - bonus[:, 1:]
    loss = F.softplus(-gap)
    if forbidden is None:
        return loss.mean()
    allowed = (~forbidden).to(loss.dtype)
    return ((loss * allowed).sum(1) / allowed.sum(1).clamp_min(1)).mean()


def draw_pair_negatives(targets: Tensor, n: int, n_items: int) -> Tensor:
    """Draw negatives of each row: int64 `[batch, n]`.

    Half uniform, half targets of other rows (all uniform for n = 1).

    From torch's global generator. Args: targets: int64 `[batch]`; n_items: rows of the catalogue,
    row 0 the padding.
    """
    others = n // 2
    uniform = torch.randint(1, n_items, (len(targets), n - others), device=targets.device)
    return torch.cat(
        [
            uniform,
            targets[torch.randint(0, len(targets), (len(targets), others), device=targets.device)],
        ],
        1,
    )
