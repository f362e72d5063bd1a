"""The best items of each row, tile by tile, and how often every item is among them.

Only the best `k` items of the rows at hand and a count per item and cut-off are kept: memory grows
neither with rows x items nor with the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


class TopItems:
    """The k best items so far of each row.

    Equal scores are in the order of the catalogue, whatever the tiles.

    Attributes:
        scores: `[rows, k]`, falling; -inf where there are fewer candidates. items: int64 `[rows,
            k]`.
    """

    def __init__(
        self, n_rows: int, k: int, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.scores = torch.full((n_rows, k), -torch.inf, device=device, dtype=dtype)
        self.items = torch.zeros(n_rows, k, device=device, dtype=torch.int64)

    def add(self, scores: Tensor, start: int) -> None:
        """Take in the scores `[rows, tile]` of the items from `start`.

        Tiles come in the order of the catalogue. -inf: no candidate.
        """
        if torch.isnan(scores).any():
            raise ValueError(
                "a score is NaN: the model has diverged, or one of its inputs is not finite"
            )
        k = self.scores.shape[1]
        value, place = _best(scores, k)
        value = torch.cat([self.scores, value], 1)
        items = torch.cat([self.items, place + start], 1)
        # What was there comes first and each side is in the catalogue's order among equals: a
        # stable sort keeps that.
        order = torch.sort(value, dim=1, descending=True, stable=True).indices[:, :k]
        self.scores = value.gather(1, order)
        self.items = items.gather(1, order)


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(values, places) `[rows, min(k, tile)]` of each row's best, in the order of their places.

    Of equal ones the first are taken.
    """
    if scores.shape[1] <= k:
        return scores, torch.arange(scores.shape[1], device=scores.device).expand(len(scores), -1)
    least = scores.topk(k, dim=1).values[:, -1:]
    above = scores > least
    equal = scores == least
    chosen = above | equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True))
    place = chosen.nonzero()[:, 1].view(len(scores), k)
    return scores.gather(1, place), place


def candidate_scores(
    scores: Tensor, masked: tuple[Tensor, Tensor], target: Tensor, missed: Tensor
) -> Tensor:
    """Copy a tile's scores, with everything but the candidates at -inf.

    Args:
        scores: `[rows, tile]`.
        masked: (row, place in the tile) of what does not count for the target's rank. The target
            itself is there too, but it can be recommended.
        target: int64 `[rows]`, each target's place in the tile; it may lie outside.
        missed: bool `[rows]`, rows whose target is no candidate.
    """
    kept = scores.clone()
    kept[masked] = -torch.inf
    row = torch.nonzero((target >= 0) & (target < scores.shape[1]) & ~missed).squeeze(1)
    kept[row, target[row]] = scores[row, target[row]]
    return kept


class ShownItems:
    """How often each item is in the top k of the evaluated rows.

    And how popular the items of these lists are.

    All counts are whole numbers, so that they are the same in whatever batches, and by however many
    processes, the rows are ranked. A row with fewer than k candidates has a list of all of them.

    Attributes:
        cuts: the cut-offs k.
        longest: items of the longest list, at most the number of items of the catalogue.
        count: int64 `[cuts, items]`, rows that have the item in their top k; column 0, the padding
            item, is 0.
        rows: int64 `[cuts, longest + 1]`, rows by the length of their list.
        popularity: int64 `[cuts, longest + 1]`, training events of the items of these lists,
            summed.
        tail: int64 `[cuts, longest + 1]`, items of the long tail in these lists.
    """

    def __init__(
        self, cuts: Iterable[int], train_counts: np.ndarray, tail_items: np.ndarray
    ) -> None:
        """Begin with no row.

        Args:
            cuts: cut-offs from 1 on.
            train_counts: int `[items]`, training events of each item; row 0 is the padding item.
            tail_items: bool `[items]`, the long tail.
        """
        self.cuts = list(dict.fromkeys(cuts))
        self.train_counts = np.asarray(train_counts, dtype=np.int64)
        self.tail_items = np.asarray(tail_items, dtype=bool)
        n_items = len(self.train_counts)
        if self.tail_items.shape != self.train_counts.shape:
            raise ValueError(
                f"{n_items} items need {n_items} marks of the tail, got {len(self.tail_items)}"
            )
        self.longest = max(1, min(max(self.cuts), n_items - 1))
        self.count = np.zeros((len(self.cuts), n_items), dtype=np.int64)
        by_length = (len(self.cuts), self.longest + 1)
        self.rows = np.zeros(by_length, dtype=np.int64)
        self.popularity = np.zeros(by_length, dtype=np.int64)
        self.tail = np.zeros(by_length, dtype=np.int64)

    def add(self, best: TopItems) -> None:
        """Count the lists of some rows."""
        items = best.items.cpu().numpy()
        real = (best.scores > -torch.inf).cpu().numpy()
        length = real.cumsum(1)
        popularity = np.where(real, self.train_counts[items], 0).cumsum(1)
        tail = (real & self.tail_items[items]).cumsum(1)
        for number, cut in enumerate(self.cuts):
            last = min(cut, items.shape[1]) - 1
            ids, times = np.unique(items[:, : last + 1][real[:, : last + 1]], return_counts=True)
            self.count[number, ids] += times
            np.add.at(self.rows[number], length[:, last], 1)
            np.add.at(self.popularity[number], length[:, last], popularity[:, last])
            np.add.at(self.tail[number], length[:, last], tail[:, last])

    def arrays(self) -> tuple[np.ndarray, ...]:
        """All counts; those of several processes add up."""
        return self.count, self.rows, self.popularity, self.tail

    def replace(self, arrays: Iterable[np.ndarray]) -> None:
        """Put other counts in the place of `arrays()`."""
        self.count, self.rows, self.popularity, self.tail = arrays
