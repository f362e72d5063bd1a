"""The rank of every evaluated row, kept with its user and target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_precise.files import write_atomically


@dataclass
class Ranks:
    """The rank of every evaluated row: enough for every metric, slice and test that follows.

    Attributes:
        user_id, target: `[rows]`, int64 ids, or tokens (str) where results of several runs meet.
        rank: int64 `[rows]`, the target's rank from 1.
    """

    user_id: np.ndarray
    target: np.ndarray
    rank: np.ndarray

    def __post_init__(self) -> None:
        self.user_id = _ids(self.user_id)
        self.target = _ids(self.target)
        self.rank = np.asarray(self.rank, dtype=np.int64)
        if not self.user_id.shape == self.target.shape == self.rank.shape or self.rank.ndim != 1:
            raise ValueError(
                "user_id, target and rank must be vectors of one length, got "
                f"{self.user_id.shape}, {self.target.shape}, {self.rank.shape}"
            )

    def __len__(self) -> int:
        return len(self.rank)

    def select(self, rows: np.ndarray) -> Ranks:
        """Select the rows of a boolean mask or an index array."""
        return Ranks(self.user_id[rows], self.target[rows], self.rank[rows])

    def save(self, path: str | Path) -> None:
        """Write a compressed .npz; a reader sees the old file or the new one, never half of it."""

        def write(partial: Path) -> None:
            with partial.open("wb") as file:
                np.savez_compressed(file, user_id=self.user_id, target=self.target, rank=self.rank)

        write_atomically(Path(path), write, "the ranks")

    @classmethod
    def load(cls, path: str | Path) -> Ranks:
        """Read the ranks of a file."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["user_id"], arrays["target"], arrays["rank"])


def _ids(values: Any) -> np.ndarray:
    values = np.asarray(values)
    return values if values.dtype.kind == "U" else values.astype(np.int64)
