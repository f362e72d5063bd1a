"""Test whether the order of events follows an order of the catalogue.

If it does, it is the order of a file, not that of people.

Events with one time have no order of their own. A file that was sorted by item keeps that order
inside ties, and a model that reads positions can learn it. Where the file has no times any more,
ties cannot be seen; but then neighbours follow the catalogue more often than events further apart,
while a taste that drifts towards newer items does the opposite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from recbole_precise.studies.audit.chance import Estimate, interval, per_user
from recbole_precise.studies.audit.histories import Histories

#: Distances between events that neighbours are set against.
FAR = (2, 3, 4, 5)


def token_order(tokens: Sequence[str]) -> np.ndarray:
    """Return the place of each item when items are sorted by id: int64 `[n_items]`.

    They are sorted as numbers where all are numbers; item 0 is first.
    """
    names = [str(token) for token in tokens[1:]]
    try:
        keys: list = [int(name) for name in names]
    except ValueError:
        keys = names
    place = np.zeros(len(names) + 1, dtype=np.int64)
    place[1 + np.array(sorted(range(len(names)), key=keys.__getitem__), dtype=np.int64)] = (
        np.arange(1, len(names) + 1)
    )
    return place


def file_order(tokens: Sequence[str], in_file: Sequence[str]) -> np.ndarray:
    """int64 `[n_items]`: the place of each item in the file of items.

    Items that are not in it get -1.
    """
    place = {token: number for number, token in enumerate(in_file, start=1)}
    return np.array([0, *(place.get(str(token), -1) for token in tokens[1:])], dtype=np.int64)


def alike(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether two orders of the catalogue are the same, or nearly so.

    A rank correlation over 0.99 makes one of them enough.
    """
    known = (first > 0) & (second > 0)
    return bool(
        known.sum() == len(known) - 1 and spearmanr(first[known], second[known]).statistic > 0.99
    )


class Ascending:
    """Shares of pairs of a user's events that are in ascending order of the catalogue.

    Which pairs there are does not depend on the items, so that one object serves all shuffled
    copies.
    """

    def __init__(self, data: Histories, place: np.ndarray) -> None:
        """`place` int64 `[n_items]`: an order of the catalogue, -1 for items that have none."""
        self.place = place
        self.owner = data.owner
        self.users = data.users
        self.next = data.pairs(1)
        self.tied = self.next[data.tie_group[self.next] == data.tie_group[self.next + 1]]
        self.far = [(data.pairs(distance), distance) for distance in FAR]

    def index(self, items: np.ndarray, tied: bool) -> float:
        """Share of consecutive pairs in ascending order, of those with one time or of all.

        Equal items are not ascending.
        """
        first, second, known = self._places(items, self.tied if tied else self.next, 1)
        return float((first < second)[known].mean()) if known.any() else float("nan")

    def index_estimate(self, items: np.ndarray, tied: bool) -> Estimate:
        """Estimate the share of ascending pairs, `tied` or consecutive, with its interval."""
        events = self.tied if tied else self.next
        first, second, known = self._places(items, events, 1)
        return interval(
            *per_user((first < second) & known, known, self.owner[events], self.users),
            int(known.sum()),
        )

    def surplus(self, items: np.ndarray) -> float:
        """Return the surplus of the prevailing direction among neighbours.

        It is the share among neighbours less that among events 2 to 5 places apart, both of unequal
        items.
        """
        near, far = self._shares(items)
        return (near - far) * (1 if near >= 0.5 else -1)

    def surplus_estimate(self, items: np.ndarray) -> Estimate:
        """Estimate the surplus among neighbours, with its interval."""
        near, near_parts = self._at(items, [(self.next, 1)])
        far, far_parts = self._at(items, self.far)
        sign = 1 if near >= 0.5 else -1
        return interval(
            sign * (near - far),
            near_parts - far_parts,
            len(self.next) if self.far[0][0].size else 0,
        )

    def at_distance(self, data: Histories, distance: int) -> Estimate:
        """Share of ascending pairs among pairs of unequal items `distance` places apart."""
        events = data.pairs(distance)
        first, second, known = self._places(data.items, events, distance)
        unequal = known & (first != second)
        return interval(
            *per_user((first < second) & unequal, unequal, self.owner[events], self.users),
            int(unequal.sum()),
        )

    def _places(
        self, items: np.ndarray, events: np.ndarray, distance: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = self.place[items[events]]
        second = self.place[items[events + distance]]
        return first, second, (first >= 0) & (second >= 0)

    def _shares(self, items: np.ndarray) -> tuple[float, float]:
        shares = []
        for pairs in ([(self.next, 1)], self.far):
            above = total = 0
            for events, distance in pairs:
                first, second, known = self._places(items, events, distance)
                above += int(((first < second) & known).sum())
                total += int(((first != second) & known).sum())
            shares.append(above / total if total else float("nan"))
        return shares[0], shares[1]

    def _at(
        self, items: np.ndarray, pairs: list[tuple[np.ndarray, int]]
    ) -> tuple[float, np.ndarray]:
        numerator = []
        denominator = []
        owner = []
        for events, distance in pairs:
            first, second, known = self._places(items, events, distance)
            numerator.append((first < second) & known)
            denominator.append((first != second) & known)
            owner.append(self.owner[events])
        return per_user(
            np.concatenate(numerator),
            np.concatenate(denominator),
            np.concatenate(owner),
            self.users,
        )


def orders_of(tokens: Sequence[str], in_file: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Return the orders of the catalogue to look for.

    They are that of the rows of the file of items, and that by item id where it is another order.
    """
    by_id = token_order(tokens)
    by_file = None if in_file is None else file_order(tokens, in_file)
    if by_file is None or (by_file > 0).sum() < 2:
        return {"item id": by_id}
    return (
        {"row of .item": by_file}
        if alike(by_file, by_id)
        else {"row of .item": by_file, "item id": by_id}
    )
