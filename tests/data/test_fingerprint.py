"""Digests of data: equal for equal events, whatever their order and numbering, and for no
others.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.data.fingerprint import events_digest, file_digests, name_hashes, tie_keys

EVENT = st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 5))


def digest(rows, names=None):
    """The digest of (user, item, time) rows; `names` renames the numbers."""
    user, item, time = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    rename = names or (lambda kind, number: f"{kind}{number}")
    users = [rename("u", number) for number in range(5)]
    items = [rename("i", number) for number in range(7)]
    return events_digest(user, users, item, items, time)


@given(st.lists(EVENT, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_rows_counts_only_inside_ties(rows, random):
    moved = list(rows)
    random.shuffle(moved)

    def ties(events):
        found = {}
        for user, item, time in events:
            found.setdefault((user, time), []).append(item)
        return found

    assert (digest(rows) == digest(moved)) == (ties(rows) == ties(moved))


@given(st.lists(EVENT, min_size=2, max_size=12), EVENT, st.integers(0, 11))
def test_other_events_have_another_digest(rows, other, place):
    place %= len(rows)
    changed = [*rows[:place], other, *rows[place + 1 :]]
    if sorted(changed) != sorted(rows):
        assert digest(changed) != digest(rows)
    assert digest([*rows, other]) != digest(rows)
    assert digest(rows[1:]) != digest(rows)


@given(st.lists(EVENT, min_size=1, max_size=12), st.permutations(range(5)))
def test_numbers_do_not_count_and_names_do(rows, order):
    users = [f"u{number}" for number in range(5)]
    items = [f"i{number}" for number in range(7)]
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    back = np.argsort(order)
    renumbered = events_digest(back[user], [users[n] for n in order], item, items, time)
    assert renumbered == digest(rows)
    assert digest(rows, lambda kind, number: f"{kind}-{number}") != digest(rows)


def test_whole_and_broken_times_of_one_value_are_equal():
    rows = np.array([0, 1]), ["a", "b"], np.array([0, 0]), ["x"]
    whole = events_digest(*rows, np.array([3, 4]))
    assert events_digest(*rows, np.array([3.0, 4.0])) == whole
    assert events_digest(*rows, np.array([3.0, 4.5])) != whole


def test_hashes_of_names_do_not_collide_and_never_change():
    names = [f"item {number}" for number in range(50_000)]
    lanes = name_hashes(names)
    assert lanes.shape == (50_000, 2)
    assert all(len(np.unique(lanes[:, lane])) == 50_000 for lane in (0, 1))
    # A run keeps digests on disk: another value would make every older run's data look changed.
    assert digest([(0, 0, 0), (0, 1, 1)]) == digest([(0, 0, 0), (0, 1, 1)])
    assert digest([(0, 0, 0), (0, 1, 1)]) == "b36108f51deed91cf4a8f37c89ad840d"


def test_tie_keys_are_spread_over_all_orders():
    user, item = np.zeros(4, dtype=np.int64), np.arange(4)
    names = [f"i{number}" for number in range(4)]
    orders = {tuple(np.argsort(tie_keys(user, ["u"], item, names, seed))) for seed in range(500)}
    assert len(orders) == 24


def test_digests_of_files(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    found = file_digests([tmp_path / "a", tmp_path / "missing"])
    assert found == {"a": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
