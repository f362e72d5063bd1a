"""Buckets of equal training mass."""

import ast
import csv
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.data.frequency import (
    bucket_cuts,
    by_frequency,
    frequency_buckets,
    item_counts,
    training_share,
)

PANTRY = Path(__file__).resolve().parents[3] / "shared" / "data" / "prime_pantry"
counts_of = st.lists(st.integers(0, 20), min_size=1, max_size=40).map(
    lambda counts: torch.tensor([0, *counts])
)


def walk(counts, buckets):
    """The rule as it is told: one item after the other."""
    order = sorted(range(1, len(counts)), key=lambda i: (-counts[i], i))
    total, bucket, held, result = sum(counts), 1, 0, [0] * len(counts)
    for item in order:
        result[item] = bucket
        held += counts[item]
        if held * buckets >= total and bucket < buckets:
            bucket, held = bucket + 1, 0
    return [buckets if i and not n else b for i, (n, b) in enumerate(zip(counts, result))]


@given(counts_of, st.integers(1, 12))
def test_buckets_follow_the_rule(counts, buckets):
    assert frequency_buckets(counts, buckets).tolist() == walk(counts.tolist(), buckets)


@given(counts_of, st.integers(1, 12))
def test_buckets_fall_in_frequency_and_cover_all_items(counts, buckets):
    found = frequency_buckets(counts, buckets)
    assert found[0] == 0 and (len(found) == 1 or 1 <= found[1:].min() <= found.max() <= buckets)
    order = by_frequency(counts)
    assert sorted(order.tolist()) == list(range(1, len(counts)))
    assert (found[order].diff() >= 0).all()
    cuts = bucket_cuts(counts, buckets)
    assert (
        len(cuts) == buckets + 1
        and cuts[0] == 0
        and cuts[-1] == len(counts) - 1
        and cuts == sorted(cuts)
    )


def test_counting():
    assert item_counts(torch.tensor([[3, 0], [3, 1]]), 5).tolist() == [0, 1, 0, 2, 0]
    share = training_share(torch.tensor([0, 6, 3, 1, 0]), torch.tensor([0, 1, 2, 2, 2]))
    assert share.tolist() == [0.0, 0.6, 0.4]
    with pytest.raises(ValueError, match="bucket"):
        bucket_cuts(torch.tensor([0, 1]), 0)


@pytest.mark.skipif(not PANTRY.is_dir(), reason="PAD's files are not at hand")
def test_prime_pantry_has_the_authors_buckets():
    rows = list(csv.reader(open(PANTRY / "Prime_Pantry_cleaned_history.csv", encoding="utf-8")))[1:]
    asins = {
        row[0]: i
        for i, row in enumerate(
            list(csv.reader(open(PANTRY / "metadata_Prime_Pantry.csv", encoding="utf-8")))[1:],
            start=1,
        )
    }
    histories = [[asins[asin] for asin in ast.literal_eval(row[2])] for row in rows]
    counts = item_counts(
        torch.tensor([item for history in histories for item in history[:-2]]), len(asins) + 1
    )
    # The authors' list ends in 8348, because they count the padding among the items.
    assert bucket_cuts(counts) == [0, 35, 100, 205, 361, 585, 898, 1357, 2074, 3348, 8347]
    buckets = frequency_buckets(counts)
    assert counts[buckets == 10].max() == 5
    targets = buckets[torch.tensor([history[-1] for history in histories])]
    shares = [round(100 * float((targets == b).double().mean()), 1) for b in range(1, 11)]
    assert shares == [4.1, 5.1, 5.6, 6.3, 7.0, 8.3, 9.3, 10.4, 14.4, 29.6]
    assert all(share >= 0.1 for share in training_share(counts, buckets)[1:10])
