"""Metrics beyond accuracy: by hand, against brute force, and against RecBole's classes without
their known faults.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_precise.evaluation.list_metrics import (
    LIST_METRICS,
    SMALLER_IS_BETTER,
    exact_metrics,
    is_list_metric,
    long_tail,
)
from recbole_precise.evaluation.ranking import rank_rows
from recbole_precise.evaluation.top_lists import ShownItems

NAMES = ["ItemCoverage", "GiniIndex", "ShannonEntropy", "AveragePopularity", "TailPercentage"]


class Vectors:
    """A model that scores by vectors."""

    def __init__(self, users, items, bonus=None):
        self.users = users
        self.items = items
        self.bonus = bonus
        self.n_items = len(items)

    def user_vectors(self, rows):
        return self.users[rows]

    def item_vectors(self):
        return self.items

    def pair_bonus(self, rows):
        if self.bonus is None:
            return None
        row, item, value = self.bonus
        here = (row >= rows.min()) & (row <= rows.max())
        return row[here] - int(rows.min()), item[here], value[here]


class Scores:
    """A model that gives all scores at once."""

    def __init__(self, scores):
        self.scores = scores
        self.n_items = scores.shape[1]

    def full_sort_predict(self, rows):
        return self.scores[rows]


def measure(
    model, targets, counts, topk, *, ratio=None, excluded=None, share=(0, 1), shown=None, **more
):
    """The metrics of all rows under a model, and the counts behind them."""
    shown = shown or ShownItems(topk, counts, long_tail(counts, ratio))

    def batches(lo, hi):
        pairs = None
        if excluded is not None:
            here = (excluded[0] >= lo) & (excluded[0] < hi)
            pairs = excluded[0][here] - lo, excluded[1][here]
        return torch.arange(lo, hi), targets[lo:hi], pairs

    ranks = rank_rows(model, np.arange(len(targets)), batches, shown=shown, share=share, **more)
    return exact_metrics(np.maximum(ranks.rank, 1), shown, [*NAMES, "NDCG"], topk), shown, ranks


def by_brute_force(scores, counts, topk, *, ratio=None, excluded=()):
    """The definitions, list by list, in plain Python."""
    n = len(counts) - 1
    excluded = set(excluded)
    by_count = sorted(range(1, n + 1), key=lambda item: (counts[item], item))
    ratio = 0.1 if ratio is None else ratio
    tail = (
        {i for i in by_count if counts[i] <= ratio}
        if ratio > 1
        else set(by_count[: max(1, int(round(ratio * n, 9)))])
    )
    found = {}
    for k in topk:
        lists = []
        for row, values in enumerate(scores):
            allowed = [
                i for i in range(1, n + 1) if (row, i) not in excluded and values[i] > -math.inf
            ]
            lists.append(sorted(allowed, key=lambda i: (-values[i], i))[:k])
        times = Counter(item for one in lists for item in one)
        total = sum(times.values())
        ordered = sorted(times.get(item, 0) for item in range(1, n + 1))
        some = [one for one in lists if one]
        found[f"itemcoverage@{k}"] = len(times) / n
        found[f"giniindex@{k}"] = sum((2 * i - n - 1) * c for i, c in enumerate(ordered, 1)) / (
            n * total
        )
        found[f"shannonentropy@{k}"] = -sum(c / total * math.log(c / total) for c in times.values())
        found[f"averagepopularity@{k}"] = np.mean(
            [np.mean([counts[i] for i in one]) for one in some]
        )
        found[f"tailpercentage@{k}"] = np.mean([np.mean([i in tail for i in one]) for one in some])
    return found


def test_by_hand():
    """Four items, three rows: lists [1, 2], [1, 3], [2, 1] at 2; item 4 is never shown."""
    scores = torch.tensor([[9.0, 3, 2, 1, 0], [9, 3, 1, 2, 0], [9, 2, 3, 1, 0]])
    counts = np.array([100, 5, 3, 1, 0])
    found, _, ranks = measure(Scores(scores), torch.tensor([2, 3, 4]), counts, [1, 2])
    assert ranks.rank.tolist() == [2, 2, 4]
    expected = {
        "itemcoverage@1": 2 / 4, "itemcoverage@2": 3 / 4,
        "giniindex@1": (3 * 2 + 1 * 1 - 1 * 0 - 3 * 0) / (4 * 3),
        "giniindex@2": (3 * 3 + 1 * 2 - 1 * 1 - 3 * 0) / (4 * 6),
        "shannonentropy@1": -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)),
        "shannonentropy@2": -sum(part * math.log(part) for part in (1 / 2, 1 / 3, 1 / 6)),
        "averagepopularity@1": (5 + 5 + 3) / 3, "averagepopularity@2": (4 + 3 + 4) / 3,
        "tailpercentage@1": 0.0, "tailpercentage@2": 0.0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    half, _, _ = measure(
        Scores(scores), torch.tensor([2, 3, 4]), counts, [2], ratio=0.5
    )  # items 4 and 3
    three, _, _ = measure(
        Scores(scores), torch.tensor([2, 3, 4]), counts, [2], ratio=3
    )  # items 4, 3 and 2
    assert half["tailpercentage@2"] == pytest.approx(1 / 6) and three[
        "tailpercentage@2"
    ] == pytest.approx(1 / 2)


def test_ends_of_the_scales():
    counts = np.array([0, *range(1, 9)])
    one = torch.zeros(5, 9)
    one[:, 3] = 1
    found, _, _ = measure(Scores(one), torch.full((5,), 2), counts, [1])
    assert found["itemcoverage@1"] == 1 / 8 and found["giniindex@1"] == pytest.approx(7 / 8)
    assert found["shannonentropy@1"] == 0.0 and math.copysign(1, found["shannonentropy@1"]) == 1
    each = torch.eye(9)[1:]
    found, _, _ = measure(Scores(each), torch.ones(8, dtype=torch.int64), counts, [1, 8, 100])
    assert (found["itemcoverage@1"], found["giniindex@1"]) == (1.0, 0.0)
    assert (
        found["shannonentropy@1"] == pytest.approx(math.log(8))
        and found["averagepopularity@1"] == 4.5
    )
    # A cut-off beyond the catalogue shows all of it.
    assert (
        found["itemcoverage@100"] == 1.0
        and found["averagepopularity@100"] == 4.5 == found["averagepopularity@8"]
    )


def test_equal_scores_are_listed_in_the_order_of_the_catalogue():
    found, shown, ranks = measure(
        Scores(torch.zeros(4, 7)), torch.tensor([1, 2, 3, 6]), np.zeros(7), [2]
    )
    assert shown.count.tolist() == [[0, 4, 4, 0, 0, 0, 0]] and ranks.rank.tolist() == [6] * 4
    assert found["ndcg@2"] == 0.0


@settings(max_examples=60)
@given(
    st.integers(0, 10**6), st.sampled_from([None, 0.29, 1, 1.5, 3]), st.booleans(), st.booleans()
)
def test_vectors_and_scores_against_brute_force(seed, ratio, masked, bonus):
    """Whole numbers, so that ties are common and sums exact.

    Small budgets and batches, so that there are many tiles.
    """
    rng = np.random.default_rng(seed)
    n_rows, n_items = int(rng.integers(1, 30)), int(rng.integers(3, 220))
    users, items = (
        torch.tensor(rng.integers(-2, 3, size=(n, 3)).astype(np.float32)) for n in (n_rows, n_items)
    )
    counts = np.concatenate([[0], rng.integers(0, 6, n_items - 1)])
    targets = torch.tensor(rng.integers(1, n_items, n_rows))
    scores = users @ items.t()
    extra = excluded = None
    if bonus:
        pair = torch.tensor(np.sort(rng.permutation(n_rows * n_items)[:40]))
        extra = (
            pair // n_items,
            pair % n_items,
            torch.tensor(rng.integers(1, 4, len(pair)).astype(np.float32)),
        )
        scores[extra[0], extra[1]] += extra[2]
    if masked:
        pair = torch.tensor(np.sort(rng.permutation(n_rows * n_items)[: n_rows * n_items // 3]))
        excluded = pair // n_items, pair % n_items
    topk = sorted(rng.choice([1, 2, 5, 10, 500], 3, replace=False).tolist(), reverse=True)
    pairs = () if excluded is None else zip(*(part.tolist() for part in excluded), strict=True)
    expected = by_brute_force(scores.tolist(), counts.tolist(), topk, ratio=ratio, excluded=pairs)
    plain, _, ranks = measure(Scores(scores), targets, counts, topk, ratio=ratio, excluded=excluded)
    tiled, shown, others = measure(
        Vectors(users, items, extra),
        targets,
        counts,
        topk,
        ratio=ratio,
        excluded=excluded,
        rows=7,
        budget_bytes=1 << 12,
    )
    assert {name: plain[name] for name in expected} == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert plain == tiled and ranks.rank.tolist() == others.rank.tolist()
    assert list(plain) == [f"{name.lower()}@{k}" for name in [*NAMES, "NDCG"] for k in topk]
    # What two processes count adds up to the same.
    parts = [ShownItems(topk, counts, long_tail(counts, ratio)) for _ in range(2)]
    for number, part in enumerate(parts):
        measure(
            Scores(scores),
            targets,
            counts,
            topk,
            excluded=excluded,
            share=(number, 2),
            rows=3,
            shown=part,
        )
    for whole, *some in zip(shown.arrays(), *(part.arrays() for part in parts), strict=True):
        assert np.array_equal(whole, sum(some))


def recboles(matrix, counts, topk, ratio):
    """RecBole's own classes, fed without the padding item and with all training events, the entropy
    not divided.
    """
    from recbole.evaluator import metrics
    from recbole.evaluator.collector import DataStruct

    config = {"metric_decimal_place": 12, "topk": topk, "tail_ratio": ratio}
    data = DataStruct()
    data.set("rec.items", torch.from_numpy(matrix))
    data.set("data.num_items", len(counts) - 1)
    data.set("data.count_items", dict(enumerate(counts.tolist()[1:], 1)))
    found = {}
    for name in NAMES:
        found.update(getattr(metrics, name)(config).calculate_metric(data))
    for k in topk:
        found[f"shannonentropy@{k}"] *= len(np.unique(matrix[:, :k]))
    return found


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_against_recbole_without_its_faults(seed):
    rng = np.random.default_rng(seed)
    n_rows, n_items, ratio = (
        int(rng.integers(2, 40)),
        int(rng.integers(12, 60)),
        [0.1, 0.5, 1.0, 4][seed % 4],
    )
    counts = np.concatenate([[0], rng.integers(1, 9, n_items - 1)]).astype(np.int64)
    scores = torch.tensor(rng.normal(size=(n_rows, n_items)))
    matrix = 1 + np.argsort(-scores[:, 1:].numpy(), axis=1, kind="stable")[:, :10]
    targets = torch.tensor(rng.integers(1, n_items, n_rows))
    ours, _, _ = measure(Scores(scores), targets, counts, [1, 5, 10], ratio=ratio)
    theirs = recboles(matrix, counts, [1, 5, 10], ratio)
    assert {name: ours[name] for name in theirs} == pytest.approx(
        {n: float(v) for n, v in theirs.items()}, abs=1e-10
    )


def test_directions_and_names_are_recboles():
    from recbole.evaluator import metrics_dict, smaller_metrics

    assert set(LIST_METRICS) == {name.lower() for name in NAMES} <= set(metrics_dict)
    assert set(LIST_METRICS) & set(smaller_metrics) == SMALLER_IS_BETTER
    assert is_list_metric("GiniIndex@10") and not is_list_metric("ndcg")


def test_the_tail():
    counts = np.array([9, 4, 0, 2, 2, 7])
    assert np.flatnonzero(long_tail(counts)).tolist() == [
        2
    ]  # at least one item, and never the padding
    assert np.flatnonzero(long_tail(counts, 0.4)).tolist() == [2, 3]
    assert np.flatnonzero(long_tail(counts, 2)).tolist() == [2, 3, 4]
    assert long_tail(counts, 1).tolist() == [False, *[True] * 5]
    assert long_tail(np.zeros(101), 0.29).sum() == 29  # 0.29 * 100 is a little below 29
    for ratio in (0, -1, math.nan):
        with pytest.raises(ValueError, match="tail_ratio"):
            long_tail(counts, ratio)


def test_rows_without_candidates_have_no_list():
    """All of row 0's items are excluded: the means are row 1's."""
    excluded = torch.zeros(3, dtype=torch.int64), torch.tensor([1, 2, 3])
    found, shown, ranks = measure(
        Scores(torch.tensor([[0.0, 1, 2, 3]] * 2)),
        torch.tensor([1, 1]),
        np.array([0, 1, 2, 3]),
        [2],
        excluded=excluded,
    )
    assert found["averagepopularity@2"] == 2.5 and shown.rows.tolist() == [[1, 0, 1]]
    assert ranks.rank.tolist() == [4, 3]
