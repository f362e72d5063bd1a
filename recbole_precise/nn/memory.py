"""A memory of what followed what in training, added to scores with one learned weight.

docs/methods.md 6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import scipy.sparse as sp
import torch
from torch import Tensor, nn

from recbole_precise.nn.next_item import NextItems

if TYPE_CHECKING:
    from typing_extensions import Self

# what rounding leaves of a count that was taken away; the smallest real count is 1 / window
_NOTHING = 1e-4


class Recall(NamedTuple):
    """What the memory adds to single scores.

    `value[m]` is added to that of item `item[m]` at position `row[m]`.

    row, item: int64 `[n]`, sorted by both, no pair twice. value: `[n]`, with the gradient of the
        weight. n_rows, n_items: how many there are.
    """

    row: Tensor
    item: Tensor
    value: Tensor
    n_rows: int
    n_items: int

    def at(self, items: Tensor) -> Tensor:
        """Return the values for some items: `[n_rows, m]`, 0 for unknown pairs.

        `items`: int64 `[n_rows, m]`, or `[m]` at every position.
        """
        wanted = torch.arange(self.n_rows, device=items.device)[:, None] * self.n_items + items
        if not len(self.row):
            return self.value.new_zeros(wanted.shape)
        place, known = _find(self.row * self.n_items + self.item, wanted)
        return torch.where(known, self.value[place], 0.0)


class Memory(nn.Module):
    """`weight * log1p(c(a, b))` for item b after a history that ends in a.

    c: `sum over k <= window of n_k(a, b) / k`, n_k(a, b) being how often b came k places after a in
    a training sequence.

    In training a position must not find its own target in the counts, or the memory would seem to
        know everything: what the
    row itself shows from that position on is taken out of them (`before`), so that they are those
    that a test row would find. For a window of 1 this is exact; for a longer one what a row's
    sequence holds beyond the row's end stays in. The counts are those of one view of the scenes,
    and rows of another view take out what was counted there.

    Args:
        counts: float `[items, items]`, c(a, b) at (a, b). first: first value of the weight. window:
            that of the counts.
    """

    def __init__(self, counts: sp.csr_matrix, first: float, window: int) -> None:
        super().__init__()
        counts = counts.tocsr()
        counts.sort_indices()
        self.weight = nn.Parameter(torch.tensor(float(first)))
        self.window, self.n_items = window, counts.shape[0]
        # no buffers: counted again from the data, neither saved nor broadcast
        self.offsets, self.items = (
            torch.from_numpy(part.astype("int64")) for part in (counts.indptr, counts.indices)
        )
        self.counts = torch.from_numpy(counts.data.astype("float32"))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self.offsets = fn(self.offsets)
        self.items = fn(self.items)
        self.counts = fn(self.counts)
        return self

    def after(self, last: Tensor) -> Recall:
        """Recall what follows the items `last [n]`."""
        return self._recall(*self._followers(last), len(last))

    def before(self, batch: NextItems, row: Tensor, position: Tensor) -> Recall:
        """Recall what follows the items at `(row [n], position [n])` of a training batch.

        Without what those rows show from there on.
        """
        last = batch.item_seq[row, position]
        at, item, count = self._followers(last)
        again = (batch.item_seq[row] == last[:, None]) & (
            torch.arange(batch.item_seq.shape[1], device=last.device) >= position[:, None]
        )
        asked, place = again.nonzero(as_tuple=True)
        keys = at * self.n_items + item
        if not len(keys):
            return self._recall(at, item, count, len(last))
        for k in range(1, self.window + 1):
            inside = place + k - 1 < batch.targets.shape[1]
            own, where = asked[inside], place[inside] + k - 1
            found, known = _find(keys, own * self.n_items + batch.targets[row[own], where])
            count = count.index_add(
                0, found[known], torch.full_like(found[known], -1.0 / k, dtype=count.dtype)
            )
        return self._recall(at, item, torch.where(count > _NOTHING, count, 0.0), len(last))

    def extend(self, count: int) -> None:
        """Add `count` items that no training sequence holds."""
        self.offsets = torch.cat([self.offsets, self.offsets[-1:].expand(count)])
        self.n_items += count

    def _followers(self, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(which of `last`, item, count) of every known pair, in that order."""
        begin = self.offsets[last]
        lengths = self.offsets[last + 1] - begin
        at = torch.repeat_interleave(torch.arange(len(last), device=last.device), lengths)
        place = (
            torch.arange(len(at), device=last.device) + (begin - lengths.cumsum(0) + lengths)[at]
        )
        return at, self.items[place], self.counts[place]

    def _recall(self, at: Tensor, item: Tensor, count: Tensor, n_rows: int) -> Recall:
        return Recall(at, item, self.weight * torch.log1p(count), n_rows, self.n_items)


def _find(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """(place among the sorted `keys`, whether it is there) of each of `wanted`.

    There is at least one key.
    """
    place = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    return place, keys[place] == wanted
