"""Slices cover every row once for each kind, whatever the counts and histories, and are the ones
that the papers name.
"""

import csv
import os
from ast import literal_eval
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.metrics import metrics_from_ranks
from recbole_precise.evaluation.ranking import Ranks
from recbole_precise.evaluation.slices import KINDS, Cases, item_slices, row_slices, slice_report

PANTRY = Path(
    os.environ.get(
        "RECBOLE_PRECISE_PANTRY",
        Path(__file__).resolve().parents[3] / "shared" / "data" / "prime_pantry",
    )
)


@given(st.lists(st.integers(0, 120), min_size=1, max_size=80))
def test_every_item_is_in_one_slice_of_each_kind(counts):
    counts = np.array([500, *counts])
    slices = item_slices(counts, ["frequency", "popularity", "buckets"])
    frequency = sum(slices[name].astype(int) for name in ("warm", "median", "cold", "unseen"))
    popularity = sum(slices[name].astype(int) for name in ("top20", "rest80"))
    buckets = sum(slices[f"frequency_bucket_{number:02d}"].astype(int) for number in range(1, 11))
    assert frequency.tolist() == buckets.tolist() == [0] + [1] * (len(counts) - 1)
    assert popularity.tolist() == [0, *(counts[1:] > 0).astype(int).tolist()]
    seen = int((counts[1:] > 0).sum())
    assert slices["top20"].sum() == -(-seen // 5)
    if slices["rest80"].any():
        assert counts[slices["top20"]].min() >= counts[slices["rest80"]].max()
    assert not (slices["unseen"] & ~slices["frequency_bucket_10"]).any()


@given(
    st.lists(st.lists(st.integers(1, 12), min_size=2, max_size=60), min_size=1, max_size=15),
    st.randoms(use_true_random=False),
)
def test_rows_as_counted_one_by_one(histories, random):
    """Rows cut out of histories anywhere, in any order: each row is in the slices that its own
    history says.
    """
    rows = [
        (history[:cut], history[cut])
        for history in histories
        for cut in [random.randrange(1, len(history))]
    ]
    pairs = [(number, item) for number, (before, _) in enumerate(rows) for item in before]
    random.shuffle(pairs)
    counts = np.bincount([item for history in histories for item in history[:-1]], minlength=13)
    cases = Cases.of(np.array([target for _, target in rows]), tuple(np.array(pairs).T), counts)
    slices = row_slices(cases)
    for number, (before, target) in enumerate(rows):
        length = len(before)
        wanted = {"repeat_target" if target in before else "new_target"}
        wanted |= {
            "history_"
            + (
                "1_to_5"
                if length <= 5
                else "6_to_10"
                if length <= 10
                else "11_to_20"
                if length <= 20
                else "21_to_50"
                if length <= 50
                else "over_50"
            )
        }
        wanted |= {
            name
            for name, items in item_slices(counts, ["frequency", "popularity", "buckets"]).items()
            if items[target]
        }
        assert {name for name, chosen in slices.items() if chosen[number]} == wanted
    for kind in KINDS:
        if kind not in ("popularity", "holdout"):  # without items held out there are no such rows
            assert sum(
                chosen.astype(int) for chosen in row_slices(cases, kind).values()
            ).tolist() == [1] * len(rows)


def test_borders():
    slices = item_slices(np.array([9, 0, 1, 6, 7, 50, 51]), "frequency")
    assert {name: np.flatnonzero(mask).tolist() for name, mask in slices.items()} == {
        "warm": [6],
        "median": [4, 5],
        "cold": [2, 3],
        "unseen": [1],
    }
    assert np.flatnonzero(
        item_slices(np.array([0, 3, 3, 3, 3, 3]), ["popularity"])["top20"]
    ).tolist() == [1]  # equal counts: by id
    lengths = np.array([1, 5, 6, 10, 11, 20, 21, 50, 51, 4000])
    slices = row_slices(
        Cases(np.ones(10, int), lengths, np.zeros(10, bool), np.array([0, 1])), "history"
    )
    assert {name: lengths[mask].tolist() for name, mask in slices.items()} == {
        "history_1_to_5": [1, 5], "history_6_to_10": [6, 10], "history_11_to_20": [11, 20],
        "history_21_to_50": [21, 50], "history_over_50": [51, 4000],
    }  # fmt: skip


def test_report_is_the_metric_of_the_chosen_rows():
    ranks = Ranks([1, 2, 3, 4], [1, 2, 2, 3], [1, 5, 20, 2])
    chosen = {
        "a": np.array([0, 1, 1, 0], bool),
        "b": np.array([1, 0, 0, 1], bool),
        "c": np.zeros(4, bool),
    }
    report = slice_report(ranks, chosen, ["NDCG", "hit"], 10)
    assert report["a"] == {
        "n": 2,
        "test": metrics_from_ranks(np.array([5, 20]), ["ndcg", "hit"], 10),
    }
    assert report["b"]["n"] == 2 and report["b"]["test"]["hit@10"] == 1
    assert report["c"] == {"n": 0, "test": {}}
    with pytest.raises(ValueError, match="slice a is over 3 rows, and there are 4"):
        slice_report(ranks, {"a": np.ones(3, bool)}, ["ndcg"], 10)


def test_unknown_kind():
    with pytest.raises(ConfigError, match="Did you mean 'frequency'"):
        item_slices(np.array([0, 1]), ["frequencies"])
    with pytest.raises(
        ConfigError, match="there are frequency, popularity, buckets, history, repeat"
    ):
        row_slices(
            Cases(np.array([1]), np.array([1]), np.array([False]), np.array([0, 1])), ["length"]
        )


@pytest.mark.skipif(
    not PANTRY.is_dir(),
    reason="set RECBOLE_PRECISE_PANTRY to the folder of PAD's Prime Pantry files",
)
def test_the_papers_buckets_on_prime_pantry():
    """PAD's cut indices, and the share of test targets that each bucket holds.

    Repeats as counted by hand.
    """
    with open(PANTRY / "metadata_Prime_Pantry.csv", newline="") as file:
        items = {
            row[0]: number for number, row in enumerate(csv.reader(file))
        }  # the header is number 0, as the padding is
    with open(PANTRY / "Prime_Pantry_cleaned_history.csv", newline="") as file:
        histories = [
            [items[asin] for asin in literal_eval(row[2])] for row in list(csv.reader(file))[1:]
        ]
    counts = np.bincount(
        [item for history in histories for item in history[:-2]], minlength=len(items)
    )
    pairs = np.array(
        [(number, item) for number, history in enumerate(histories) for item in history[:-1]]
    ).T
    cases = Cases.of(np.array([history[-1] for history in histories]), tuple(pairs), counts)
    sizes = [int(mask.sum()) for mask in item_slices(counts, "buckets").values()]
    # The authors count the padding, so that their last cut is 8348.
    assert np.cumsum([0, *sizes]).tolist() == [
        0,
        35,
        100,
        205,
        361,
        585,
        898,
        1357,
        2074,
        3348,
        8347,
    ]
    shares = [100 * mask.mean() for mask in row_slices(cases, "buckets").values()]
    assert shares == pytest.approx([4.1, 5.1, 5.6, 6.3, 7.0, 8.3, 9.3, 10.4, 14.4, 29.6], abs=0.06)
    assert row_slices(cases, "repeat")["repeat_target"].mean() == pytest.approx(0.0261, abs=5e-5)
    assert row_slices(cases, "frequency")["unseen"].mean() == pytest.approx(0.063, abs=5e-4)
