"""Numbering and filtering by count against RecBole's ways of doing them."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.data import splits
from recbole_precise.data.tokens import codes_of, keep_by_count, number_together

cells = st.lists(st.sampled_from(["b", "a", "c", "", "10", "9", "é", None]), max_size=12)


@given(st.lists(cells, min_size=1, max_size=3), st.lists(st.booleans(), min_size=3, max_size=3))
def test_tokens_are_numbered_as_if_concatenated(columns, as_categories):
    given_columns = [
        pd.Series(c, dtype=object).astype("category") if category else np.array(c, dtype=object)
        for c, category in zip(columns, as_categories)
    ]
    ids, tokens = number_together(given_columns)
    codes, expected = pd.factorize(
        np.array([cell for column in columns for cell in column], dtype=object)
    )
    assert np.concatenate(ids).tolist() == (codes + 1).tolist()
    assert list(tokens) == list(expected)
    assert all(column.dtype == np.int64 for column in ids)


def test_unused_categories_get_no_number():
    column = pd.Series(["x", "y", "z"], dtype="category")[1:]
    codes, tokens = codes_of(column)
    assert codes.tolist() == [0, 1] and list(tokens) == ["y", "z"]


pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40)
limits = st.tuples(st.integers(0, 4), st.integers(3, 12))


@given(pairs, limits, limits, st.booleans(), st.booleans())
def test_filtering_by_count_is_a_fixed_point_reached_round_by_round(
    events, users, items, user_file, item_file
):
    user, item = (np.array(side, dtype=np.int64) for side in zip(*events))
    rows = [np.arange(9) if there else None for there in (user_file, item_file)]
    bounds = [users, items]
    kept, *files = keep_by_count(
        user,
        item,
        *[lambda n, b=b: (n >= b[0]) & (n <= b[1]) for b in bounds],
        *rows,
        *[b[0] for b in bounds],
    )

    left, left_rows = list(events), [None if r is None else list(r) for r in rows]
    while True:
        counts = [Counter(event[side] for event in left) for side in (0, 1)]
        banned = []
        for side in (0, 1):
            low, high = bounds[side]
            out = {i for i, n in counts[side].items() if not low <= n <= high}
            banned.append(out | {i for i in left_rows[side] or [] if counts[side][i] < low})
        if not any(banned):
            break
        left = [event for event in left if event[0] not in banned[0] and event[1] not in banned[1]]
        left_rows = [
            None if r is None else [i for i in r if i not in banned[side]]
            for side, r in enumerate(left_rows)
        ]
    assert [event for event, keep in zip(events, kept) if keep] == left
    for file, row, mask in zip(left_rows, rows, files):
        assert (mask is None) == (file is None)
        assert mask is None or row[mask].tolist() == file


@pytest.mark.parametrize("mode", splits.LEAVE_ONE_OUT)
def test_leave_one_out(mode):
    rows = np.arange(6)
    train, valid, test = (part.tolist() for part in splits.leave_one_out(rows, mode))
    expected = {
        "valid_and_test": ([0, 1, 1, 1, 2, 3], [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]),
        "valid_only": ([0, 1, 1, 2, 3, 4], [0, 0, 1, 1, 1, 1], [0] * 6),
        "test_only": ([0, 1, 1, 2, 3, 4], [0] * 6, [0, 0, 1, 1, 1, 1]),
    }
    assert (train, valid, test) == expected[mode]
    with pytest.raises(ValueError, match="leave-one-out"):
        splits.leave_one_out(rows, "valid")


@given(st.lists(st.integers(0, 30), min_size=1, max_size=10), st.floats(0, 1))
def test_every_row_is_in_one_part(rows, share):
    rows = np.array(rows)
    before = (rows * share).astype(np.int64)
    for parts in (
        splits.by_time(rows, before, [0.6, 0.2, 0.2]),
        splits.by_ratio(rows, lambda n: [n // 2, n - n // 4]),
    ):
        assert all((part >= 0).all() for part in parts)
        assert (sum(parts) == rows).all()
