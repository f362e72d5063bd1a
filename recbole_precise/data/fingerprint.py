"""What distinguishes one data set from another.

Whatever the order of its rows and the numbers of its names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_precise.data.ordering import stable_order
from recbole_precise.files import file_digest

_LANES = (
    2  # 64-bit sums; two of them make an accidental match of different data practically impossible
)


def name_hashes(names: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Hash names to 64-bit numbers that depend on their text alone.

    Args:
        names: `[n]` texts.

    Returns:
        uint64 `[n, 2]`, one column a lane.
    """
    joined = b"".join(
        hashlib.blake2b(str(name).encode("utf-8", "surrogatepass"), digest_size=8 * _LANES).digest()
        for name in names
    )
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64).reshape(-1, _LANES)


def mixed(values: np.ndarray) -> np.ndarray:
    """Scramble 64-bit numbers so that sums of them do not cancel (the finaliser of splitmix64)."""
    values = values.astype(np.uint64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def time_bits(times: np.ndarray) -> np.ndarray:
    """Convert times to 64-bit numbers.

    Equal times have equal bits, whether read as whole numbers or not.

    Args:
        times: int64 or float64 `[events]`.

    Returns:
        uint64 `[events]`.
    """
    return (times.astype(np.float64) + 0.0).view(np.uint64)


def events_digest(
    user: np.ndarray,
    users: Sequence[Any] | np.ndarray,
    item: np.ndarray,
    items: Sequence[Any] | np.ndarray,
    times: np.ndarray | None,
) -> str:
    """Digest a set of events by what they say, not by how rows and names are numbered.

    Two files have the same digest when every user has the same events at the same times; the
    order of rows counts only among events of one user and one time, whose order is the file's.

    Args:
        user, item: int64 `[events]`, indices into `users` and `items`.
        users, items: names.
        times: int64 or float64 `[events]`; None: the order of the rows.

    Returns:
        32 hexadecimal digits.
    """
    moment = np.arange(len(user)) if times is None else times
    bits = time_bits(moment)
    order = stable_order([moment, user])
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (user[order][1:] == user[order][:-1]) & (bits[order][1:] == bits[order][:-1])
    place = np.arange(len(order))
    first = np.maximum.accumulate(np.where(again, 0, place))
    tie = np.empty(len(order), dtype=np.uint64)
    tie[order] = (place - first).astype(np.uint64)
    user_hash = name_hashes(users)
    item_hash = name_hashes(items)
    digest = ""
    for lane in range(_LANES):
        row = mixed(user_hash[user, lane]) + mixed(item_hash[item, lane] + np.uint64(lane + 1))
        row = mixed(row) + bits
        row = mixed(mixed(row) + tie)
        digest += f"{int(row.sum(dtype=np.uint64)):016x}"
    return digest


def tie_keys(
    user: np.ndarray, users: Sequence[Any], item: np.ndarray, items: Sequence[Any], seed: int
) -> np.ndarray:
    """Draw a random order of events from a seed and from the events' names alone.

    A user's ties then fall the same way whatever is elsewhere in the file.

    Returns:
        uint64 `[events]`, to sort by.
    """
    salt = name_hashes([f"tie {seed}"])[0, 0]
    own = mixed(name_hashes(users)[user, 0] + salt)
    return mixed(own + mixed(name_hashes(items)[item, 1]))


def file_digests(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files by name, of those that exist."""
    return {path.name: file_digest(path) for path in paths if path.is_file()}
