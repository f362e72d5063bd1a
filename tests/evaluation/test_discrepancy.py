"""Distances between spaces against sums written out, SciPy, and what a person would count
by hand.
"""

import ast
import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine, euclidean

from recbole_precise.evaluation.discrepancy import (
    ItemPairs,
    gate_by_bucket,
    item_pairs,
    pair_distances,
    separation,
    tau_by_bucket,
)


def some_rows(seed, rows=12, length=5, n_items=30, buckets=4):
    chance = np.random.default_rng(seed)
    history = chance.integers(1, n_items, (rows, length))
    history[np.arange(length) < chance.integers(0, length, rows)[:, None]] = 0
    bucket = chance.integers(1, buckets + 1, n_items)
    bucket[0] = 0
    return history, chance.integers(1, n_items, rows), bucket


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_pairs_are_history_items_with_what_followed(seed):
    history, target, bucket = some_rows(seed)
    pairs = item_pairs(history, target, bucket)
    wanted = sorted(
        (item, after, bucket[after])
        for items, after in zip(history.tolist(), target.tolist())
        for item in items
        if item and item != after
    )
    assert (
        sorted(zip(pairs.behaviour.tolist(), pairs.target.tolist(), pairs.bucket.tolist()))
        == wanted
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 2))
def test_negatives_are_others_of_the_targets_bucket(seed, negatives):
    history, target, bucket = some_rows(seed, rows=1, buckets=2)
    real = item_pairs(history, target, bucket)
    both = item_pairs(history, target, bucket, negatives=negatives, seed=seed)
    more = sorted(set(both.target.tolist()) - set(target.tolist()))
    own = {*history.flatten().tolist(), int(target[0])}
    assert not own & set(more) and all(bucket[item] == bucket[target[0]] for item in more)
    n_history, possible = (
        int((history > 0).sum()),
        set(np.flatnonzero(bucket == bucket[target[0]]).tolist()) - own,
    )
    assert len(both) == len(real) + (negatives * n_history if possible else 0)


def test_a_row_that_has_its_whole_bucket_gets_no_negative_and_the_only_choice_is_found():
    bucket = np.array([0, 1, 1, 1, 2])
    history, target = np.array([[2, 1], [0, 1]]), np.array([3, 2])
    pairs = item_pairs(history, target, bucket, negatives=1)
    assert sorted(zip(pairs.behaviour.tolist(), pairs.target.tolist())) == [
        (1, 2),
        (1, 3),
        (1, 3),
        (2, 3),
    ]  # the third: row 2's negative, all that was left


def test_a_sample_of_each_bucket_from_the_seed_alone():
    history, target, bucket = some_rows(3, rows=400)
    every, some = (
        item_pairs(history, target, bucket),
        item_pairs(history, target, bucket, per_bucket=50, seed=1),
    )
    assert [(some.bucket == number).sum() for number in range(1, 5)] == [
        min(50, (every.bucket == number).sum()) for number in range(1, 5)
    ]
    again, other = (
        item_pairs(history, target, bucket, per_bucket=50, seed=1),
        item_pairs(history, target, bucket, per_bucket=50, seed=2),
    )
    assert np.array_equal(some.behaviour, again.behaviour) and not np.array_equal(
        some.behaviour, other.behaviour
    )
    known = set(zip(every.behaviour.tolist(), every.target.tolist()))
    assert set(zip(some.behaviour.tolist(), some.target.tolist())) <= known


@pytest.mark.parametrize("name, of_scipy", [("cosine", cosine), ("euclidean", euclidean)])
def test_distances_are_scipys(name, of_scipy):
    history, target, bucket = some_rows(5)
    vectors = np.random.default_rng(0).normal(size=(30, 7)).astype(np.float32)
    pairs = item_pairs(history, target, bucket)
    wanted = [of_scipy(vectors[a], vectors[b]) for a, b in zip(pairs.behaviour, pairs.target)]
    np.testing.assert_allclose(pair_distances(vectors, pairs, name), wanted, rtol=1e-5, atol=1e-6)
    vectors[pairs.behaviour[0]] = 0
    assert pair_distances(vectors, pairs, "cosine")[0] == 1
    with pytest.raises(ValueError, match="distance must be"):
        pair_distances(vectors, pairs, "l1")


def tau_b(x, y):
    """By its definition over all pairs."""
    concordant = discordant = tied_x = tied_y = 0
    for i in range(len(x)):
        for j in range(i):
            a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
            concordant, discordant = concordant + (a * b > 0), discordant + (a * b < 0)
            tied_x, tied_y = tied_x + (a == 0), tied_y + (b == 0)
    n = len(x) * (len(x) - 1) / 2
    return (concordant - discordant) / np.sqrt((n - tied_x) * (n - tied_y))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40))
def test_tau_of_each_bucket_is_its_definition(seed, n):
    chance = np.random.default_rng(seed)
    before, after, bucket = (
        chance.integers(0, 9, n).astype(np.float32),
        chance.normal(size=n),
        chance.integers(1, 4, n),
    )
    for row in tau_by_bucket(before, after, bucket, 4):
        mine = bucket == row.bucket
        assert row.pairs == mine.sum()
        if row.pairs < 2 or np.ptp(before[mine]) == 0:
            assert row.tau is None and row.discordant is None
        else:
            assert row.tau == pytest.approx(tau_b(before[mine], after[mine]), abs=1e-12)


def test_tau_sees_no_rotation_no_scale_and_no_width():
    history, target, bucket = some_rows(7, rows=60)
    chance = np.random.default_rng(7)
    vectors = chance.normal(size=(30, 6))
    turned = vectors @ np.linalg.qr(chance.normal(size=(9, 9)))[0][:6] * 5  # nine wide
    pairs = item_pairs(history, target, bucket)
    same = tau_by_bucket(*(pair_distances(v, pairs) for v in (vectors, turned)), pairs.bucket, 4)
    other = tau_by_bucket(
        *(pair_distances(v, pairs) for v in (vectors, chance.normal(size=(30, 6)))), pairs.bucket, 4
    )
    assert all(row.tau > 0.999 for row in same) and all(abs(row.tau) < 0.6 for row in other)
    assert (
        tau_by_bucket(np.array([1.0, 2, 3]), np.array([3.0, 2, 1]), np.ones(3, int), 1)[
            0
        ].discordant
        == 1
    )


def test_bad_distances_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        tau_by_bucket(np.array([1.0, np.nan]), np.array([1.0, 2.0]), np.array([1, 1]))
    with pytest.raises(ValueError, match="one shape"):
        tau_by_bucket(np.ones(2), np.ones(3), np.ones(2, int))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(10, 200), st.sampled_from([0.1, 0.3, 0.5]))
def test_separation_counts_and_auc_by_hand(seed, n, share):
    chance = np.random.default_rng(seed)
    reference, other = chance.normal(size=n), chance.integers(0, 12, n).astype(np.float32)
    found = separation(reference, other, share, bins=9)
    order = np.argsort(reference)
    near, far = other[order[: found.size]], other[order[n - found.size :]]
    auc = np.mean([(a > b) + 0.5 * (a == b) for a in far for b in near])
    assert found.size == int(share * n + 1e-9) and found.auc == pytest.approx(auc, abs=1e-12)
    assert found.all.sum() == n and found.near.sum() == found.far.sum() == found.size
    assert (found.near + found.far <= found.all).all() and len(found.edges) == 10


def test_separation_at_its_ends():
    distances = np.arange(100.0)
    assert (
        separation(distances, distances).auc == 1
        and separation(distances, -distances).auc == 0
        and separation(distances, np.ones(100)).auc == 0.5
    )
    assert separation(distances, distances).size == 10
    for share, n in ((0.0, 100), (0.6, 100), (0.1, 5)):
        with pytest.raises(ValueError, match="no two groups"):
            separation(distances[:n], distances[:n], share)


def test_gate_weights_by_bucket():
    weights = np.array([[0, 0], [0.2, 0.8], [0.4, 0.6], [1, 0]])
    table = gate_by_bucket(weights, np.array([0, 1, 1, 3]), ["id", "text"], 3)
    assert (
        [row["rows"] for row in table] == [2, 0, 1]
        and table[1]["mean"] is None
        and table[1]["std"] is None
    )
    assert table[0]["mean"] == pytest.approx({"id": 0.3, "text": 0.7}) and table[0][
        "std"
    ] == pytest.approx({"id": 0.1, "text": 0.1})
    assert table[2]["mean"] == {"id": 1, "text": 0}
    with pytest.raises(ValueError, match="row 0 sum to 0"):
        gate_by_bucket(weights, np.array([1, 1, 1, 3]), ["id", "text"], 3)
    with pytest.raises(ValueError, match="experts"):
        gate_by_bucket(weights, np.array([0, 1, 1, 3]), ["id"], 3)


def test_pairs_can_be_chosen():
    pairs = ItemPairs(np.array([1, 2, 3]), np.array([4, 5, 6]), np.array([1, 2, 2]))
    assert (
        pairs.take(pairs.bucket == 2).target.tolist() == [5, 6]
        and len(pairs.take(np.array([0]))) == 1
    )


PANTRY = Path(
    os.environ.get(
        "RECBOLE_PRECISE_PANTRY",
        Path(__file__).resolve().parents[3] / "shared" / "data" / "prime_pantry",
    )
)


def read_sequences(folder):
    """Items of every user in the file's order, ids from 1."""
    ids = {}
    with open(folder / "Prime_Pantry_cleaned_history.csv", newline="") as file:
        return [
            [ids.setdefault(item, len(ids) + 1) for item in ast.literal_eval(row["history"])]
            for row in csv.DictReader(file)
        ]


@pytest.mark.skipif(not PANTRY.is_dir(), reason="the PAD authors' Prime Pantry files are not here")
def test_on_the_authors_sequences():
    """Their sequences, ten buckets: all pairs of training histories and validation targets, and
    every bucket has a tau of 1 with itself.
    """
    import torch

    from recbole_precise.data.frequency import frequency_buckets, item_counts

    sequences = read_sequences(PANTRY)
    n_items = 1 + max(max(sequence) for sequence in sequences)
    history = np.zeros((len(sequences), max(map(len, sequences)) - 2), dtype=np.int64)
    for row, sequence in zip(history, sequences):
        row[len(row) - len(sequence) + 2 :] = sequence[:-2]
    target = np.array([sequence[-2] for sequence in sequences])
    bucket = frequency_buckets(item_counts(torch.tensor(history), n_items)).numpy()
    pairs = item_pairs(history, target, bucket)
    repeats = sum(sequence[:-2].count(sequence[-2]) for sequence in sequences)
    assert len(pairs) == sum(len(sequence) - 2 for sequence in sequences) - repeats
    distances = pair_distances(np.random.default_rng(0).normal(size=(n_items, 16)), pairs)
    rows = tau_by_bucket(distances, distances, pairs.bucket)
    assert all(row.tau == pytest.approx(1) for row in rows) and sum(
        row.pairs for row in rows
    ) == len(pairs)
