"""What a data set holds: sizes, lengths of histories, frequencies of items, times."""

from __future__ import annotations

import numpy as np
import torch

from recbole_precise.data.frequency import bucket_cuts, by_frequency
from recbole_precise.studies.audit.histories import Histories

_RESOLUTIONS = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}


def sizes(data: Histories) -> dict[str, int | float]:
    """Count users, items and events."""
    counts = data.counts()
    seen = np.unique(data.items)
    return {
        "users": data.users,
        "items in the catalogue": data.n_items - 1,
        "items with events": len(seen),
        "items with training events": int((counts > 0).sum()),
        "events": len(data.items),
        "training events": int(data.is_training.sum()),
        "test targets": len(data.test),
        "density": len(data.items) / (data.users * (data.n_items - 1)),
    }


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Mean and quantiles."""
    names = {"least": 0, "10%": 0.1, "25%": 0.25, "median": 0.5, "75%": 0.75, "90%": 0.9, "most": 1}
    return {
        "mean": float(np.mean(values)),
        **{name: float(np.quantile(values, at)) for name, at in names.items()},
    }


def frequencies(data: Histories) -> dict[str, object]:
    """How training events are spread over the items of the catalogue."""
    counts = torch.from_numpy(data.counts())
    ascending = np.sort(counts.numpy()[1:])
    total = int(ascending.sum())
    n = len(ascending)
    seen = ascending[ascending > 0]
    gini = (
        float((2 * np.arange(1, n + 1) - n - 1) @ ascending / (n * total))
        if total
        else float("nan")
    )
    cuts = bucket_cuts(counts)
    place = np.zeros(data.n_items, dtype=np.int64)
    place[by_frequency(counts).numpy()] = np.arange(data.n_items - 1)
    bucket = np.searchsorted(cuts[1:-1], place[data.items[data.test]], side="right")
    return {
        "training events of an item": quantiles(ascending),
        "Gini coefficient": gini,
        "share of events of the most frequent 20% of the items seen": float(
            seen[len(seen) - -(-len(seen) // 5) :].sum() / total
        )
        if total
        else float("nan"),
        "cuts of ten equal-mass buckets": cuts,
        "share of test targets in each bucket": (
            np.bincount(bucket, minlength=10) / max(len(bucket), 1)
        ).tolist(),
    }


def times(data: Histories) -> dict[str, object]:
    """Describe the times.

    It says from when to when they are, how fine, and how many events share theirs with another of
    their user.
    """
    size = np.bincount(data.tie_group) if len(data.items) else np.zeros(1, dtype=np.int64)
    groups = np.bincount(
        data.owner[np.flatnonzero(np.diff(data.tie_group, prepend=-1))], minlength=data.users
    )
    return {
        "are places": are_places(data),
        "resolution": resolution(data.times),
        "first": float(np.min(data.times)),
        "last": float(np.max(data.times)),
        "share of events in ties": float(size[size > 1].sum() / len(data.items)),
        "events of the largest tie": int(size.max()),
        "share of users with one time for all": float(
            np.mean((groups == 1) & (np.diff(data.offsets) > 1))
        ),
    }


def are_places(data: Histories) -> bool:
    """Return whether the times only number the events of each user.

    That is so in files that lost theirs: 0, 1, 2, ... or 1, 2, 3, ...
    """
    return bool(
        np.array_equal(data.times, data.place) or np.array_equal(data.times, data.place + 1)
    )


def resolution(stamps: np.ndarray) -> str | None:
    """Return the coarsest unit of which all times are whole multiples, if they can be seconds.

    The seconds are those since 1970.

    Else None.
    """
    if stamps.min() < 3e8 or stamps.max() > 5e9:
        return None
    return next(
        (name for name, seconds in _RESOLUTIONS.items() if not np.any(stamps % seconds)),
        "finer than a second",
    )
