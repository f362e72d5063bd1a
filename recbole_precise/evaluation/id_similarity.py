"""Do ID vectors learn what items have in common? (PRECISE Sec. IV-E; docs/methods.md 7)

When ID and token vectors are trained together from the start, the text explains similar items and
their ID vectors may stay where chance put them. Then the cosine of ID vectors within pairs of
similar items is hardly above that of random pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_precise.evaluation.floors import unit_rows

_BLOCK = 512  # rows of similarities held at once


@dataclass(frozen=True)
class IdSimilarity:
    """Cosines of ID vectors: with the nearest items, and with random ones.

    `similar [items, neighbours]` and `random`.
    """

    similar: np.ndarray
    random: np.ndarray

    @property
    def gap(self) -> float:
        """Mean cosine within similar pairs less that within random pairs."""
        return float(self.similar.mean() - self.random.mean())


def id_similarity(
    id_vectors: np.ndarray, item_vectors: np.ndarray, neighbours: int = 10, seed: int = 0
) -> IdSimilarity:
    """Compute cosines of ID vectors within similar pairs and within random pairs.

    Similar under the whole item vector.

    Args:
        id_vectors: `[items, d]`. item_vectors: `[items, D]`, ID and text. Without the padding row.
        neighbours: nearest items by cosine of `item_vectors`, itself not counted.
        seed: of the random pairs, as many as the similar ones.

    Raises ValueError with fewer than `neighbours + 1` items.
    """
    n = len(item_vectors)
    if n <= neighbours:
        raise ValueError(f"{neighbours} neighbours need more than {n} items")
    ids = unit_rows(id_vectors)
    items = unit_rows(item_vectors)
    similar = np.empty((n, neighbours), dtype=np.float32)
    for lo in range(0, n, _BLOCK):
        likeness = items[lo : lo + _BLOCK] @ items.T
        own = np.arange(len(likeness))
        likeness[own, lo + own] = -np.inf
        near = np.argpartition(-likeness, neighbours - 1, axis=1)[:, :neighbours]
        similar[lo : lo + _BLOCK] = np.einsum("bd,bkd->bk", ids[lo : lo + _BLOCK], ids[near])
    chance = np.random.default_rng(seed)
    other = (
        np.arange(n)[:, None] + chance.integers(1, n, (n, neighbours))
    ) % n  # never the item itself
    return IdSimilarity(similar, np.einsum("bd,bkd->bk", ids, ids[other]))
