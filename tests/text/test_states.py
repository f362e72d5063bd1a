"""Ragged token states against lists of small arrays."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.text.states import TokenStates

SPECIAL = (0, 1)


def make(lengths, seed, *, edges=True):
    """States of texts with these lengths.

    Special tokens at the ends only when `edges`, else anywhere.
    """
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    states = rng.normal(size=(total, 3)).astype(np.float16)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    ids = rng.integers(2 if edges else 0, 6, total).astype(np.int32)
    if edges:
        for begin, end in itertools.pairwise(offsets):
            if end > begin:
                ids[begin], ids[end - 1] = 0, 1
    return TokenStates(
        states, ids, offsets[:-1], np.diff(offsets), vocab_size=6, special_token_ids=SPECIAL
    )


def as_lists(states):
    return [
        (ids.tolist(), rows.tolist())
        for ids, rows in (states.tokens(i) for i in range(len(states)))
    ]


lengths = st.lists(st.integers(0, 5), max_size=12)


@given(lengths, st.integers(0, 99), st.data())
def test_select_offsets_and_flat_arrays(sizes, seed, data):
    states = make(sizes, seed)
    lists = as_lists(states)
    index = data.draw(st.lists(st.integers(-1, len(sizes) - 1), max_size=15)) if sizes else []
    chosen = states.select(np.asarray(index, dtype=np.int64))
    expected = [lists[i] if i >= 0 else ([], []) for i in index]
    assert as_lists(chosen) == expected
    flat = [row for _, rows in expected for row in rows]
    assert chosen.states.tolist() == flat and chosen.states.shape[1] == 3
    assert chosen.token_ids.tolist() == [i for ids, _ in expected for i in ids]
    assert (
        chosen.offsets.tolist()
        == np.concatenate(([0], np.cumsum([len(ids) for ids, _ in expected]))).tolist()
    )


@given(lengths, st.integers(0, 99), st.booleans())
def test_without_special(sizes, seed, edges):
    states = make(sizes, seed, edges=edges)
    expected = [
        (
            [i for i in ids if i not in SPECIAL],
            [row for i, row in zip(ids, rows) if i not in SPECIAL],
        )
        for ids, rows in as_lists(states)
    ]
    bare = states.without_special()
    assert as_lists(bare) == expected
    assert not np.isin(bare.token_ids, SPECIAL).any()
    if edges and sum(sizes):
        assert bare._store is states._store  # nothing was copied


@given(lengths, st.integers(0, 99))
def test_pooled_is_the_mean_of_each_text(sizes, seed):
    states = make(sizes, seed).select(np.arange(len(sizes))[::-1])
    pooled = states.pooled()
    assert pooled.dtype == np.float32 and pooled.shape == (len(sizes), 3)
    for i in range(len(sizes)):
        rows = states.tokens(i)[1].astype(np.float64)
        np.testing.assert_allclose(
            pooled[i], rows.mean(0) if len(rows) else 0, rtol=1e-5, atol=1e-6
        )


def test_pooling_in_chunks_changes_nothing(monkeypatch):
    states = make([3, 0, 5, 1, 1, 0, 7, 2], 0)
    whole = states.pooled()
    for size in (1, 24, 60, 120):
        monkeypatch.setattr("recbole_precise.text.states._CHUNK_BYTES", size)
        assert np.array_equal(states.pooled(), whole)


@given(lengths, st.integers(0, 99), st.data())
def test_padded(sizes, seed, data):
    states = make(sizes, seed)
    index = data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=6)) if sizes else []
    padded, ids, mask = states.padded(index)
    assert padded.shape[:2] == ids.shape == mask.shape
    for row, i in enumerate(index):
        size = sizes[i]
        assert mask[row].tolist() == [True] * size + [False] * (mask.shape[1] - size)
        assert np.array_equal(ids[row, :size], states.tokens(i)[0]) and not ids[row, size:].any()
        assert (
            np.array_equal(padded[row, :size], states.tokens(i)[1]) and not padded[row, size:].any()
        )


def test_in_order_views_share_memory_with_the_store():
    states = make([2, 0, 3], 0)
    assert np.shares_memory(states.states, states._store)
    assert np.shares_memory(states.select([0, 1]).states, states._store)
    assert np.shares_memory(states.select([2, -1]).states, states._store)
    assert not np.shares_memory(states.select([2, 0]).states, states._store)
    assert len(states.select(np.asarray([True, False, True]))) == 2
