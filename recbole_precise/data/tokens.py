"""Tokens to ids, and filtering by number of interactions, on codes instead of strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd


def codes_of(column: pd.Series | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Code tokens by first appearance: `(codes, tokens)`.

    int64 `[n]`, -1 where missing; object `[tokens]`.

    Takes categories, objects or strings.
    """
    if isinstance(column, pd.Series) and isinstance(column.dtype, pd.CategoricalDtype):
        codes, seen = pd.factorize(column.cat.codes.to_numpy())
        labels = column.cat.categories.to_numpy(dtype=object)
        if (seen == -1).any():  # a missing cell is a code of its own: take it out and close the gap
            hole = int(np.flatnonzero(seen == -1)[0])
            codes = np.where(codes == hole, -1, codes - (codes > hole))
            seen = np.delete(seen, hole)
        return codes.astype(np.int64, copy=False), labels[seen]
    codes, tokens = pd.factorize(np.asarray(column, dtype=object))
    return codes.astype(np.int64, copy=False), tokens


def number_together(
    columns: Sequence[pd.Series | np.ndarray],
) -> tuple[list[np.ndarray], np.ndarray]:
    """Give the tokens of several columns common ids, in the order in which RecBole does.

    RecBole factorizes the concatenated columns: tokens are numbered by first appearance, in the
    first column, then in the second, and so on. Here each column is coded on its own and only its
    distinct tokens are concatenated.

    Returns: `(ids, tokens)`: per column int64 `[n]`, from 1, 0 where missing; the tokens, object
        `[ids]`, without a padding.
    """
    coded = [codes_of(column) for column in columns]
    numbers, tokens = pd.factorize(np.concatenate([labels for _, labels in coded]))
    ids = []
    begin = 0
    for codes, labels in coded:
        lookup = np.concatenate((numbers[begin : begin + len(labels)] + 1, [0])).astype(np.int64)
        ids.append(lookup[codes])  # code -1 takes the 0 at the end
        begin += len(labels)
    return ids, tokens


def keep_by_count(
    user: np.ndarray,
    item: np.ndarray,
    user_allowed: Callable[[np.ndarray], np.ndarray],
    item_allowed: Callable[[np.ndarray], np.ndarray],
    user_ids: np.ndarray | None = None,
    item_ids: np.ndarray | None = None,
    user_least: float = -1,
    item_least: float = -1,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Apply RecBole's filter by number of interactions.

    Users and items outside their interval are dropped until all are inside.

    Args:
        user, item: int64 `[interactions]`, codes from 0.
        user_allowed, item_allowed: counts `[n]` -> bool `[n]`.
        user_ids, item_ids: int64 codes of the rows of `.user` and `.item`, or None; a row goes when
            its count is below `user_least`, `item_least`.

    Returns: bool masks of the interactions and of the rows of `.user` and `.item` that stay (None
        where there is no file).
    """
    sides = []
    for codes, rows, allowed, least in (
        (user, user_ids, user_allowed, user_least),
        (item, item_ids, item_allowed, item_least),
    ):
        size = 1 + max(codes.max(initial=-1), -1 if rows is None else rows.max(initial=-1))
        sides.append((codes, rows, allowed, least, int(size)))
    kept = np.ones(len(user), dtype=bool)
    rows_kept = [
        None if rows is None else np.ones(len(rows), dtype=bool) for _, rows, _, _, _ in sides
    ]
    while True:
        banned = []
        for (codes, rows, allowed, least, size), row_kept in zip(sides, rows_kept):
            counts = np.bincount(codes[kept], minlength=size)
            out = (counts > 0) & ~allowed(counts)
            if rows is not None:
                out[rows[row_kept]] |= counts[rows[row_kept]] < least
            banned.append(out)
        if not banned[0].any() and not banned[1].any():
            return kept, rows_kept[0], rows_kept[1]
        for (codes, rows, _, _, _), row_kept, out in zip(sides, rows_kept, banned):
            kept &= ~out[codes]
            if rows is not None:
                row_kept &= ~out[rows]
