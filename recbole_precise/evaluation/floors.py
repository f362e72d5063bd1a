"""Floors: scores that need no training, which every claim must beat.

All tables are counted over the users' training sequences alone. A sequence table is given as `items
[events]` and `offsets [users + 1]`: user u's events are items[offsets[u] : offsets[u + 1]], in
order. Histories are int `[batch, length]`, padded on the right, with `lengths [batch]`; item 0 is
padding. Scores are `[batch, items]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import numpy as np
import scipy.sparse as sp

# popularity orders what counts leave equal: at most this, below the smallest step of a count
_TIE = 1e-3


def item_counts(items: np.ndarray, n_items: int) -> np.ndarray:
    """int64 `[n_items]`: how often each item occurs; the padding item never does."""
    counts = np.bincount(np.asarray(items), minlength=n_items)
    if len(counts) > n_items:
        raise ValueError(f"item {len(counts) - 1} lies outside the catalogue of {n_items}")
    counts[0] = 0
    return counts


def transition_counts(
    items: np.ndarray, offsets: np.ndarray, n_items: int, distance: int = 1
) -> sp.csr_matrix:
    """Count how often b comes exactly `distance` places after a: entry (a, b).

    float64 `[n_items, n_items]`.
    """
    items = np.asarray(items)
    offsets = np.asarray(offsets)
    user = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    same = user[:-distance] == user[distance:]
    before = items[:-distance][same]
    after = items[distance:][same]
    counts = sp.coo_matrix(
        (np.ones(len(before)), (before, after)), shape=(n_items, n_items)
    ).tocsr()
    counts.sum_duplicates()
    return counts


def last_items(histories: np.ndarray, lengths: np.ndarray, back: int = 1) -> np.ndarray:
    """int64 `[batch]`: the item `back` places from the end of each history.

    0 where there is none.
    """
    histories = np.asarray(histories)
    lengths = np.asarray(lengths)
    place = np.maximum(lengths - back, 0)
    return np.where(lengths >= back, np.take_along_axis(histories, place[:, None], axis=1)[:, 0], 0)


class Popularity:
    """The number of training events of an item."""

    def __init__(self, items: np.ndarray, offsets: np.ndarray, n_items: int) -> None:
        self.counts = item_counts(items, n_items)

    def scores(self, histories: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """float32 `[batch, items]`, the same in every row."""
        return np.tile(self.counts.astype(np.float32), (len(histories), 1))


class Transition:
    """How often an item came right after the history's last item.

    Popularity orders equal counts.
    """

    def __init__(self, items: np.ndarray, offsets: np.ndarray, n_items: int) -> None:
        self.counts = transition_counts(items, offsets, n_items)
        self.tie = _tie_break(item_counts(items, n_items))

    def scores(self, histories: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """float64 `[batch, items]`: a float32 could not keep the tie-break beside a large count."""
        return self.counts[last_items(histories, lengths)].toarray() + self.tie


@dataclass(frozen=True)
class Graph:
    """How the variants `window` and `forward` of GraphHeuristic score an item.

    Item b after a history whose last item is a.

        score(a, b) = f(sum over k = 1 .. window of w_k * (n_k(a, b) + backward * n_k(b, a))) +
        text_weight * cos(text a, text b)

    n_k(a, b): how often b comes k places after a in a training sequence; w_k: 1 (`distance: flat`)
    or 1 / k (`inverse`); f: log1p (`counts: log1p`) or nothing (`raw`); cos: of the items' mean
    token states, 0 for an item without text.
    """

    window: int = 5
    backward: float = 1.0
    distance: str = "flat"
    counts: str = "log1p"
    text_weight: float = 1.25

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, not {self.window}")
        if self.distance not in ("flat", "inverse") or self.counts not in ("log1p", "raw"):
            raise ValueError(
                f"distance must be flat or inverse, counts log1p or raw, not {self.distance!r} "
                f"and {self.counts!r}"
            )


#: `window`: both directions count alike. On Prime Pantry as released (titles by all-MiniLM-L6-v2)
#: HR@10 / nDCG@10 in % are 5.70 / 3.51 with the history masked and 7.85 / 5.53 without; the
#: design's prototype, whose formula was not kept, had 5.70 / 3.46 and 7.86 / 5.48. `forward`: what
#: comes later alone, with more weight on text, chosen on Prime Pantry's validation targets: the
#: strongest training-free floor that we know there.
GRAPHS = {
    "window": Graph(),
    "forward": Graph(backward=0.0, distance="inverse", counts="raw", text_weight=4.0),
}
#: Rings and how many places each gets: (which item from the end is the anchor, hops, places).
RINGS = {
    "tgh1": ((1, 1, 7), (1, 2, 2), (1, 3, 1)),
    "tgh2": ((1, 1, 5), (1, 2, 1), (2, 1, 3), (2, 2, 1)),
}
GRAPH_VARIANTS = (*GRAPHS, *RINGS)


class GraphHeuristic:
    """Transitions joined with the likeness of texts, without training (docs/methods.md 5).

    `tgh1` and `tgh2` are the published heuristics (arXiv 2605.07125), which fill a list of ten.
    Ring h of an anchor holds the items at exactly h hops along transitions. In a ring, items are
    ordered by cos(text anchor, text b), in ring 1 plus transition_weight * log1p(n(a, b)) / max
    over c of log1p(n(a, c)). tgh1 takes 7, 2 and 1 items from rings 1, 2 and 3 of the last item;
    tgh2 takes 5 and 1 from rings 1 and 2 of the last item, then 3 and 1 around the one before, none
    twice. Places that a ring cannot fill go to the next one; what is left of the list, and all
    below it, is ordered by the cosine to the last item. `window` and `forward` score every item by
    one formula: see `Graph`.
    """

    def __init__(
        self,
        items: np.ndarray,
        offsets: np.ndarray,
        text_vectors: np.ndarray,
        *,
        variant: str = "window",
        graph: Graph | None = None,
        transition_weight: float = 0.5,
    ) -> None:
        """Prepare the tables.

        Args:
            text_vectors: float `[n_items, width]`; a row of zeros for an item without text.
            variant: window, forward, tgh1 or tgh2.
            graph: settings instead of the variant's own, for window and forward.
            transition_weight: of counts in ring 1, for tgh1 and tgh2.
        """
        if variant not in GRAPH_VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(GRAPH_VARIANTS)}, not {variant!r}")
        n_items = len(text_vectors)
        self.text = unit_rows(text_vectors)
        self.tie = _tie_break(item_counts(items, n_items)).astype(np.float32)
        self.rings = RINGS.get(variant)
        if self.rings is None:
            self.graph = graph or GRAPHS[variant]
            self.edges = window_edges(items, offsets, n_items, self.graph)
        else:
            self.edges = _ring_edges(items, offsets, n_items)
            self.hops = (self.edges > 0).astype(np.float32)
            self.transition_weight = transition_weight

    def scores(
        self,
        histories: np.ndarray,
        lengths: np.ndarray,
        skip: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """float32 `[batch, items]`.

        Args:
            skip: (row [M], item [M]) that take no place in a list (docs/methods.md 4); only tgh1
                and tgh2 have places.
        """
        last = last_items(histories, lengths)
        likeness = self.text[last] @ self.text.T
        if self.rings is None:
            return (
                self.edges[last].toarray()
                + np.float32(self.graph.text_weight) * likeness
                + self.tie
            )
        free = np.ones(likeness.shape, dtype=bool)
        free[:, 0] = False
        if skip is not None:
            free[np.asarray(skip[0]), np.asarray(skip[1])] = False
        scores = likeness
        length = sum(places for _, _, places in self.rings)
        likeness = likeness.copy()
        filled = np.zeros(len(last), dtype=np.int64)
        due = 0
        for back, hops, places in self.rings:
            due += places
            anchor = last_items(histories, lengths, back)
            in_ring, ring_score = self._ring(
                anchor, hops, likeness if back == 1 else self.text[anchor] @ self.text.T
            )
            candidates = np.where(in_ring & free, ring_score, -np.inf)
            best = _best(candidates, length)
            for item in best.T:
                rows = np.flatnonzero(
                    (filled < due) & np.isfinite(candidates[np.arange(len(last)), item])
                )
                # Cosines are at most 1; the list stands above them, its first place highest.
                scores[rows, item[rows]] = 2 + length - filled[rows]
                free[rows, item[rows]] = False
                filled[rows] += 1
        return scores

    def _ring(
        self, anchor: np.ndarray, hops: int, likeness: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the items at exactly `hops` from the anchor, and their scores in that ring.

        bool and float, both `[batch, items]`.
        """
        reached = np.zeros(likeness.shape, dtype=bool)
        reached[np.arange(len(anchor)), anchor] = True
        frontier = self.hops[anchor]
        for _ in range(hops - 1):
            reached |= frontier.toarray() > 0
            frontier = frontier @ self.hops
        ring = (frontier.toarray() > 0) & ~reached
        if hops == 1:
            return ring, likeness + np.float32(self.transition_weight) * self.edges[
                anchor
            ].toarray()
        return ring, likeness


def window_edges(
    items: np.ndarray, offsets: np.ndarray, n_items: int, graph: Graph
) -> sp.csr_matrix:
    """Compute the part of `graph`'s score that counts transitions, at (a, b).

    float32 `[n_items, n_items]`.
    """
    total = sp.csr_matrix((n_items, n_items))
    for k in range(1, graph.window + 1):
        total = total + transition_counts(items, offsets, n_items, k) * (
            1 / k if graph.distance == "inverse" else 1.0
        )
    if graph.backward:
        total = total + graph.backward * total.T
    total = total.tocsr()
    if graph.counts == "log1p":
        total.data = np.log1p(total.data)
    return total.astype(np.float32)


def _ring_edges(items: np.ndarray, offsets: np.ndarray, n_items: int) -> sp.csr_matrix:
    """float32 log1p of transition counts over each row's largest; no item leads to itself."""
    counts = transition_counts(items, offsets, n_items)
    counts.setdiag(0)
    counts.eliminate_zeros()
    counts.data = np.log1p(counts.data)
    largest = counts.max(axis=1).toarray().ravel()
    return (sp.diags(1 / np.where(largest > 0, largest, 1)) @ counts).tocsr().astype(np.float32)


def _best(scores: np.ndarray, n: int) -> np.ndarray:
    """Return the columns of each row's largest scores: int64 `[batch, min(n, items)]`.

    The largest first, equal ones by column.
    """
    if n < scores.shape[1]:
        columns = np.sort(np.argpartition(-scores, n, axis=1)[:, :n], axis=1)
    else:
        columns = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def _tie_break(counts: np.ndarray) -> np.ndarray:
    """float64 `[items]`, from 0 to _TIE, in the order of the counts."""
    return counts / max(counts.max(), 1) * _TIE


@overload
def unit_rows(vectors: np.ndarray) -> np.ndarray: ...
@overload
def unit_rows(vectors: sp.spmatrix) -> sp.csr_matrix: ...
def unit_rows(vectors: np.ndarray | sp.spmatrix) -> np.ndarray | sp.csr_matrix:
    """Scale rows to length 1; rows of zeros stay. float32 `[n, width]`, sparse as given."""
    if not isinstance(vectors, np.ndarray) and sp.issparse(vectors):
        length = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
        return (sp.diags(1 / np.where(length > 0, length, 1)) @ vectors).tocsr().astype(np.float32)
    vectors = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
