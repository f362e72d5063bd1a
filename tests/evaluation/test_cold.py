"""Cases on held-out items and their ranks, against loops and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.cold import (
    ColdCases,
    TextLikeness,
    cold_cases,
    cold_table,
    compare_cold,
    expected_metric,
    rank_cold,
)

HISTORIES = st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=12), min_size=1, max_size=6)


@given(HISTORIES, st.sets(st.integers(1, 8)), st.integers(1, 4), st.booleans())
def test_cases_against_loops(histories, cold, length, some):
    items = np.array([item for history in histories for item in history])
    offsets = np.concatenate(([0], np.cumsum([len(history) for history in histories])))
    held = np.isin(np.arange(9), list(cold))
    allowed = np.arange(0, len(items), 2) if some else None
    found = cold_cases(items, offsets, np.arange(len(histories)) + 10, held, length, allowed)
    expected, had = [], []
    for user, history in enumerate(histories):
        for at, item in enumerate(history):
            event = offsets[user] + at
            before = [offsets[user] + i for i in range(at) if not held[history[i]]]
            if not held[item] or item in history[:at] or not before or (some and event % 2):
                continue
            had += [(len(expected), i) for i in dict.fromkeys(history[:at]) if held[i]]
            expected.append(
                (user + 10, item, before[-length:] + [-1] * (length - len(before[-length:])))
            )
    assert [(u, t, h.tolist()) for u, t, h in zip(found.user, found.target, found.history)] == [
        (u, t, [int(e) for e in h]) for u, t, h in expected
    ]
    assert sorted(zip(*(part.tolist() for part in found.had))) == sorted(had)
    assert found.lengths.tolist() == [sum(e >= 0 for e in h) for _, _, h in expected]


@pytest.mark.parametrize("metric", ["recall@1", "recall@3", "ndcg@2", "ndcg@5", "Hit@4"])
@pytest.mark.parametrize(("ahead", "tied"), [(0, 1), (0, 4), (2, 3), (3, 2), (6, 1)])
def test_the_expected_metric_is_the_mean_over_all_orders_of_the_tied(metric, ahead, tied):
    name, k = metric.lower().split("@")
    values = []
    for order in itertools.permutations(range(tied)):
        place = ahead + order.index(0) + 1
        values.append((place <= int(k)) * (1 / np.log2(place + 1) if name == "ndcg" else 1.0))
    assert expected_metric(metric, np.array([ahead]), np.array([tied]))[0] == pytest.approx(
        np.mean(values)
    )


def test_a_metric_that_is_none():
    for metric in ("mrr@10", "recall", "ndcg@0"):
        with pytest.raises(ConfigError, match="recall@k, hit@k and ndcg@k"):
            expected_metric(metric, np.array([0]), np.array([1]))


def cases_of(user, target, had=()):
    row, item = (np.array(part, dtype=np.int64) for part in (zip(*had) if had else ((), ())))
    return ColdCases(
        np.array(user), np.array(target), np.zeros((len(user), 1), dtype=np.int64), (row, item)
    )


@given(st.integers(0, 10**6), st.booleans())
def test_ranks_against_loops(seed, masked):
    rng = np.random.default_rng(seed)
    held = np.array([False, *(rng.random(9) < 0.6)])
    held[1] = True
    candidates = np.flatnonzero(held)
    scores = rng.integers(0, 4, size=(6, 10)).astype(float)
    target = rng.choice(candidates, 6)
    had = [
        (row, int(item))
        for row in range(6)
        for item in candidates
        if item != target[row] and rng.random() < 0.3
    ]
    ranks = rank_cold(
        cases_of(range(6), target, had),
        held,
        lambda rows, some: scores[np.ix_(rows, some)],
        4,
        masked,
    )
    for row in range(6):
        free = [i for i in candidates if not (masked and (row, i) in had)]
        own = scores[row, target[row]]
        assert (ranks.ahead[row], ranks.tied[row], ranks.candidates[row]) == (
            sum(scores[row, i] > own for i in free), sum(scores[row, i] == own for i in free),
            len(free),
        )  # fmt: skip


def test_a_constant_model_is_exactly_at_chance_and_so_is_a_random_one_in_the_mean():
    rng = np.random.default_rng(0)
    held = np.arange(41) > 0
    cases = cases_of(np.repeat(np.arange(500), 8), rng.integers(1, 41, 4000))
    # equal vectors whose products differ in the last bits, as a tiled product makes them
    constant = rank_cold(
        cases,
        held,
        lambda rows, some: (
            np.full((len(rows), len(some)), 1.0) + 1e-8 * rng.random((len(rows), len(some)))
        ),
        512,
        False,
    )
    drawn = rank_cold(
        cases, held, lambda rows, some: rng.random((len(rows), len(some))), 512, False
    )
    table = cold_table(
        {"constant": constant, "drawn": drawn}, ["recall@10", "ndcg@10"], n_resamples=500
    )
    chance = table["chance"]["recall@10"]["mean"]
    assert chance == pytest.approx(10 / 40) and table["constant"]["recall@10"][
        "mean"
    ] == pytest.approx(chance)
    assert table["constant"]["ndcg@10"]["mean"] == pytest.approx(table["chance"]["ndcg@10"]["mean"])
    assert table["drawn"]["recall@10"]["low"] < chance < table["drawn"]["recall@10"]["high"]
    test = compare_cold(drawn, None, "recall@10", n_resamples=500)
    assert test["low"] < 0 < test["high"] and not test["significant"]
    oracle = rank_cold(
        cases, held, lambda rows, some: (some == cases.target[rows, None]).astype(float), 512, False
    )
    assert compare_cold([oracle, oracle], [constant], "ndcg@10", n_resamples=500)["significant"]
    assert cold_table({"x": oracle}, ["ndcg@10"], n_resamples=99)["x"]["ndcg@10"]["mean"] == 1


def test_what_is_not_ranked_on_the_same_cases_is_not_compared():
    held = np.array([False, True, True])

    def score(rows, some):
        return np.zeros((len(rows), len(some)))

    a, b = (
        rank_cold(cases_of([0, 1], target), held, score, 8, False) for target in ([1, 2], [2, 1])
    )
    with pytest.raises(ValueError, match="same cases"):
        compare_cold(a, b, "ndcg@10")
    with pytest.raises(ValueError, match="NaN"):
        rank_cold(cases_of([0], [1]), held, lambda rows, some: np.full((1, 2), np.nan), 8, False)


def test_text_likeness():
    vectors = np.array([[0, 0], [2, 0], [0, 3], [1, 1], [0, 0]], dtype=float)
    histories, lengths = np.array([[1, 2, 0], [3, 0, 0]]), np.array([2, 1])
    some = np.array([1, 2, 4])
    root = np.sqrt(0.5)
    assert TextLikeness(vectors, False).scores(histories, lengths, some) == pytest.approx(
        np.array([[0, 1, 0], [root, root, 0]])
    )
    assert TextLikeness(vectors, True).scores(histories, lengths, some) == pytest.approx(
        np.array([[0.5, 0.5, 0], [root, root, 0]])
    )
