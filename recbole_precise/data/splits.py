"""Which of a user's rows train, validate and test: RecBole's splits, as counts per user.

In a sequential data set every split takes a user's rows in the order of time, so a part is a range of them. All
functions take the number of rows of each user (events less one, since a first event is no target) and return one count
per user for each part, in the order of time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

LEAVE_ONE_OUT = ("valid_and_test", "valid_only", "test_only")


def leave_one_out(rows: np.ndarray, mode: str) -> list[np.ndarray]:
    """Counts `[users]` of train, valid and test rows when the last rows are left out; a first row always trains.

    A user with a single row to leave out has it in the last part that `mode` leaves out.
    Raises ValueError for a `mode` that is not in `LEAVE_ONE_OUT`.
    """
    if mode not in LEAVE_ONE_OUT:
        raise ValueError(f"leave-one-out is one of {', '.join(LEAVE_ONE_OUT)}, not {mode!r}")
    out = np.clip(rows - 1, 0, 2 if mode == "valid_and_test" else 1)
    none = np.zeros_like(rows)
    if mode == "valid_and_test":
        return [rows - out, (out == 2).astype(rows.dtype), (out >= 1).astype(rows.dtype)]
    return [rows - out, out, none] if mode == "valid_only" else [rows - out, none, out]


def by_ratio(rows: np.ndarray, cut: Callable[[int], Sequence[int]]) -> list[np.ndarray]:
    """Counts `[users]` per part; `cut(n)` gives the inner boundaries of n rows (RecBole's `_calcu_split_ids`)."""
    sizes, which = np.unique(rows, return_inverse=True)
    table = np.array([np.diff([0, *cut(int(n)), int(n)]) for n in sizes], dtype=np.int64).reshape(len(sizes), -1)
    return list(table[which].T)


def by_time(rows: np.ndarray, before: np.ndarray, ratios: Sequence[float]) -> list[np.ndarray]:
    """Counts `[users]` of train, valid and test rows, when the `before [users]` rows up to a moment train and validate.

    `ratios` are the shares of train, valid and test, with the sum 1.
    """
    train = (before * (ratios[0] / (1 - ratios[2]))).astype(np.int64)
    return [train, before - train, rows - before]
