"""All users' histories as flat arrays, and their shuffled copies.

They say which events train and which are test targets.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Histories:
    """Events by user and in the user's order, as a sequence model reads them.

    Attributes:
        items: int64 `[events]`, ids 1 .. n_items - 1 (0 is RecBole's padding).
        offsets: int64 `[users + 1]`; user u's events are offsets[u] .. offsets[u + 1] - 1.
        n_items: rows of the catalogue, padding included.
        trained: int64 `[users]`, how many of each user's first events are for training.
        test: int64 `[cases]`, events that are test targets; all earlier events of the user are
            their history.
        times: `[events]`, as in the file.
    """

    items: np.ndarray
    offsets: np.ndarray
    n_items: int
    trained: np.ndarray
    test: np.ndarray
    times: np.ndarray

    def __post_init__(self) -> None:
        if len(self.items) and (self.items.min() < 1 or self.items.max() >= self.n_items):
            raise ValueError(f"an item lies outside 1 .. {self.n_items - 1}")
        if (
            len(self.times) != len(self.items)
            or self.offsets[-1] != len(self.items)
            or len(self.trained) != len(self.offsets) - 1
        ):
            raise ValueError("items, times, offsets and trained do not belong together")

    @classmethod
    def leave_one_out(cls, histories: list, n_items: int, times: list | None = None) -> Histories:
        """From lists of items: the last is the test target, the one before it is for validation."""
        sizes = np.array([len(history) for history in histories], dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        stamps = [range(size) for size in sizes] if times is None else times
        return cls(
            np.concatenate(histories).astype(np.int64),
            offsets,
            n_items,
            np.maximum(sizes - 2, 0),
            offsets[1:][sizes > 1] - 1,
            np.concatenate(stamps),
        )

    @property
    def users(self) -> int:
        """Return the number of users."""
        return len(self.offsets) - 1

    @cached_property
    def owner(self) -> np.ndarray:
        """int64 `[events]`: index of each event's user."""
        return np.repeat(np.arange(self.users), np.diff(self.offsets))

    @cached_property
    def place(self) -> np.ndarray:
        """int64 `[events]`: place of each event in its user's history, from 0."""
        return np.arange(len(self.items)) - self.offsets[self.owner]

    @cached_property
    def is_training(self) -> np.ndarray:
        """Bool `[events]`."""
        return self.place < self.trained[self.owner]

    @cached_property
    def training_offsets(self) -> np.ndarray:
        """int64 `[users + 1]` into `items[is_training]`."""
        return np.concatenate([[0], np.cumsum(self.trained)])

    @cached_property
    def test_history(self) -> tuple[np.ndarray, np.ndarray]:
        """(case `[n]`, event `[n]`): all events before each test target."""
        length = self.place[self.test]
        case = np.repeat(np.arange(len(self.test)), length)
        before = np.cumsum(length) - length
        return case, np.arange(len(case)) + (self.test - length - before)[case]

    def pairs(self, distance: int = 1) -> np.ndarray:
        """int64 `[pairs]`: events whose user has an event `distance` places later."""
        return np.flatnonzero(
            self.owner[: max(len(self.owner) - distance, 0)] == self.owner[distance:]
        )

    @cached_property
    def tie_group(self) -> np.ndarray:
        """int64 `[events]`: a number for each run of a user's events with one time, ascending."""
        new = np.ones(len(self.items), dtype=bool)
        new[1:] = (self.owner[1:] != self.owner[:-1]) | (self.times[1:] != self.times[:-1])
        return np.cumsum(new) - 1

    def counts(self) -> np.ndarray:
        """int64 `[n_items]`: training events of each item."""
        return np.bincount(self.items[self.is_training], minlength=self.n_items)

    def shuffled(self, rng: np.random.Generator, within_ties: bool = False) -> Histories:
        """Return the same histories in random order.

        `within_ties`: only events of one user and one time change places.

        Which places are for training and testing does not change, nor do the times.
        """
        group = self.tie_group if within_ties else self.owner
        order = np.lexsort((rng.random(len(self.items)), group))
        return self._with_items(self.items[order])

    def _with_items(self, items: np.ndarray) -> Histories:
        """Other items at the same places; what does not depend on items is not computed again."""
        other = dataclasses.replace(self, items=items)
        other.__dict__.update(
            {
                name: value
                for name, value in self.__dict__.items()
                if name not in {field.name for field in dataclasses.fields(self)}
            }
        )
        return other

    def some_users(self, most_events: int, rng: np.random.Generator) -> Histories:
        """Whole histories of random users, with at most `most_events` events (at least one user).

        Itself when it has no more.
        """
        if len(self.items) <= most_events:
            return self
        users = rng.permutation(self.users)
        total = np.cumsum(np.diff(self.offsets)[users])
        users = np.sort(users[: max(1, int(np.searchsorted(total, most_events, side="right")))])
        kept = np.zeros(self.users, dtype=bool)
        kept[users] = True
        event = kept[self.owner]
        new_index = np.cumsum(event) - 1
        return Histories(
            self.items[event],
            np.concatenate([[0], np.cumsum(np.diff(self.offsets)[users])]),
            self.n_items,
            self.trained[users],
            new_index[self.test[event[self.test]]],
            self.times[event],
        )
