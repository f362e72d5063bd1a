"""Measure what counting transitions can do.

These are exact ranks of the test targets under training-free scores, from sparse rows alone.

The scores are those of `evaluation.floors` (Pop, Transition); a test holds the two together. Here
only the items with a count are touched, which makes hundreds of shuffled copies affordable.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from recbole_precise.evaluation.floors import transition_counts
from recbole_precise.studies.audit.histories import Histories

_ENTRIES_AT_ONCE = 20_000_000


def following(data: Histories, distance: int = 1) -> sp.csr_matrix:
    """Count transitions: float64 `[n_items, n_items]`.

    Entry (a, b) is how often b comes `distance` places after a in training.
    """
    return transition_counts(
        data.items[data.is_training], data.training_offsets, data.n_items, distance
    )


def anchors(data: Histories, back: int = 1) -> np.ndarray:
    """int64 `[cases]`: the item `back` places before each test target.

    0, which nothing follows, where there is none.
    """
    reaches = data.place[data.test] >= back
    return np.where(reaches, data.items[np.where(reaches, data.test - back, 0)], 0)


def rows_of_last(data: Histories, tables: list[sp.csr_matrix]) -> sp.csr_matrix:
    """Sum the rows of the last items: float64 `[cases, n_items]`.

    The sum is over k, of `tables[k - 1]` at the item k places before the target.

    With `following(data, k)` for the tables it says how often an item came at these distances from
    the last items.
    """
    rows = tables[0][anchors(data, 1)]
    for back, table in enumerate(tables[1:], start=2):
        rows = rows + table[anchors(data, back)]
    return rows.tocsr()


def ranks(data: Histories, rows: sp.csr_matrix | None, mask_history: bool) -> np.ndarray:
    """Rank each test target by its count in `rows [cases, n_items]`, then by popularity.

    The ranks are int64 `[cases]`.

    Ties count against the target. Without rows the score is popularity alone.

    Args:
        mask_history: the items of the history are no candidates; a target among them gets the rank
            n_items.
    """
    popularity = data.counts()
    target = data.items[data.test]
    if rows is None:
        rows = sp.csr_matrix((len(target), data.n_items))
    result = np.empty(len(target), dtype=np.int64)
    case, event = data.test_history
    for lo, hi in _blocks(rows):
        pairs = None
        if mask_history:
            inside = slice(*np.searchsorted(case, [lo, hi]))
            pairs = np.unique((case[inside] - lo) * data.n_items + data.items[event[inside]])
        result[lo:hi] = _ranks(rows[lo:hi], popularity, target[lo:hi], pairs)
    return result


def _ranks(
    rows: sp.csr_matrix, popularity: np.ndarray, target: np.ndarray, skipped: np.ndarray | None
) -> np.ndarray:
    """`skipped`: distinct row * n_items + item of what is no candidate."""
    n_rows, n_items = rows.shape
    index = np.arange(n_rows)
    own = np.asarray(rows[index, target]).ravel()
    own_popularity = popularity[target]

    def beats(row: np.ndarray, item: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Whether the item is at or above the target of its row."""
        return (count > own[row]) | (
            (count == own[row]) & (popularity[item] >= own_popularity[row])
        )

    row = np.repeat(index, np.diff(rows.indptr))
    item = rows.indices
    count = rows.data
    above = np.bincount(row, weights=beats(row, item, count), minlength=n_rows).astype(np.int64)
    # A target without a count also meets all other items without one, by popularity; the padding
    # item is none of them.
    ascending = np.sort(popularity[1:])
    as_popular = len(ascending) - np.searchsorted(ascending, own_popularity)
    counted = np.bincount(
        row, weights=popularity[item] >= own_popularity[row], minlength=n_rows
    ).astype(np.int64)
    above += np.where(own == 0, as_popular - counted, 0)
    missed = np.zeros(n_rows, dtype=bool)
    if skipped is not None:
        row = skipped // n_items
        item = skipped % n_items
        gone = (
            beats(row, item, np.asarray(rows[row, item]).ravel())
            if len(row)
            else np.zeros(0, dtype=bool)
        )
        above -= np.bincount(row, weights=gone, minlength=n_rows).astype(np.int64)
        missed[row[item == target[row]]] = True
    # The target itself is among those at or above it.
    return np.where(missed, n_items, above)


def _blocks(rows: sp.csr_matrix) -> Iterator[tuple[int, int]]:
    """Ranges of rows with at most `_ENTRIES_AT_ONCE` entries each, or one row."""
    lo = 0
    while lo < rows.shape[0]:
        hi = int(np.searchsorted(rows.indptr, rows.indptr[lo] + _ENTRIES_AT_ONCE, side="right")) - 1
        hi = min(max(hi, lo + 1), rows.shape[0])
        yield lo, hi
        lo = hi


def branching(data: Histories, table: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return how many items follow the last item in training, and whether one is the target.

    Returns:
        (int64, bool), `[cases]` each.
    """
    last = anchors(data)
    target = data.items[data.test]
    return np.diff(table.indptr)[last], np.asarray(table[last, target]).ravel() > 0
