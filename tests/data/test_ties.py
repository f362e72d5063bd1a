"""The log says which events have no order of their own, and whether they stand in the order of the
catalogue.
"""

import itertools
import logging
import random

import numpy as np
import pytest

from recbole_precise.data.ties import find_ties
from recbole_precise.plugin.preparation import create_dataset

NAMES = ["[PAD]", *(f"i{n:02d}" for n in range(30))]


def by_hand(users, place):
    """(events that share a time, share of ascending pairs with one time) by pairs of each user."""
    sharing, up, unequal = 0, 0, 0
    for events in users:
        times = [time for time, _ in events]
        sharing += sum(times.count(time) > 1 for time in times)
        for (t, a), (s, b) in itertools.pairwise(events):
            if t == s and a != b:
                unequal += 1
                up += place[a] < place[b]
    return sharing, up / unequal if unequal else None


@pytest.mark.parametrize("seed", range(20))
def test_ties_are_counted(seed):
    draw = random.Random(seed)
    users = [
        sorted(
            ((draw.randrange(6), draw.randrange(1, 31)) for _ in range(draw.randint(1, 20))),
            key=lambda event: event[0],
        )
        for _ in range(8)
    ]
    offsets = np.cumsum([0, *map(len, users)])
    flat = [event for events in users for event in events]
    found = find_ties(
        offsets,
        np.array([time for time, _ in flat]),
        np.array([item for _, item in flat]),
        NAMES,
        None,
    )
    sharing, share = by_hand(users, list(range(31)))
    assert (found.events, found.total) == (sharing, len(flat))
    assert share is None or found.ascending == pytest.approx(share)
    shuffled = NAMES[1:]
    draw.shuffle(shuffled)
    both = find_ties(
        offsets,
        np.array([time for time, _ in flat]),
        np.array([item for _, item in flat]),
        NAMES,
        shuffled,
    )
    other = by_hand(users, [-1, *(shuffled.index(name) for name in NAMES[1:])])[1]
    if share is not None:
        further = abs(other - 0.5) > abs(share - 0.5)
        assert both.order == (
            "rows of .item" if further else "by name"
        ) and both.ascending == pytest.approx(other if further else share)


def sorted_file(way, seed=1):
    """20 users with five baskets of four items each, in the order of the catalogue, against it, or
    in none.
    """
    draw = random.Random(seed)
    rows = []
    for user in range(20):
        for basket in range(5):
            items = sorted(draw.sample(range(30), 4), reverse=way == "down")
            if way == "random":
                draw.shuffle(items)
            rows += [
                (f"u{user}", f"i{item:02d}", basket if way != "numbered" else 4 * basket + n)
                for n, item in enumerate(items)
            ]
    return rows


@pytest.mark.parametrize("way, tie_break, level, says", [
    ("up", "file", "WARNING", "400 of 400 events share their time with another event of their "
                              "user; tie_break: file keeps the order of the file"),
    ("up", "file", "WARNING", "of 300 neighbours among them 100% ascend in the catalogue (by "
                              "name): that is the order of a sorted file"),
    ("down", "file", "WARNING", "100% descend in the catalogue"),
    ("random", "file", "INFO", "as by chance"),
    ("up", "random", "INFO", "tie_break: random draws their order from tie_seed"),
    ("numbered", "file", "WARNING", "The times only number each user's events, 400 in all, so "
                                    "that their order is that of the file; of 380 neighbours"),
])  # fmt: skip
def test_the_log_says_what_the_order_is(
    write_dataset, our_config, caplog, way, tie_break, level, says
):
    data_path = write_dataset("tied", sorted_file(way))
    with caplog.at_level(logging.INFO):
        create_dataset(
            our_config("SASRec-CE", "tied", data_path=str(data_path), tie_break=tie_break)
        ).build()
    said = [record for record in caplog.records if says in record.getMessage()]
    assert [record.levelname for record in said] == [level]


def test_files_with_times_of_their_own_are_not_mentioned(write_dataset, our_config, caplog):
    data_path = write_dataset(
        "apart",
        [(f"u{u}", f"i{(u * 7 + t) % 9}", 1000 * t + u) for u in range(5) for t in range(6)]
        + [("u9", "i1", 5)],
    )
    with caplog.at_level(logging.INFO):
        create_dataset(our_config("SASRec-CE", "apart", data_path=str(data_path))).build()
    assert "share their time" not in caplog.text and "number each" not in caplog.text
    assert "1 of 6 users have a single event" in caplog.text
