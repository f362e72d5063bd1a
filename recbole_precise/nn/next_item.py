"""Which positions of a batch of sequences are trained, and on what."""

from __future__ import annotations

import torch
from torch import Tensor


def next_item_targets(item_seq: Tensor, lengths: Tensor, last_target: Tensor, supervised: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Next-item targets of every position of right-padded sequences (METHODS A.3).

    Args:
        item_seq: int64 `[batch, length]`, 0 where padded. lengths: int64 `[batch]`.
        last_target: int64 `[batch]`, the item after each row's last.
        supervised: int64 `[batch]`, number of a row's trailing positions that carry loss; None means the
            last alone, which is what RecBole's own rows (one per target) ask for.

    Returns:
        (item_seq, mask, targets, trained), each `[batch, longest]`, cut to the longest row of the batch:
        the sequences, True at real positions, the next item at real positions, True at trained positions.
    """
    longest = int(lengths.max())
    item_seq = item_seq[:, :longest]
    position = torch.arange(longest, device=item_seq.device)
    mask = position < lengths[:, None]
    targets = torch.cat([item_seq[:, 1:], item_seq.new_zeros(len(item_seq), 1)], 1)
    targets = targets.scatter(1, lengths[:, None] - 1, last_target[:, None])
    first = lengths - (1 if supervised is None else supervised)
    return item_seq, mask, targets, mask & (position >= first[:, None])
