"""Which items' vectors an alignment loss compares in a training step (docs/alignment.md)."""

from __future__ import annotations

import torch
from torch import Tensor

ALIGNMENT_ROWS = ("unique_real", "author")


def alignment_rows(
    items: Tensor, negatives: Tensor | None = None, rows: str = "unique_real"
) -> Tensor:
    """Item ids int64 `[n]` whose text and ID vectors are aligned in this step.

    * `unique_real`: every real item of the batch once, by rising id.
    * `author`: PAD's released code: every place of every sequence gives its item and then its
      negative, with repeats and padding. In its padded batches most rows are padding (69% on Prime
      Pantry), so that the loss compares mostly one constant text vector with one constant ID
      vector.

    Args:
        items: int64 `[batch, length]`, sequences with their last target, 0 for padding.
        negatives: int64 `[batch, length]`, the negative of each place; `author` also takes `[batch,
            length - 1]` (the first item is no target) and sets the released code's padding behind
            them. None: there are none.
        rows: one of `ALIGNMENT_ROWS`.

    Raises ValueError for another name or another shape of `negatives` with `author`.
    """
    if rows not in ALIGNMENT_ROWS:
        raise ValueError(f"mmd_rows must be one of {ALIGNMENT_ROWS}, not {rows!r}")
    if rows == "unique_real":
        every = (
            items.flatten()
            if negatives is None
            else torch.cat([items.flatten(), negatives.flatten()])
        )
        every = torch.unique(every)
        return every[every > 0]
    if negatives is None:
        return items.flatten()
    if negatives.dim() == 2 and negatives.shape == (len(items), items.shape[1] - 1):
        negatives = torch.cat([negatives, negatives.new_zeros(len(negatives), 1)], 1)
    if negatives.shape != items.shape:
        raise ValueError(
            f"author rows need one negative a place, {tuple(items.shape)} or one place less, not "
            f"{tuple(negatives.shape)}"
        )
    return torch.stack([items, negatives], -1).flatten()
