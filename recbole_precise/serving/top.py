"""The best items of each row, exactly and in tiles: memory does not grow with the catalogue."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_precise.evaluation.ranking import DEFAULT_BUDGET, Excluded, VectorRanker, tile_shape
from recbole_precise.evaluation.top_lists import TopItems


@torch.no_grad()
def top_items(
    model: Any, batch: Any, k: int, *, allowed: Tensor, excluded: Excluded | None = None, budget_bytes: int = DEFAULT_BUDGET
) -> TopItems:
    """The k best items of each row of a batch under any sequential model.

    Args:
        model: with `user_vectors`, `item_vectors` and perhaps `pair_bonus` and `item_bias` (see `rank_rows`), or with `full_sort_predict`.
        batch: what the model reads, field -> tensor.
        allowed: bool `[items]`, the candidates; item 0, the padding, never is one.
        excluded: (row, item) pairs that are no candidates.
    """
    model.eval()
    if not (hasattr(model, "user_vectors") and hasattr(model, "item_vectors")):
        scores = model.full_sort_predict(batch)
        scores = scores.reshape(-1, len(allowed)).float().clone()
        return _pick(scores, k, allowed, excluded)
    users = model.user_vectors(batch)
    bias = getattr(model, "item_bias", None)
    ranker = VectorRanker(model.item_vectors(), bias() if callable(bias) else bias, budget_bytes)
    users = users.to(device=ranker.device, dtype=ranker.dtype)
    n_rows, n_items = len(users), len(ranker.items)
    allowed = allowed.to(ranker.device)
    found = TopItems(n_rows, k, ranker.device, ranker.dtype)
    bonus = getattr(model, "pair_bonus", lambda _: None)(batch)
    rows, tile = tile_shape(n_rows, n_items, users.shape[1], ranker.dtype.itemsize, budget_bytes, ranker.device)
    for low in range(0, n_rows, rows):
        block = users[low : low + rows].contiguous()
        part = TopItems(len(block), k, ranker.device, ranker.dtype)
        for start in range(0, n_items, tile):
            end = min(start + tile, n_items)
            scores = ranker.tile_scores(block, start, tile)[:, : end - start]
            if bonus is not None:
                row, item, value = _inside(bonus, low, low + len(block), start, end)
                scores[row, item] += value.to(scores)
            if excluded is not None:
                row, item = _inside(excluded, low, low + len(block), start, end)
                scores[row, item] = -torch.inf
            scores[:, ~allowed[start:end]] = -torch.inf
            if start == 0:
                scores[:, 0] = -torch.inf
            part.add(scores, start)
        found.scores[low : low + rows], found.items[low : low + rows] = part.scores, part.items
    return found


def _pick(scores: Tensor, k: int, allowed: Tensor, excluded: Excluded | None) -> TopItems:
    """The best of scores `[rows, items]`, which are changed."""
    scores[:, ~allowed.to(scores.device)] = -torch.inf
    scores[:, 0] = -torch.inf
    if excluded is not None:
        row, item = (part.to(scores.device) for part in excluded)
        scores[row, item] = -torch.inf
    found = TopItems(len(scores), k, scores.device)
    found.add(scores, 0)
    return found


def _inside(pairs: tuple[Tensor, ...], low: int, high: int, start: int, end: int) -> tuple[Tensor, ...]:
    """The pairs of rows low .. high - 1 and items start .. end - 1, both counted from there."""
    row, item, *more = pairs
    here = (row >= low) & (row < high) & (item >= start) & (item < end)
    return row[here] - low, item[here] - start, *(part[here] for part in more)
