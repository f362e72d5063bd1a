"""Synthetic data sets in which one thing, and nothing else, has been planted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recbole_precise.studies.audit import Histories

TOPICS = 10


@dataclass
class Planted:
    """`histories` and `times`: one list per user.

    Items are 1 .. n_items - 1; `texts` by item, the padding first.
    """

    histories: list[list[int]]
    times: list[list[int]]
    n_items: int
    texts: list[str] = field(default_factory=list)

    @property
    def data(self) -> Histories:
        return Histories.leave_one_out(self.histories, self.n_items, self.times)


def no_order(
    seed: int, users: int = 300, n_items: int = 101, length: int = 12, baskets: bool = True
) -> Planted:
    """Users like some topics.

    The items that they take come in random order, three at a time if `baskets`.
    """
    rng = np.random.default_rng(seed)
    histories = []
    for _ in range(users):
        liked = rng.choice(TOPICS, 2, replace=False)
        items = np.flatnonzero(np.isin(np.arange(n_items) % TOPICS, liked))
        histories.append((rng.choice(items[items > 0], length)).tolist())
    step = 3 if baskets else 1
    start = rng.integers(10**9, 11 * 10**8, users)
    times = [[int(begin + 1000 * (place // step)) for place in range(length)] for begin in start]
    return Planted(histories, times, n_items, random_texts(rng, n_items))


def tie_order(seed: int, **settings) -> Planted:
    """As `no_order`, but each basket stands in ascending order of item ids, as in a file that was
    sorted by them.
    """
    planted = no_order(seed, **settings)
    planted.histories = [
        [item for lo in range(0, len(items), 3) for item in sorted(items[lo : lo + 3])]
        for items in planted.histories
    ]
    return planted


def markov(
    seed: int, users: int = 300, n_items: int = 101, length: int = 12, follow: float = 0.4
) -> Planted:
    """An item is followed by its own successor with the probability `follow`, else by any.

    Successors have nothing to do with ids.
    """
    rng = np.random.default_rng(seed)
    after = np.concatenate([[0], rng.permutation(n_items - 1) + 1])
    histories = []
    for _ in range(users):
        items = [int(rng.integers(1, n_items))]
        while len(items) < length:
            items.append(
                int(after[items[-1]]) if rng.random() < follow else int(rng.integers(1, n_items))
            )
        histories.append(items)
    times = [
        (int(begin) + 1000 * np.arange(length)).tolist()
        for begin in rng.integers(10**9, 11 * 10**8, users)
    ]
    return Planted(histories, times, n_items, random_texts(rng, n_items))


def smooth_text(
    seed: int, users: int = 300, n_items: int = 101, length: int = 12, stay: float = 0.7
) -> Planted:
    """Users stay with a topic for a while, and the texts of a topic share words."""
    rng = np.random.default_rng(seed)
    histories = []
    for _ in range(users):
        topic, items = int(rng.integers(TOPICS)), []
        while len(items) < length:
            topic = topic if rng.random() < stay else int(rng.integers(TOPICS))
            members = np.flatnonzero(np.arange(n_items) % TOPICS == topic)
            items.append(int(rng.choice(members[members > 0])))
        histories.append(items)
    times = [
        (int(begin) + 1000 * np.arange(length)).tolist()
        for begin in rng.integers(10**9, 11 * 10**8, users)
    ]
    words = rng.integers(0, 500, (n_items, 3))
    texts = [
        "",
        *(
            f"topic{item % TOPICS} " + " ".join(f"w{word}" for word in words[item])
            for item in range(1, n_items)
        ),
    ]
    return Planted(histories, times, n_items, texts)


def random_texts(rng: np.random.Generator, n_items: int) -> list[str]:
    """Four of a hundred words for each item."""
    return [
        "",
        *(" ".join(f"w{word}" for word in rng.integers(0, 100, 4)) for _ in range(n_items - 1)),
    ]
