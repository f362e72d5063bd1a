"""The store and its rows against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.data.fingerprint import tie_keys
from recbole_precise.data.sequences import (
    RowColumns,
    RowFields,
    SequenceStore,
    ranges,
    train_windows,
)

NAMES = RowFields(user="user", length="length", lists={"item_list": "item"})


@st.composite
def events(draw):
    """A few users with 1 to 12 events, times with many ties, shuffled as in a file."""
    counts = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    ids = draw(
        st.lists(st.integers(1, 50), min_size=len(counts), max_size=len(counts), unique=True)
    )
    user = np.repeat(ids, counts)
    n = len(user)
    user = user[draw(st.permutations(range(n)))]
    item = np.array(draw(st.lists(st.integers(1, 9), min_size=n, max_size=n)))
    time = np.array(draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)))
    return user, item, time


def sequences_of(user, item, time):
    """Brute force: user -> events (item, time, line), by time and then as in the file."""
    result = {}
    for line in sorted(range(len(user)), key=lambda i: (user[i], time[i], i)):
        result.setdefault(int(user[line]), []).append((int(item[line]), int(time[line]), line))
    return result


def store_of(user, item, time, **options):
    fields = {
        "item": torch.tensor(item),
        "line": torch.arange(len(user)),
        "pair": torch.rand(len(user), 2),
    }
    return SequenceStore.build(fields, torch.tensor(user), time, times=time, **options)


def random_ties(data, seed):
    names = [f"n{number}" for number in range(100)]
    return tie_keys(np.asarray(data[0]), names, np.asarray(data[1]), names, seed)


def items_by_user(store):
    """User -> its items in the order of the store."""
    pairs = zip(store.user.tolist(), store.fields["item"].tolist(), strict=True)
    found = {}
    for user, item in pairs:
        found.setdefault(user, []).append(item)
    return found


def test_ranges():
    row, value = ranges(torch.tensor([5, 0, 7]), torch.tensor([2, 0, 3]))
    assert row.tolist() == [0, 0, 2, 2, 2]
    assert value.tolist() == [5, 6, 7, 8, 9]


@given(events())
def test_events_are_sorted_by_user_time_and_line(data):
    store, expected = store_of(*data), sequences_of(*data)
    assert store.user_ids.tolist() == sorted(expected)
    assert store.user.tolist() == [user for user, sequence in expected.items() for _ in sequence]
    for u, user in enumerate(store.user_ids.tolist()):
        own = slice(*store.offsets[u : u + 2].tolist())
        assert store.fields["item"][own].tolist() == [item for item, _, _ in expected[user]]
        assert store.times[own].tolist() == [time for _, time, _ in expected[user]]
        assert store.fields["line"][own].tolist() == [line for _, _, line in expected[user]]


@given(events(), st.integers(0, 3))
def test_random_ties_keep_time_order_and_depend_on_seed_and_names_alone(data, seed):
    store = store_of(*data, tie_key=random_ties(data, seed))
    torch.manual_seed(0)
    np.random.seed(1)
    # More events of other users, and the rows of the file in another order.
    order = np.random.default_rng(seed).permutation(len(data[0]))
    more = [np.concatenate([values[order], [99, 98]]) for values in data]
    again = store_of(*more, tie_key=random_ties(more, seed))
    items = {user: own for user, own in items_by_user(again).items() if user < 90}
    assert items == items_by_user(store)
    lines = store.fields["line"].numpy()
    keys = list(zip(data[0][lines], data[2][lines]))
    assert keys == sorted(keys)


def test_random_ties_differ_between_seeds_and_from_the_file():
    data = np.ones(30, dtype=np.int64), np.arange(30), np.zeros(30)
    orders = {
        tuple(store_of(*data, tie_key=random_ties(data, seed)).fields["line"].tolist())
        for seed in range(5)
    }
    assert len(orders) == 5
    assert tuple(range(30)) not in orders


def test_every_order_of_a_tie_comes_up():
    data = np.ones(3, dtype=np.int64), np.arange(3), np.zeros(3)
    orders = {
        tuple(store_of(*data, tie_key=random_ties(data, seed)).fields["line"].tolist())
        for seed in range(100)
    }
    assert len(orders) == 6


@given(events(), st.integers(1, 8), st.data())
def test_gather_equals_brute_force(data, max_length, draw):
    store = store_of(*data)
    end = torch.tensor(draw.draw(st.lists(st.integers(0, len(store) - 1), min_size=1, max_size=5)))
    length = store.history_length(end, max_length)
    gathered = store.gather(end, length, max_length, "item")
    pairs = store.gather(end, length, max_length, "pair")
    sequences = sequences_of(*data)
    line_of = store.fields["line"]
    for row, target in enumerate(end.tolist()):
        own = sequences[int(store.user[target])]
        place = [line for _, _, line in own].index(int(line_of[target]))
        history = [item for item, _, _ in own[:place]][-max_length:]
        assert gathered[row].tolist() == history + [0] * (max_length - len(history))
        assert length[row] == len(history)
        expected = torch.zeros(max_length, 2)
        expected[: len(history)] = store.fields["pair"][target - len(history) : target]
        assert torch.equal(pairs[row], expected)
    assert gathered.dtype == store.fields["item"].dtype


@given(events())
def test_history_is_everything_before_the_target(data):
    store = store_of(*data)
    end = torch.arange(len(store))
    row, item = store.history(end, "item")
    for target in end.tolist():
        start = int(store.offsets[store.owner[target]])
        assert item[row == target].tolist() == store.fields["item"][start:target].tolist()


@given(events(), st.integers(1, 8), st.data())
def test_windows_train_every_target_once_with_enough_history(data, max_length, draw):
    store = store_of(*data)
    stride = draw.draw(st.integers(1, max_length))
    first = store.offsets[:-1]
    held_out = torch.tensor([draw.draw(st.integers(0, 3)) for _ in first])
    last = store.offsets[1:] - 1 - held_out
    shift = draw.draw(st.integers(0, stride - 1))
    end, length, supervised = train_windows(first, last, max_length, stride, shift)
    trained = []
    for target, inputs, loss in zip(end.tolist(), length.tolist(), supervised.tolist()):
        begin = int(store.offsets[store.owner[target]])
        assert 1 <= loss <= inputs <= max_length and loss <= stride
        assert target - inputs >= begin
        for t in range(target - loss + 1, target + 1):
            trained.append(t)
            seen = inputs - (target - t)
            assert seen >= min(t - begin, max_length - stride + 1)
    wanted = [t for a, b in zip(first.tolist(), last.tolist()) for t in range(a + 1, b + 1)]
    assert sorted(trained) == wanted
    assert len(trained) == len(set(trained))
    fewest = [-(-max(b - a, 0) // stride) for a, b in zip(first.tolist(), last.tolist())]
    assert sum(fewest) <= len(end) <= sum(rows + (rows > 1) for rows in fewest)
    if not shift:
        assert len(end) == sum(fewest)
    for user, rows in enumerate(fewest):  # a user with one window keeps it whole
        if rows == 1:
            assert supervised[store.owner[end] == user].tolist() == [int(last[user] - first[user])]


@pytest.mark.parametrize("shift", [5, -1])
def test_a_shift_out_of_range_is_refused(shift):
    with pytest.raises(ValueError, match="between 0 and stride - 1"):
        train_windows(torch.tensor([0]), torch.tensor([3]), 5, 5, shift)


@pytest.mark.parametrize("stride", [0, 6, -1])
def test_a_stride_out_of_range_is_refused(stride):
    with pytest.raises(ValueError, match="between 1 and max_length"):
        train_windows(torch.tensor([0]), torch.tensor([3]), 5, stride)


def small_store():
    fields = {"item": torch.tensor([4, 5, 6, 7, 8]), "rating": torch.tensor([1.0, 2, 3, 4, 5])}
    return SequenceStore(fields, torch.tensor([1, 1, 1, 2, 2]))


def test_prefix_rows_look_like_a_table():
    rows = RowColumns(small_store(), torch.tensor([1, 2, 4]), NAMES, 2)
    assert list(rows) == ["user", "item", "rating", "length", "item_list"]
    assert {name: column.tolist() for name, column in rows.dictionary().items()} == {
        "user": [1, 1, 2],
        "item": [5, 6, 8],
        "rating": [2.0, 3.0, 5.0],
        "length": [1, 2, 1],
        "item_list": [[4, 0], [4, 5], [7, 0]],
    }
    assert rows["item_list"] is rows["item_list"]
    assert rows.take([2, 0])["item"].tolist() == [8, 5]
    assert rows.take(np.array([1]))["item_list"].tolist() == [[4, 5]]
    assert rows.take(slice(1, None))["user"].tolist() == [1, 2]
    assert rows.take(0)["item_list"].tolist() == [4, 0]


def test_window_rows_carry_what_a_model_needs():
    rows = RowColumns(small_store(), torch.tensor([2, 4]), NAMES, 2, stride=2)
    assert {name: column.tolist() for name, column in rows.dictionary().items()} == {
        "user": [1, 2],
        "item": [6, 8],
        "length": [2, 1],
        "item_list": [[4, 5], [7, 0]],
        "supervised_length": [2, 1],
    }
    assert rows.targets().tolist() == [1, 2, 4]


def test_columns_can_be_set_and_dropped():
    rows = RowColumns(small_store(), torch.tensor([1, 2, 4]), NAMES, 2)
    rows["label"] = torch.tensor([1, 0, 1])
    rows["item_list"] = torch.zeros(3, 2)
    del rows["rating"]
    assert "rating" not in rows and "label" in rows
    taken = rows.take([2, 1]).dictionary()
    assert taken["label"].tolist() == [1, 0]
    assert taken["item_list"].tolist() == [[0, 0], [0, 0]]
    assert "rating" not in taken
    with pytest.raises(KeyError):
        rows["rating"]
    with pytest.raises(KeyError):
        del rows["rating"]


def test_a_store_needs_sorted_users():
    with pytest.raises(ValueError, match="build"):
        SequenceStore({}, torch.tensor([2, 1, 2]))


@given(events())
def test_next_events_stand_behind_all_others(data):
    store = store_of(*data)
    longer, ends = store.with_next_events()
    assert len(longer) == len(store) + len(store.user_ids)
    assert longer.users_of(ends).tolist() == store.user_ids.tolist()
    assert not longer.fields["line"][ends].any()
    for place, own in enumerate(sequences_of(*data).values()):
        begin = longer.offsets[place]
        assert longer.fields["item"][begin : ends[place]].tolist() == [item for item, _, _ in own]
        assert longer.times[ends[place]] == own[-1][1]
        assert longer.offsets[place + 1] == ends[place] + 1
