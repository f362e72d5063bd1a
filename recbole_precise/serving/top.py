"""The best items of each row, exactly and in tiles: memory does not grow with the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from recbole_precise.evaluation.blocks import one_at_a_time
from recbole_precise.evaluation.ranking import DEFAULT_BUDGET, Excluded, VectorRanker, tile_shape
from recbole_precise.evaluation.top_lists import TopItems

_MANY = 1 << 30  # rows, more than a block ever has


@torch.no_grad()
def top_items(
    model: Any,
    batch: Any,
    k: int,
    *,
    allowed: Tensor,
    excluded: Excluded | None = None,
    budget_bytes: int = DEFAULT_BUDGET,
    alone: bool = True,
) -> TopItems:
    """Find the k best items of each row of a batch under any sequential model.

    Args:
        model: with `user_vectors`, `item_vectors` and perhaps `pair_bonus` and `item_bias` (see
            `rank_rows`), or with `full_sort_predict`.
        batch: what the model reads, field -> tensor.
        allowed: bool `[items]`, the candidates; item 0, the padding, never is one.
        excluded: (row, item) pairs that are no candidates.
        alone: compute each row by itself, so that its answer is the same to the last bit whatever
            other rows are asked about; slower for many rows.
    """
    model.eval()
    n_rows = len(batch) if not isinstance(batch, Mapping) else len(next(iter(batch.values())))
    if not (hasattr(model, "user_vectors") and hasattr(model, "item_vectors")):
        scores = _of_rows(model.full_sort_predict, batch, n_rows, len(allowed), alone)
        return _pick(scores.float().clone(), k, allowed, excluded)
    vectors = model.item_vectors()
    users = _of_rows(model.user_vectors, batch, n_rows, vectors.shape[1], alone)
    bias = getattr(model, "item_bias", None)
    ranker = VectorRanker(vectors, bias() if callable(bias) else bias, budget_bytes)
    users = users.to(device=ranker.device, dtype=ranker.dtype)
    n_items = len(ranker.items)
    allowed = allowed.to(ranker.device)
    found = TopItems(n_rows, k, ranker.device, ranker.dtype)
    bonus = getattr(model, "pair_bonus", lambda _: None)(batch)
    # A product of another shape may give other last bits: every block has as many rows.
    shape = (n_items, users.shape[1], ranker.dtype.itemsize, budget_bytes, ranker.device)
    rows, tile = tile_shape(_MANY, *shape)
    for low in range(0, n_rows, rows):
        size = min(rows, n_rows - low)
        block = users.new_zeros(rows, users.shape[1])
        block[:size] = users[low : low + size]
        part = TopItems(size, k, ranker.device, ranker.dtype)
        for start in range(0, n_items, tile):
            end = min(start + tile, n_items)
            scores = ranker.tile_scores(block, start, tile)[:size, : end - start]
            if bonus is not None:
                row, item, value = _inside(bonus, low, low + size, start, end)
                scores[row, item] += value.to(scores)
            if excluded is not None:
                row, item = _inside(excluded, low, low + size, start, end)
                scores[row, item] = -torch.inf
            scores[:, ~allowed[start:end]] = -torch.inf
            if start == 0:
                scores[:, 0] = -torch.inf
            part.add(scores, start)
        found.scores[low : low + rows] = part.scores
        found.items[low : low + rows] = part.items
    return found


def _of_rows(
    function: Callable[[Any], Tensor], batch: Any, n_rows: int, width: int, alone: bool
) -> Tensor:
    """Compute what a model makes of a batch, `[n_rows, width]`.

    `alone`: of each row by itself.
    """
    if not alone:
        return function(batch).reshape(n_rows, width)
    if not n_rows:
        return torch.zeros(0, width)
    rows = one_at_a_time(batch, n_rows)
    return torch.cat([function(pair).reshape(2, width)[:1] for _, pair in rows])


def _pick(scores: Tensor, k: int, allowed: Tensor, excluded: Excluded | None) -> TopItems:
    """Pick the best of scores `[rows, items]`, which are changed."""
    scores[:, ~allowed.to(scores.device)] = -torch.inf
    scores[:, 0] = -torch.inf
    if excluded is not None:
        row, item = (part.to(scores.device) for part in excluded)
        scores[row, item] = -torch.inf
    found = TopItems(len(scores), k, scores.device)
    found.add(scores, 0)
    return found


def _inside(
    pairs: tuple[Tensor, ...], low: int, high: int, start: int, end: int
) -> tuple[Tensor, ...]:
    """Select the pairs of rows low .. high - 1 and items start .. end - 1.

    Both are counted from there.
    """
    row, item, *more = pairs
    here = (row >= low) & (row < high) & (item >= start) & (item < end)
    return row[here] - low, item[here] - start, *(part[here] for part in more)
