"""Choose which rows a period trains and which cases it asks.

Everything is asked before it is trained (prequential evaluation).

Events are flat arrays, sorted by user and, within a user, by time, so that periods ascend within a
user.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recbole_precise.data.sequences import ranges, train_windows


def cases_of(
    offsets: np.ndarray, period: np.ndarray, now: int, first_only: bool = False
) -> np.ndarray:
    """Return the events of the period `now` that can be predicted.

    Their user has an earlier event; they are the period's training targets, too.

    Args:
        offsets: int64 `[users + 1]`. period: int64 `[events]`.
        first_only: the first event of each user in the period alone, of users who were there in an
            earlier period.

    Returns: int64 `[cases]`, ascending indices of events.
    """
    begins = np.zeros(len(period) + 1, dtype=bool)
    begins[offsets] = True
    wanted = (period == now) & ~begins[:-1]
    if first_only:
        wanted[1:] &= period[:-1] < now
    return np.flatnonzero(wanted)


def windows_of(
    offsets: np.ndarray, period: np.ndarray, low: int, high: int, max_length: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Return training windows whose targets are in the periods `low` .. `high`.

    Their inputs may be older, never younger.

    Returns: int64 `(end, supervised)` `[rows]`: index of each row's last target, number of its
        trailing targets.
    """
    users = len(offsets) - 1
    owner = np.repeat(np.arange(users), np.diff(offsets))
    before = np.bincount(owner, weights=period < low, minlength=users).astype(np.int64)
    until = np.bincount(owner, weights=period <= high, minlength=users).astype(np.int64)
    # A user's first event is no target, but the input of the second.
    first = np.maximum(offsets[:-1] + before - 1, offsets[:-1])
    last = offsets[:-1] + until - 1
    end, _, supervised = train_windows(
        torch.from_numpy(first), torch.from_numpy(last), max_length, stride
    )
    return end, supervised


def items_of_windows(items: np.ndarray, end: Tensor, length: Tensor) -> np.ndarray:
    """Distinct items that windows hold, as input or target: those whose vectors they train.

    Args:
        items: int64 `[events]`. end, length: int64 `[rows]`, last target and number of inputs
            before it.
    """
    return np.unique(items[ranges(end - length, length + 1)[1].numpy()])
