"""The best items in tiles against a plain sort, ties by the catalogue's order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_precise.serving.top import TopItems, top_items


@given(
    st.integers(0, 10**6), st.integers(1, 9), st.lists(st.integers(1, 7), min_size=1, max_size=6)
)
def test_tiles_against_a_stable_sort(seed, k, tiles):
    rng = np.random.default_rng(seed)
    scores = torch.tensor(rng.integers(0, 4, size=(5, sum(tiles))).astype(np.float32))
    scores[torch.tensor(rng.random(scores.shape) < 0.2)] = -torch.inf
    found, start = TopItems(5, k, scores.device), 0
    for size in tiles:
        found.add(scores[:, start : start + size], start)
        start += size
    for row in range(5):
        expected = sorted(
            (i for i in range(start) if scores[row, i] > -torch.inf),
            key=lambda i: (-scores[row, i].item(), i),
        )[:k]
        real = torch.isfinite(found.scores[row])
        assert (
            found.items[row][real].tolist() == expected
            and found.scores[row][real].tolist() == scores[row, expected].tolist()
        )


class Vectors:
    """A model that scores by vectors, with a bonus for pairs."""

    def __init__(self, users, items, bonus=None):
        self.users, self.items, self.bonus = users, items, bonus

    def eval(self):
        return self

    def user_vectors(self, batch):
        return self.users[batch["row"]]

    def item_vectors(self):
        return self.items

    def pair_bonus(self, batch):
        return self.bonus


class Scores:
    def __init__(self, scores):
        self.scores = scores

    def eval(self):
        return self

    def full_sort_predict(self, batch):
        return self.scores[batch["row"]]


@pytest.mark.parametrize("budget", [1 << 10, 64 << 20])
@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_vectors_with_bonus_exclusions_and_candidates_against_all_scores(budget, seed):
    rng = np.random.default_rng(seed)
    n_rows, n_items = 19, 300
    # whole numbers: sums are exact, equal scores are common
    users, items = (
        torch.tensor(rng.integers(-2, 3, size=(n, 4)).astype(np.float32)) for n in (n_rows, n_items)
    )
    pair = torch.tensor(rng.permutation(n_rows * n_items)[:400])
    bonus = (
        pair // n_items,
        pair % n_items,
        torch.tensor(rng.integers(1, 4, 400).astype(np.float32)),
    )
    excluded = (
        torch.tensor(rng.integers(0, n_rows, 300)),
        torch.tensor(rng.integers(0, n_items, 300)),
    )
    allowed = torch.tensor(rng.random(n_items) < 0.7)
    scores = users @ items.t()
    scores[bonus[0], bonus[1]] += bonus[2]
    batch = {"row": torch.arange(n_rows)}
    options = {"allowed": allowed, "excluded": excluded}
    whole = top_items(Scores(scores.clone()), batch, 12, **options)
    tiled = top_items(Vectors(users, items, bonus), batch, 12, **options, budget_bytes=budget)
    assert torch.equal(tiled.items, whole.items) and torch.equal(tiled.scores, whole.scores)
    scores[excluded] = -torch.inf
    for row in range(n_rows):
        expected = sorted(
            (i for i in range(1, n_items) if allowed[i] and scores[row, i] > -torch.inf),
            key=lambda i: (-scores[row, i].item(), i),
        )
        assert whole.items[row].tolist() == expected[:12]


def test_a_score_that_is_no_number():
    with pytest.raises(ValueError, match="NaN"):
        TopItems(1, 2, torch.device("cpu")).add(torch.tensor([[0.0, torch.nan]]), 0)
