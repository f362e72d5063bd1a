"""How far a training has moved an embedding space, and what the spaces of a model share.

PAD Sec. 4.2, 4.3, 4.6; docs/alignment.md.

Nothing is compared vector by vector, since a space may turn as a whole and change no ranking. What
is compared is the distances of the same pairs of items, one from a user's history and one that
followed it, so that spaces of different width can be compared too. Everything here takes arrays;
ids have the padding at 0, and buckets are those of `data/frequency.py`: 1 holds the most frequent
items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

DISTANCES = ("cosine", "euclidean")
_BLOCK = 1 << 16  # pairs whose vectors are held at once
_ROUNDS = 20  # of drawing negatives again before the rest is found by search


@dataclass(frozen=True)
class ItemPairs:
    """Pairs of an item of a history and a target: int64 `[pairs]` each.

    `bucket` is the target's.
    """

    behaviour: np.ndarray
    target: np.ndarray
    bucket: np.ndarray

    def __len__(self) -> int:
        return len(self.target)

    def take(self, chosen: np.ndarray) -> ItemPairs:
        """Select the pairs at these places, or where a mask is true."""
        return ItemPairs(self.behaviour[chosen], self.target[chosen], self.bucket[chosen])


def item_pairs(
    history: np.ndarray,
    target: np.ndarray,
    bucket: np.ndarray,
    per_bucket: int = 200_000,
    negatives: int = 0,
    seed: int = 0,
) -> ItemPairs:
    """Pair every item of a history with the target that followed.

    At most `per_bucket` pairs of each bucket of targets (a random choice).

    A target that repeats an item of its history makes no pair with it: its distance to itself is 0
    in every space.

    Args:
        history: int64 `[rows, length]`, 0 where it is shorter. target: int64 `[rows]`, 1 or more.
        bucket: int64 `[items]`, each item's frequency bucket.
        negatives: so many more targets a row, drawn from the items of the target's bucket that the
            row does not have (PAD's released code takes one; the paper takes none). A row that has
            all of them gets none.
        seed: of what is drawn.

    Raises ValueError for shapes that do not belong together or a target that is padding.
    """
    if history.ndim != 2 or target.shape != (len(history),):
        raise ValueError(
            f"history must be [rows, length] and target [rows], not {history.shape} and "
            f"{target.shape}"
        )
    if len(target) and target.min() < 1:
        raise ValueError("a target is padding")
    chance = np.random.default_rng(seed)
    row, place = np.nonzero(history)
    parts = [(history[row, place], target[row])]
    for _ in range(negatives):
        drawn = _of_the_same_bucket(history, target, bucket, chance)[row]
        parts.append((history[row, place][drawn > 0], drawn[drawn > 0]))
    behaviour, targets = (np.concatenate(side).astype(np.int64) for side in zip(*parts))
    other = behaviour != targets
    pairs = ItemPairs(behaviour[other], targets[other], bucket[targets[other]])
    chosen = []
    for number in np.unique(pairs.bucket):
        places = np.flatnonzero(pairs.bucket == number)
        chosen.append(
            np.sort(chance.choice(places, per_bucket, replace=False))
            if len(places) > per_bucket
            else places
        )
    return pairs.take(np.concatenate(chosen)) if chosen else pairs


def _of_the_same_bucket(
    history: np.ndarray, target: np.ndarray, bucket: np.ndarray, chance: np.random.Generator
) -> np.ndarray:
    """Draw a random item of the target's bucket: int64 `[rows]`.

    It is neither the target nor in the history; 0 where there is none.
    """
    order = np.argsort(bucket, kind="stable")
    order = order[order > 0]
    start = np.searchsorted(bucket[order], bucket[target], side="left")
    size = np.searchsorted(bucket[order], bucket[target], side="right") - start
    own = np.concatenate([history, target[:, None]], 1)
    drawn = np.zeros(len(target), dtype=np.int64)
    left = np.arange(len(target))
    for _ in range(_ROUNDS):
        drawn[left] = order[start[left] + chance.integers(0, size[left])]
        left = left[(own[left] == drawn[left, None]).any(1)]
        if not len(left):
            return drawn
    for place in left:
        others = np.setdiff1d(order[start[place] : start[place] + size[place]], own[place])
        drawn[place] = chance.choice(others) if len(others) else 0
    return drawn


def random_partners(pairs: ItemPairs, bucket: np.ndarray, seed: int = 0) -> ItemPairs:
    """Pair the items of histories with a random item of their target's bucket.

    It takes the place of the target: pairs that nobody made.

    An item is never its own partner. A pair whose bucket holds no other item is left out.

    Args: bucket: int64 `[items]`. seed: of what is drawn.
    """
    order = np.argsort(bucket, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    start = np.searchsorted(bucket[order], pairs.bucket, side="left")
    size = np.searchsorted(bucket[order], pairs.bucket, side="right") - start
    own = bucket[pairs.behaviour] == pairs.bucket
    there = size - own > 0
    pairs = pairs.take(there)
    start = start[there]
    size = size[there]
    own = own[there]
    drawn = (
        np.random.default_rng(seed).integers(0, size - own)
        if len(pairs)
        else np.zeros(0, dtype=np.int64)
    )
    drawn += own & (drawn >= place[pairs.behaviour] - start)  # step over the item itself
    return ItemPairs(pairs.behaviour, order[start + drawn], pairs.bucket)


def pair_distances(vectors: np.ndarray, pairs: ItemPairs, distance: str = "cosine") -> np.ndarray:
    """float32 `[pairs]`: `1 - cos` or the Euclidean distance of each pair's vectors.

    PAD names the Euclidean distance as an example and its released code takes cosines, rounded to
    16 bits, which ties many of them. A vector of zeros has no direction: its cosine distance is 1.

    Args: vectors: `[items, width]`. distance: one of `DISTANCES`. Raises ValueError for another.
    """
    if distance not in DISTANCES:
        raise ValueError(f"distance must be one of {DISTANCES}, not {distance!r}")
    found = np.empty(len(pairs), dtype=np.float32)
    for lo in range(0, len(pairs), _BLOCK):
        a, b = (
            vectors[side[lo : lo + _BLOCK]].astype(np.float64)
            for side in (pairs.behaviour, pairs.target)
        )
        if distance == "euclidean":
            found[lo : lo + _BLOCK] = np.linalg.norm(a - b, axis=1)
        else:
            lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            found[lo : lo + _BLOCK] = 1 - np.einsum("pd,pd->p", a, b) / np.where(
                lengths > 0, lengths, 1
            )
    return found


@dataclass(frozen=True)
class BucketTau:
    """Kendall's tau-b of one bucket's pairs.

    None with fewer than two pairs, or where all distances of a space are equal.
    """

    bucket: int
    pairs: int
    tau: float | None

    @property
    def discordant(self) -> float | None:
        """Return the share of pairs of pairs whose order is reversed, where nothing is tied.

        A tau of 0.5 is one in four, not one in two as the paper reads it.
        """
        return None if self.tau is None else (1 - self.tau) / 2


def tau_by_bucket(
    before: np.ndarray, after: np.ndarray, bucket: np.ndarray, buckets: int = 10
) -> list[BucketTau]:
    """Compute Kendall's tau-b between two spaces' distances of the same pairs.

    For each bucket of targets (PAD Sec. 4.3, Fig. 6).

    1: every pair of pairs has kept its order; 0: the order is as good as random.

    Args: before, after: `[pairs]`. bucket: int64 `[pairs]` in 1 .. `buckets`. Raises ValueError for
        shapes that differ or a distance that is not finite.
    """
    from scipy.stats import kendalltau

    if not before.shape == after.shape == bucket.shape:
        raise ValueError(
            f"before, after and bucket must be of one shape, not {before.shape}, {after.shape} "
            f"and {bucket.shape}"
        )
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise ValueError("a distance is not finite: the embeddings hold inf or nan")
    found = []
    for number in range(1, buckets + 1):
        mine = bucket == number
        first = before[mine]
        second = after[mine]
        defined = len(first) > 1 and np.ptp(first) > 0 and np.ptp(second) > 0
        tau = float(kendalltau(first, second).statistic) if defined else None
        found.append(BucketTau(number, int(mine.sum()), tau))
    return found


@dataclass(frozen=True)
class Separation:
    """Do two groups of pairs, one near and one far, lie apart in a space?

    PAD Sec. 4.2, Fig. 3.

    Attributes:
        edges: float64 `[bins + 1]`, distances in the space. all, near, far: int64 `[bins]`, pairs
            in each bin.
        auc: chance that a far pair is farther than a near pair, ties counted half: 0.5 is no
            separation.
        size: pairs in each of the two groups; of the near one, where the groups differ in size.
    """

    edges: np.ndarray
    all: np.ndarray
    near: np.ndarray
    far: np.ndarray
    auc: float
    size: int


def separation(
    reference: np.ndarray, other: np.ndarray, share: float = 0.1, bins: int = 80
) -> Separation:
    """Locate pairs that are near or far in one space within another space.

    They are those of the smallest and of the largest `share` of distances.

    Args:
        reference: `[pairs]`, distances in the space that makes the groups: collaborative vectors in
            the paper.
        other: `[pairs]`, distances of the same pairs in the space that is looked at.
        share: of all pairs in either group; equal distances at the border are taken in the pairs'
            order.

    Raises ValueError for shapes that differ, a share outside (0, 0.5], or too few pairs for one in
    each group.
    """
    if reference.shape != other.shape or reference.ndim != 1:
        raise ValueError(f"both must be [pairs], not {reference.shape} and {other.shape}")
    size = int(share * len(reference) + 1e-9)
    if not 0 < share <= 0.5 or size < 1:
        raise ValueError(f"a share of {share} of {len(reference)} pairs leaves no two groups")
    order = np.argsort(reference, kind="stable")
    return separation_of(other[order[:size]], other[order[-size:]], other, bins)


def separation_of(
    near: np.ndarray, far: np.ndarray, every: np.ndarray | None = None, bins: int = 80
) -> Separation:
    """Locate two groups of pairs among all, by distances `[pairs]` in one space.

    `every`: of all pairs, by default of both groups.

    Raises ValueError for an empty group.
    """
    from scipy.stats import mannwhitneyu

    if not len(near) or not len(far):
        raise ValueError("a group holds no pair")
    near = near.astype(np.float64)
    far = far.astype(np.float64)
    every = np.concatenate([near, far]) if every is None else every.astype(np.float64)
    edges = np.histogram_bin_edges(every, bins)
    auc = float(mannwhitneyu(far, near, method="asymptotic").statistic) / (len(near) * len(far))
    return Separation(
        edges=edges,
        all=np.histogram(every, edges)[0],
        near=np.histogram(near, edges)[0],
        far=np.histogram(far, edges)[0],
        auc=auc,
        size=len(near),
    )


def gate_by_bucket(
    weights: np.ndarray, bucket: np.ndarray, names: list[str], buckets: int = 10
) -> list[dict[str, Any]]:
    """Tabulate every expert's gate weight in each bucket (PAD Sec. 3.3).

    Mean and spread, as rows of a table.

    Args:
        weights: `[rows, experts]`, one row an item, or one a case where the gate sees the user;
            each sums to 1.
        bucket: int64 `[rows]`, of the item or of the case's target; rows of bucket 0 (padding) are
            left out.
        names: of the experts.

    Returns: for each bucket `bucket`, `rows`, and `mean` and `std` by name, None without a row.

    Raises ValueError for shapes that do not belong together, or weights of a row that do not sum to
    1.
    """
    if weights.shape != (len(bucket), len(names)):
        raise ValueError(
            f"weights must be [{len(bucket)} rows, {len(names)} experts], not {weights.shape}"
        )
    weights = weights.astype(np.float64)
    wrong = np.flatnonzero((bucket > 0) & ~(np.abs(weights.sum(1) - 1) < 1e-4))
    if len(wrong):
        raise ValueError(
            f"the gate weights of row {wrong[0]} sum to {weights[wrong[0]].sum():.6g}, not to 1"
        )
    table = []
    for number in range(1, buckets + 1):
        mine = weights[bucket == number]
        mean = std = None
        if len(mine):
            mean = dict(zip(names, mine.mean(0).tolist()))
            std = dict(zip(names, mine.std(0).tolist()))
        table.append({"bucket": number, "rows": len(mine), "mean": mean, "std": std})
    return table
