"""Exact ranks of the targets among the whole catalogue.

In memory that does not grow with the catalogue.

The rank of a target is 1 + the number of other candidates that score at least as high: a tie counts
against the model, so that a constant score earns nothing. Item 0 is padding and no candidate;
excluded items are no candidates. Scores are made and counted tile by tile; no `[users, items]`
matrix and no sort is needed, because metrics of one target per row need its rank alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_precise.evaluation.blocks import block_rows, blocks, filled
from recbole_precise.evaluation.draws import own_draws, seed_block
from recbole_precise.evaluation.products import largest, nan_error, not_finite, product
from recbole_precise.evaluation.ranks import Ranks
from recbole_precise.evaluation.top_lists import ShownItems, TopItems, candidate_scores

#: (row [M], item [M]): item `item[m]` is no candidate in row `row[m]`; repeats are allowed.
Excluded = tuple[Tensor, Tensor]
#: (row [M], item [M], value [M]): `value[m]` is added to the score of item `item[m]` in row
#: `row[m]`; no pair stands twice.
Bonus = tuple[Tensor, Tensor, Tensor]

DEFAULT_BUDGET = 64 << 20
# A tile of scores is written by the product and read twice by the counting: on a CPU it must stay
# in the cache.
_CPU_TILE = (128, 1024)
_GPU_TILE = (128, 16384)


def rank_by_vectors(
    user_vectors: Tensor,
    item_vectors: Tensor,
    targets: Tensor,
    *,
    excluded: Excluded | None = None,
    item_bias: Tensor | None = None,
    budget_bytes: int = DEFAULT_BUDGET,
) -> Tensor:
    """Ranks under the score `user . item (+ bias of the item)`.

    Args:
        user_vectors: `[rows, d]`. item_vectors: `[items, d]`, row 0 the padding item.
        targets: int64 `[rows]`, items from 1.
        excluded: pairs that are no candidates. A target that is excluded itself gets the rank
            `items`: a miss.
        item_bias: `[items]`, added to the scores.
        budget_bytes: of work space; no rank depends on it.

    Returns:
        int64 `[rows]` on the device of `item_vectors`.
    """
    return VectorRanker(item_vectors, item_bias, budget_bytes).rank(user_vectors, targets, excluded)


class VectorRanker:
    """The catalogue of `rank_by_vectors`, checked and prepared once for many batches of users."""

    def __init__(
        self,
        item_vectors: Tensor,
        item_bias: Tensor | None = None,
        budget_bytes: int = DEFAULT_BUDGET,
    ) -> None:
        self.items = item_vectors = item_vectors.detach()
        self.dtype = torch.promote_types(item_vectors.dtype, torch.float32)
        self.device = item_vectors.device
        self.bias = (
            None
            if item_bias is None
            else item_bias.detach().to(device=self.device, dtype=self.dtype)
        )
        if self.bias is not None:
            if self.bias.shape != item_vectors.shape[:1]:
                raise ValueError(
                    f"{len(item_vectors)} items need {len(item_vectors)} biases, got "
                    f"{tuple(self.bias.shape)}"
                )
            # A bias of -inf rules an item out, which is sound.
            if torch.isnan(self.bias).any() or torch.isposinf(self.bias).any():
                raise not_finite("item biases")
        self.largest = largest(item_vectors, "item vectors")

    @torch.no_grad()
    def rank(
        self,
        user_vectors: Tensor,
        targets: Tensor,
        excluded: Excluded | None = None,
        bonus: Bonus | None = None,
        shown: ShownItems | None = None,
    ) -> Tensor:
        """Rank as `rank_by_vectors`.

        `bonus` is added to the scores of single pairs, and `shown` counts the rows' best items.

        The target's own score comes from a product of the same shape as every tile, so that an item
        with the target's very vector gets the same bits and counts as the tie that it is.
        """
        n_items, width = self.items.shape
        n_rows = len(user_vectors)
        device = self.device
        users = user_vectors.to(device=device, dtype=self.dtype)
        targets = _checked_targets(targets, n_rows, n_items, device)
        # Finite vectors make what is not finite only where a sum of products passes the largest
        # float.
        can_overflow = (
            not largest(users, "user vectors") * self.largest * width
            < torch.finfo(self.dtype).max / 4
        )
        pairs = _sorted_exclusions(excluded, n_rows, n_items, device)
        extra = None if bonus is None else _Extra(bonus, n_rows, n_items, self.dtype, device)
        rows, tile = _product_shape(n_items, width, self.dtype.itemsize, device)
        ranks = torch.empty(n_rows, dtype=torch.int64, device=device)
        wanted = torch.zeros(tile, width, dtype=self.dtype, device=device)
        for lo in range(0, n_rows, rows):
            target = targets[lo : lo + rows]
            size = len(target)
            block = users.new_zeros(rows, width)
            block[:size] = users[lo : lo + rows]
            wanted[:size] = self.items[target]
            own = product(block, wanted).diagonal()[:size, None].clone()
            if self.bias is not None:
                own += self.bias[target][:, None]
            if extra is not None:
                own += extra.enter(lo, target, tile)[:, None]
            mask_row, mask_item, bounds, missed = _non_candidates(pairs, target, lo, tile, n_items)
            at_least = torch.zeros(size, dtype=torch.float64, device=device)
            best = None if shown is None else TopItems(size, shown.longest, device, self.dtype)
            for number, start in enumerate(range(0, n_items, tile)):
                scores = self.tile_scores(block, start, tile)[:size]
                if extra is not None:
                    extra.add_to(scores, number, start)
                if can_overflow and self._overflowed(scores, start):
                    raise nan_error()
                span = slice(bounds[number], bounds[number + 1])
                masked = mask_row[span], mask_item[span] - start
                if best is not None:
                    best.add(
                        candidate_scores(
                            scores[:, : n_items - start], masked, target - start, missed
                        ),
                        start,
                    )
                # A comparison with NaN is false, even where `own` is -inf: the one value that never
                # counts.
                scores[:, n_items - start :] = torch.nan
                scores[masked] = torch.nan
                # Comparing in place to 0.0 and 1.0 and adding floats is many times faster than
                # through a boolean tensor.
                at_least += torch.sum(scores.ge_(own), dim=1)
            ranks[lo : lo + size] = torch.where(missed, n_items, at_least.long() + 1)
            if shown is not None and best is not None:
                shown.add(best)
        return ranks

    def _overflowed(self, scores: Tensor, start: int) -> bool:
        """Whether a score of the items from `start` is not finite though its bias is."""
        scores = scores[:, : len(self.items) - start]
        wrong = ~torch.isfinite(scores)
        if self.bias is not None:
            wrong &= torch.isfinite(self.bias[start : start + scores.shape[1]])
        return bool(wrong.any())

    def tile_scores(self, block: Tensor, start: int, tile: int) -> Tensor:
        """Scores `[block, tile]` of the items from `start`.

        Those past the catalogue's end are scores of nothing.
        """
        items = self.items[start : start + tile].to(self.dtype)
        here = len(items)
        if here < tile:
            items = torch.cat([items, items.new_zeros(tile - here, items.shape[1])])
        scores = product(block, items.contiguous())
        if self.bias is not None:
            scores[:, :here] += self.bias[start : start + here]
        return scores


class _Extra:
    """A bonus, brought to the tiles: rows in blocks, items in order inside a block."""

    def __init__(
        self, bonus: Bonus, n_rows: int, n_items: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        row, item, value = bonus
        value = value.to(device=device, dtype=dtype)
        if value.shape != row.shape or not torch.isfinite(value).all():
            raise ValueError(f"a bonus needs a finite value for each of its {len(row)} pairs")
        self.row, self.item, order = _sorted_pairs((row, item), n_rows, n_items, device)
        self.value = value[order]
        self.n_items = n_items

    def enter(self, lo: int, target: Tensor, tile: int) -> Tensor:
        """Turn to the block of rows from `lo`; returns the bonus of each row's target `[rows]`."""
        device = target.device
        first, last = torch.searchsorted(
            self.row, torch.tensor([lo, lo + len(target)], device=device)
        ).tolist()
        row = self.row[first:last] - lo
        item = self.item[first:last]
        value = self.value[first:last]
        own = torch.zeros(len(target), dtype=value.dtype, device=device)
        hit = item == target[row]
        own[row[hit]] = value[hit]
        item, order = torch.sort(item)
        self.block = row[order], item, value[order]
        self.bounds = torch.searchsorted(
            item, torch.arange(0, self.n_items + tile, tile, device=device)
        ).tolist()
        return own

    def add_to(self, scores: Tensor, number: int, start: int) -> None:
        """Add the part of tile `number`, whose first item is `start`."""
        span = slice(self.bounds[number], self.bounds[number + 1])
        row, item, value = (part[span] for part in self.block)
        scores[row, item - start] += value


@torch.no_grad()
def rank_by_scores(
    scores: Tensor,
    targets: Tensor,
    *,
    excluded: Excluded | None = None,
    budget_bytes: int = DEFAULT_BUDGET,
    shown: ShownItems | None = None,
) -> Tensor:
    """Ranks from scores that somebody else made.

    Args:
        scores: `[rows, items]`, left as they are; column 0, the padding item, is ignored.
        targets, excluded: as in `rank_by_vectors`.
        budget_bytes: of the copies that are counted; no rank depends on it.
        shown: counts the rows' best items.

    Returns:
        int64 `[rows]` on the device of `scores`.
    """
    n_rows, n_items = scores.shape
    device = scores.device
    targets = _checked_targets(targets, n_rows, n_items, device)
    pairs = _sorted_exclusions(excluded, n_rows, n_items, device)
    rows = min(block_rows(), max(n_rows, 1))
    tile = max(64, min(n_items, budget_bytes // (8 * rows)))
    ranks = torch.empty(n_rows, dtype=torch.int64, device=device)
    for lo in range(0, n_rows, rows):
        block = scores[lo : lo + rows]
        target = targets[lo : lo + rows]
        own = block.gather(1, target[:, None])
        if own.dtype not in (torch.float32, torch.float64):
            own = own.to(torch.float64)
        mask_row, mask_item, bounds, missed = _non_candidates(pairs, target, lo, tile, n_items)
        at_least = torch.zeros(len(block), dtype=torch.float64, device=device)
        best = None if shown is None else TopItems(len(block), shown.longest, device, own.dtype)
        for number, start in enumerate(range(0, n_items, tile)):
            part = torch.empty(
                len(block), min(tile, n_items - start), dtype=own.dtype, device=device
            )
            part.copy_(block[:, start : start + tile])
            # The sum is cheap and finite unless something is not; only then is the culprit looked
            # for.
            if not torch.isfinite(part.sum()) and torch.isnan(part[:, int(start == 0) :]).any():
                raise nan_error()
            span = slice(bounds[number], bounds[number + 1])
            masked = mask_row[span], mask_item[span] - start
            if best is not None:
                best.add(candidate_scores(part, masked, target - start, missed), start)
            part[masked] = torch.nan
            at_least += part.ge_(own).sum(1)
        ranks[lo : lo + len(block)] = torch.where(missed, n_items, at_least.long() + 1)
        if shown is not None and best is not None:
            shown.add(best)
    return ranks


#: Rows lo .. hi - 1 -> what the model reads, their targets int64 [hi - lo], and the excluded pairs
#: (row from 0) or None.
Batches = Callable[[int, int], tuple[Any, Tensor, Excluded | None]]


@torch.no_grad()
def rank_rows(
    model: Any,
    user_ids: Any,
    batches: Batches,
    *,
    n_items: int | None = None,
    budget_bytes: int = DEFAULT_BUDGET,
    score: Callable[[Any], Tensor] | None = None,
    progress: Callable[[int], object] | None = None,
    share: tuple[int, int] = (0, 1),
    seed: int = 0,
    rows: int | None = None,
    shown: ShownItems | None = None,
) -> Ranks:
    """Rank the targets of all rows under any model, in blocks of rows that no setting changes.

    A model with `user_vectors(interaction) -> [B, d]` and `item_vectors() -> [items, d]` (and
    perhaps `item_bias`, a tensor or a method that gives one, `[items]`, and
    `pair_bonus(interaction)`, a Bonus or None) has its items encoded once. Any other is asked for
    `full_sort_predict(interaction) -> [B, items]`. Every generator of random numbers is left as it
    was found.

    Args:
        model: put into eval mode meanwhile.
        user_ids: `[rows]`, kept in the result.
        batches: gives the rows lo .. hi - 1; the model gets them filled up to a whole block.
        n_items: items of the catalogue, padding included; by default the model's `n_items`.
        budget_bytes: of work space beside a block of scores; it changes no rank.
        score: used instead of the model's own methods; interaction -> `[B, items]`. progress:
            called with the rows done after each block.
        share: (i, n): only every n-th block, from block i; rank and target of other rows are 0.
            Blocks, and so bits, are those of (0, 1).
        seed: what `batches` and the model draw follows from it and from the number of the block.
        rows: of a block; by default `block_rows`.
        shown: counts the best items of the rows that are ranked here, from the scores that rank
            them.
    """
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    try:
        with own_draws():
            seed_block(seed, 0)
            user_ids = np.asarray(user_ids)
            rank_block: Callable[[Any, int, Tensor, Excluded | None], Tensor]
            if score is None and hasattr(model, "user_vectors") and hasattr(model, "item_vectors"):
                rows = rows or block_rows(None)
                rank_block = _by_vectors(model, budget_bytes, shown)
            else:
                n_items = n_items or int(model.n_items)
                rows = rows or block_rows(n_items)
                rank_block = _by_scores(model, score, rows, n_items, budget_bytes, shown)
            ranks = np.zeros(len(user_ids), np.int64)
            targets = np.zeros(len(user_ids), np.int64)
            for number, lo, hi in blocks(len(user_ids), rows):
                if number % share[1] != share[0]:
                    continue
                seed_block(seed, number)
                interaction, target, excluded = batches(lo, hi)
                interaction = filled(interaction, hi - lo, rows)
                rank = rank_block(interaction, hi - lo, target, excluded)
                ranks[lo:hi] = rank.cpu().numpy()
                targets[lo:hi] = target.cpu().numpy()
                if progress is not None:
                    progress(hi - lo)
            return Ranks(user_ids, targets, ranks)
    finally:
        if was_training:
            model.train()


def _by_vectors(
    model: Any, budget_bytes: int, shown: ShownItems | None
) -> Callable[[Any, int, Tensor, Excluded | None], Tensor]:
    """Encode the items once; returns what ranks the first rows of a block by vectors."""
    bias = getattr(model, "item_bias", None)
    bias = bias() if callable(bias) else bias
    ranker = VectorRanker(model.item_vectors(), bias, budget_bytes)
    pair_bonus = getattr(model, "pair_bonus", lambda _: None)

    def rank_block(
        interaction: Any, size: int, target: Tensor, excluded: Excluded | None
    ) -> Tensor:
        bonus = _rows_before(size, pair_bonus(interaction))
        users = model.user_vectors(interaction)[:size]
        return ranker.rank(users, target, excluded, bonus, shown)

    return rank_block


def _by_scores(
    model: Any,
    score: Callable[[Any], Tensor] | None,
    rows: int,
    n_items: int,
    budget_bytes: int,
    shown: ShownItems | None,
) -> Callable[[Any, int, Tensor, Excluded | None], Tensor]:
    """Return what ranks the first rows of a block of `rows` by scores of all items."""
    make_scores = score or model.full_sort_predict

    def rank_block(
        interaction: Any, size: int, target: Tensor, excluded: Excluded | None
    ) -> Tensor:
        scores = make_scores(interaction)
        if scores.numel() != rows * n_items:
            raise ValueError(
                f"{type(model).__name__} gave scores of shape {tuple(scores.shape)} "
                f"for {rows} rows and {n_items} items; "
                "one score for every row and item is needed."
            )
        return rank_by_scores(
            scores.view(rows, n_items)[:size],
            target,
            excluded=excluded,
            budget_bytes=budget_bytes,
            shown=shown,
        )

    return rank_block


def _rows_before(size: int, bonus: Bonus | None) -> Bonus | None:
    """Keep the part of a bonus that is of the first `size` rows."""
    if bonus is None:
        return None
    row, item, value = bonus
    here = row < size
    return row[here], item[here], value[here]


def tile_shape(
    n_rows: int, n_items: int, width: int, itemsize: int, budget: int, device: torch.device
) -> tuple[int, int]:
    """Return (rows of a block, items of a tile) of the products, whatever the `budget`.

    Another shape could give other last bits.
    """
    rows, tile = _product_shape(n_items, width, itemsize, device)
    return min(rows, max(n_rows, 1)), tile


def _product_shape(
    n_items: int, width: int, itemsize: int, device: torch.device
) -> tuple[int, int]:
    """As `tile_shape`, for blocks that are filled up to whole ones."""
    rows, tile = _CPU_TILE if device.type == "cpu" else _GPU_TILE
    while rows > 16 and rows * tile * itemsize + 3 * tile * width * itemsize > DEFAULT_BUDGET:
        rows = rows // 2
        tile = max(rows, tile // 2)
    # Multiples of 64 keep every column of every tile in the same inner loop of the product.
    tile = min(tile, max(64, -(-n_items // 64) * 64))
    return min(rows, tile), tile


def _sorted_exclusions(
    excluded: Excluded | None, n_rows: int, n_items: int, device: torch.device
) -> Excluded | None:
    """Check the excluded pairs and sort them by row."""
    if excluded is None:
        return None
    row, item, _ = _sorted_pairs(excluded, n_rows, n_items, device)
    return row, item


def _sorted_pairs(
    pairs: Excluded, n_rows: int, n_items: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Check pairs and sort them by row; returns row, item, and the order in which they stood."""
    row, item = (torch.as_tensor(x, device=device).long() for x in pairs)
    if row.shape != item.shape or row.ndim != 1:
        raise ValueError(
            f"excluded needs two vectors of one length, got {tuple(row.shape)} and "
            f"{tuple(item.shape)}"
        )
    for name, x, n in (("row", row, n_rows), ("item", item, n_items)):
        if len(x) and (int(x.min()) < 0 or int(x.max()) >= n):
            raise ValueError(f"an excluded {name} lies outside 0 .. {n - 1}")
    order = torch.argsort(row, stable=True)
    return row[order], item[order], order


def _non_candidates(
    pairs: Excluded | None, target: Tensor, lo: int, tile: int, n_items: int
) -> tuple[Tensor, Tensor, list[int], Tensor]:
    """Collect what does not count in the block of rows from `lo`.

    Its excluded pairs, its targets, and the padding item.

    Returns:
        (row in the block, item), both sorted by item; the bounds of each tile's part; bool
        `[rows]`: the target is excluded.
    """
    device = target.device
    size = len(target)
    rows = torch.arange(size, device=device)
    missed = torch.zeros(size, dtype=torch.bool, device=device)
    row = torch.cat([rows, rows])
    item = torch.cat([target, torch.zeros_like(target)])
    if pairs is not None:
        first, last = torch.searchsorted(
            pairs[0], torch.tensor([lo, lo + size], device=device)
        ).tolist()
        own_row = pairs[0][first:last] - lo
        own_item = pairs[1][first:last]
        missed[own_row[own_item == target[own_row]]] = True
        row = torch.cat([row, own_row])
        item = torch.cat([item, own_item])
    item, order = torch.sort(item)
    edges = torch.arange(0, n_items + tile, tile, device=device)
    return row[order], item, torch.searchsorted(item, edges).tolist(), missed


def _checked_targets(targets: Tensor, n_rows: int, n_items: int, device: torch.device) -> Tensor:
    targets = torch.as_tensor(targets, device=device).long()
    if targets.shape != (n_rows,):
        raise ValueError(f"{n_rows} rows need {n_rows} targets, got {tuple(targets.shape)}")
    if n_rows and (int(targets.min()) < 1 or int(targets.max()) >= n_items):
        raise ValueError(
            f"a target lies outside 1 .. {n_items - 1}: item 0 is padding and the catalogue has "
            f"{n_items} rows"
        )
    return targets
