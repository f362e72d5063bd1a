"""Which of a user's rows train, validate and test: RecBole's splits and the split by day.

In a sequential data set every split takes a user's rows in the order of time, so a part is a range
of them. The functions that count take the number of rows of each user (events less one, since a
first event is no target) and return one count per user for each part, in the order of time.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_precise.data.ordering import stable_order
from recbole_precise.data.sequences import SequenceStore, ranges
from recbole_precise.errors import ConfigError, DataError

LEAVE_ONE_OUT = ("valid_and_test", "valid_only", "test_only")
DAY = 86_400  # seconds
#: Seconds between which a number is taken for a time stamp: the years 1980 to 2099.
_STAMPS = (315_532_800, 4_102_444_800)


@dataclass(frozen=True)
class Split:
    """The rows of the parts.

    Attributes:
        parts: int64 `[rows]` for training, validation and testing: the rows' targets, in RecBole's
            order of rows.
        moment: where the split is one of time, the time from which on no event of any user is
            trained; None where each user has an end of its own (LS, RS within users) or nothing is
            evaluated.
    """

    parts: list[Tensor]
    moment: float | None = None


def split_rows(
    store: SequenceStore,
    times: np.ndarray,
    rounded: np.ndarray,
    split: Mapping[str, Any],
    group_by: str | None,
    cut_ids: Callable[[int, Sequence[float]], Sequence[int]],
) -> Split:
    """Split the rows of a store (all its events but each user's first) as `eval_args` asks.

    Args:
        times: `[events]`, the times by which the events are ordered. rounded: `[events]`, RecBole's
            float32 times.
        split: `{mode: how}`, one of LS, RS, TS and DAYS. group_by: "user", or None or "none" for RS
            over all rows together.
        cut_ids: (number of rows, shares) -> inner boundaries; RecBole's `_calcu_split_ids`.

    Raises ConfigError for an unknown mode; ValueError when DAYS finds no time stamps.
    """
    ((mode, how),) = split.items()
    rows = (store.offsets.diff() - 1).numpy()
    targets = store.targets()
    end = targets.numpy()
    moment = None
    if mode == "RS" and (group_by is None or str(group_by).lower() == "none"):
        targets = targets[torch.from_numpy(stable_order([times[end]]))]
        cuts = cut_ids(len(targets), [share / sum(how) for share in how])
        parts = list(torch.tensor_split(targets, [int(cut) for cut in cuts]))
        evaluated = times[torch.cat(parts[1:]).numpy()]
        return Split(parts, evaluated.min() if len(evaluated) else None)
    if mode == "RS":
        shares = [share / sum(how) for share in how]
        counts = by_ratio(rows, lambda n: cut_ids(n, shares))
    elif mode == "LS":
        counts = leave_one_out(rows, how)
    elif mode == "TS":
        ratios = [share / sum(how) for share in how]
        stamps = times
        if len(np.unique(rounded)) == len(np.unique(times)):
            stamps = rounded  # the same order, and the border rounds as in RecBole
        border = np.percentile(stamps[end], 100 * (1 - ratios[-1]))
        before = _rows_of_users(store, end[stamps[end] <= border])
        counts = by_time(rows, before, ratios)
        after = times[end[stamps[end] > border]]
        moment = after.min() if len(after) else None
    elif mode == "DAYS":
        assert store.times is not None, "a split by days is of events with times"
        moment, testing = day_starts(store.times, how)
        upto = [_rows_of_users(store, end[times[end] < start]) for start in (moment, testing)]
        counts = [upto[0], upto[1] - upto[0], rows - upto[1]]
    else:
        raise ConfigError(f"eval_args: the split '{mode}' is not known; use LS, RS, TS or DAYS.")
    # RecBole sorts all rows by time and takes users as they come: by the time of their first row,
    # then by id.
    begin = store.offsets[:-1] + 1
    with_rows = np.flatnonzero(rows > 0)
    users = torch.from_numpy(with_rows[stable_order([times[begin.numpy()[with_rows]]])])
    parts = []
    for count in map(torch.from_numpy, counts):
        parts.append(ranges(begin[users], count[users])[1])
        begin = begin + count
    return Split(parts, moment)


def check_parts(
    parts: Sequence[Tensor],
    split: Mapping[str, Any],
    store: SequenceStore,
    path: str,
    scene: str | None,
    universal: bool,
) -> None:
    """Refuse a split that leaves a part empty which it asks for.

    The rows of `store` are the target scene's or all.

    Args:
        path: the data set, for the message.
        scene: the target scene; None without one.
        universal: training sees more than the target scene's rows, so that it is looked at
            elsewhere.

    Raises:
        ConfigError: for shares of other than three parts.
        DataError: for an empty part.
    """
    ((mode, how),) = split.items()
    if len(parts) != 3:
        raise ConfigError(
            f"eval_args: the split {mode} needs three shares (train, valid, test), not {how}."
        )
    if mode == "LS":
        wanted = [
            True,
            how in ("valid_and_test", "valid_only"),
            how in ("valid_and_test", "test_only"),
        ]
    else:
        wanted = [share > 0 for share in (([1] if mode == "DAYS" else []) + list(how))]
    if universal:
        wanted[0] = False
    empty = [
        name
        for name, part, asked in zip(("training", "validation", "testing"), parts, wanted)
        if asked and not len(part)
    ]
    if empty:
        events = store.offsets.diff()
        where = "" if scene is None else f" in the target scene '{scene}'"
        days = ""
        if mode == "DAYS" and store.times is not None:
            days = f" The days: {days_in_words(store.times, how)}."
        raise DataError(
            f"{path}: the split {mode}: {how}{where} leaves no row for {' and '.join(empty)}. "
            f"The longest of {len(events)} users has "
            f"{int(events.max())} events{where and ' there'}; a user needs 2 to train on one "
            f"target, and one more for each event left out.{days}"
        )


def _rows_of_users(store: SequenceStore, end: np.ndarray) -> np.ndarray:
    """int64 `[users]`: how many of the rows `end` each user has."""
    return np.bincount(store.owner.numpy()[end], minlength=len(store.user_ids))


def leave_one_out(rows: np.ndarray, mode: str) -> list[np.ndarray]:
    """Count train, valid and test rows when the last rows are left out: `[users]` each.

    A first row always trains.

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
    """Count the rows of each part: `[users]` each.

    `cut(n)` gives the inner boundaries of n rows (RecBole's `_calcu_split_ids`).
    """
    sizes, which = np.unique(rows, return_inverse=True)
    table = np.array([np.diff([0, *cut(int(n)), int(n)]) for n in sizes], dtype=np.int64).reshape(
        len(sizes), -1
    )
    return list(table[which].T)


def by_time(rows: np.ndarray, before: np.ndarray, ratios: Sequence[float]) -> list[np.ndarray]:
    """Count train, valid and test rows of a split in time: `[users]` each.

    The `before [users]` rows up to a moment train and validate.

    `ratios` are the shares of train, valid and test, with the sum 1.
    """
    train = (before * (ratios[0] / (1 - ratios[2]))).astype(np.int64)
    return [train, before - train, rows - before]


def day_starts(times: np.ndarray, days: Sequence[int]) -> tuple[int, int]:
    """Return (begin of validation, begin of testing) in seconds.

    The last `days` = [validation, test] days (UTC) of `times`.

    The paper tests on everything of the day after the training period. Raises ValueError for times
    that are no time stamps in seconds.
    """
    least = times.min()
    most = times.max()
    if not (_STAMPS[0] <= least and most < _STAMPS[1]):
        milli = (
            " They look like milliseconds: divide them by 1,000."
            if _STAMPS[0] * 1000 <= least and most < _STAMPS[1] * 1000
            else ""
        )
        raise ValueError(
            "the split DAYS needs time stamps in seconds of the years 1980 to 2099, but times "
            f"run from {least:,} to {most:,}.{milli}"
        )
    valid, test = days
    testing = (int(most // DAY) + 1 - test) * DAY
    return testing - valid * DAY, testing


def days_in_words(times: np.ndarray, days: Sequence[int]) -> str:
    """Write the days of each part as dates.

    Such as 'validation 1998-04-21, testing 1998-04-22 (UTC)'.
    """
    validation, testing = day_starts(times, days)
    named = []
    for name, start, count in zip(("validation", "testing"), (validation, testing), days):
        if count:
            dates = [
                datetime.datetime.fromtimestamp(day, datetime.timezone.utc).date().isoformat()
                for day in (start, start + (count - 1) * DAY)
            ]
            named.append(f"{name} {' to '.join(dict.fromkeys(dates))}")
    return f"{', '.join(named)} (UTC)"
