"""Slices cover every item once, whatever the counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.metrics import metrics_from_ranks
from recbole_precise.evaluation.ranking import Ranks
from recbole_precise.evaluation.slices import item_slices, slice_report


@given(st.lists(st.integers(0, 120), min_size=1, max_size=80))
def test_every_item_is_in_one_slice_of_each_kind(counts):
    counts = np.array([500, *counts])
    slices = item_slices(counts)
    frequency = sum(slices[name].astype(int) for name in ("warm", "median", "cold", "unseen"))
    popularity = sum(slices[name].astype(int) for name in ("top20", "rest80"))
    assert frequency.tolist() == [0] + [1] * (len(counts) - 1)
    assert popularity.tolist() == [0] + (counts[1:] > 0).astype(int).tolist()
    seen = int((counts[1:] > 0).sum())
    assert slices["top20"].sum() == -(-seen // 5)
    if slices["rest80"].any():
        assert counts[slices["top20"]].min() >= counts[slices["rest80"]].max()


def test_borders():
    slices = item_slices(np.array([9, 0, 1, 6, 7, 50, 51]), "frequency")
    assert {name: np.flatnonzero(mask).tolist() for name, mask in slices.items()} == {"warm": [6], "median": [4, 5], "cold": [2, 3], "unseen": [1]}
    assert np.flatnonzero(item_slices(np.array([0, 3, 3, 3, 3, 3]), ["popularity"])["top20"]).tolist() == [1]  # equal counts: by id


def test_report_is_the_metric_of_the_chosen_rows():
    ranks = Ranks([1, 2, 3, 4], [1, 2, 2, 3], [1, 5, 20, 2])
    report = slice_report(ranks, {"a": np.array([0, 0, 1, 0], bool), "b": np.array([0, 1, 0, 1], bool), "c": np.zeros(4, bool)}, ["NDCG", "hit"], 10)
    assert report["a"] == {"n": 2, "test": metrics_from_ranks(np.array([5, 20]), ["ndcg", "hit"], 10)}
    assert report["b"]["n"] == 2 and report["b"]["test"]["hit@10"] == 1
    assert report["c"] == {"n": 0, "test": {}}


def test_unknown_kind():
    with pytest.raises(ConfigError, match="Did you mean 'frequency'"):
        item_slices(np.array([0, 1]), ["frequencies"])
