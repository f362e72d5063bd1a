"""Which positions of a batch of sequences are trained, and on what."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class NextItems(NamedTuple):
    """Right-padded sequences and what follows each of their positions; all `[batch, longest]`."""

    item_seq: Tensor  #: int64, 0 where padded
    mask: Tensor  #: True at real positions
    targets: Tensor  #: int64, the next item at real positions, 0 elsewhere
    trained: Tensor  #: True at the positions that carry loss


def next_item_targets(
    item_seq: Tensor,
    lengths: Tensor,
    last_target: Tensor,
    supervised: Tensor | None = None,
    chosen: Tensor | None = None,
) -> NextItems:
    """Return the next-item targets of every position of right-padded sequences.

    Cut to the longest row (docs/methods.md 3).

    Args:
        item_seq: int64 `[batch, length]`, 0 where padded. lengths: int64 `[batch]`.
        last_target: int64 `[batch]`, the item after each row's last.
        supervised: int64 `[batch]`, number of a row's trailing positions that carry loss; None
            means the last alone, which is what RecBole's own rows (one per target) ask for.
        chosen: bool `[batch, length]`, the positions among them that carry loss; None: all.
    """
    longest = int(lengths.max())
    item_seq = item_seq[:, :longest]
    position = torch.arange(longest, device=item_seq.device)
    mask = position < lengths[:, None]
    targets = torch.cat([item_seq[:, 1:], item_seq.new_zeros(len(item_seq), 1)], 1)
    targets = targets.scatter(1, lengths[:, None] - 1, last_target[:, None])
    first = lengths - (1 if supervised is None else supervised)
    trained = mask & (position >= first[:, None])
    return NextItems(
        item_seq, mask, targets, trained if chosen is None else trained & chosen[:, :longest]
    )


def upcoming_items(targets: Tensor, horizon: int, decay: float) -> tuple[Tensor, Tensor]:
    """Return the next `horizon` items of every position, and the share of mass of each.

    The h-th item after a position weighs in proportion to `decay ** (h - 1)`; what would lie beyond
    the row's last target has no weight, and the weights of a position sum to 1.

    Args:
        targets: int64 `[batch, length]`, the next item of each position, 0 beyond a row's end.

    Returns: `(items, weights)` `[batch, length, horizon]` each; an item without weight is the
        position's next item.
    """
    later = [
        torch.nn.functional.pad(targets[:, step:], (0, min(step, targets.shape[1])))
        for step in range(horizon)
    ]
    items = torch.stack(later, 2)
    weights = decay ** torch.arange(horizon, dtype=torch.float32, device=targets.device) * (
        items > 0
    )
    weights = weights / weights.sum(2, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return torch.where(items > 0, items, targets[..., None]), weights


def later_targets(
    batch: NextItems, n_positions: int, n_targets: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw trained positions of each row, and for each some of the items after it.

    From torch's global generator.

    Args:
        n_positions: positions of a row, all where it has fewer. n_targets: drawn for each position,
            with repeats.

    Returns: int64 `(row, position, target)` `[n]` each.
    """
    order = torch.rand(batch.trained.shape, device=batch.trained.device).masked_fill(
        ~batch.trained, -1.0
    )
    chance, position = order.topk(min(n_positions, order.shape[1]), dim=1)
    row, place = (chance >= 0).nonzero(as_tuple=True)
    position = position[row, place].repeat_interleave(n_targets)
    row = row.repeat_interleave(n_targets)
    left = (
        batch.mask.sum(1)[row] - position
    )  # what comes after position p are the targets of p, p + 1, ...
    ahead = (torch.rand(len(row), device=row.device) * left).long().clamp_max(left - 1)
    return row, position, batch.targets[row, position + ahead]
