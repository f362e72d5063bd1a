"""The nearest rows of each row by cosine, exactly and in tiles."""

from __future__ import annotations

import numpy as np
import torch

from recbole_precise.evaluation.floors import unit_rows

_TILE_BYTES = 64 << 20  # of one tile of cosines


def nearest(
    vectors: np.ndarray,
    count: int,
    *,
    among: np.ndarray | None = None,
    allowed: np.ndarray | None = None,
) -> np.ndarray:
    """Find the rows with the largest cosine to each of `vectors [n, width]`.

    int64 `[n, count]`, the nearest first; -1 where there are no more.

    A row of zeros is near to none. Costs n x candidates x width products.

    Args:
        among: `[m, width]`, the candidates; None: `vectors` themselves, a row not being its own
            neighbour.
        allowed: bool `[m]`, candidates that count; None: all.
    """
    own = among is None
    unit = torch.from_numpy(unit_rows(vectors))
    candidates = unit if own else torch.from_numpy(unit_rows(among))
    there = unit.abs().sum(1) > 0
    known = candidates.abs().sum(1) > 0
    if allowed is not None:
        known &= torch.from_numpy(np.asarray(allowed, dtype=bool))
    taken = min(count, len(candidates))
    step = max(1, _TILE_BYTES // (4 * max(len(candidates), 1)))
    found = torch.full((len(unit), count), -1)
    for start in range(0, len(unit), step):
        cosine = unit[start : start + step] @ candidates.t()
        cosine[:, ~known] = -torch.inf
        cosine[~there[start : start + step]] = -torch.inf
        if own:
            rows = torch.arange(len(cosine))
            cosine[rows, rows + start] = -torch.inf
        best = cosine.topk(taken, dim=1)
        found[start : start + step, :taken] = torch.where(
            torch.isfinite(best.values), best.indices, -1
        )
    return found.numpy()
