"""Blocks of rows that no setting changes, and the randomness of an evaluation."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.evaluation.blocks import (
    BLOCK_ROWS,
    SCORE_BYTES,
    block_rows,
    blocks,
    filled,
    in_blocks,
    one_at_a_time,
)
from recbole_precise.evaluation.draws import own_draws, seed_block
from recbole_precise.evaluation.ranking import rank_rows


class Mixing(torch.nn.Module):
    """Scores that depend on the whole batch: on its size, its largest row, and on what is drawn."""

    n_items = 50

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def full_sort_predict(self, rows: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(rows))
        mixed = torch.outer(rows.double() + rows.max(), torch.arange(50).double().sin())
        return mixed + len(rows) + torch.rand(len(rows), 50) + random.random() + np.random.random()


def batches(low: int, high: int) -> tuple[torch.Tensor, torch.Tensor, None]:
    return torch.arange(low, high), torch.arange(low, high) % 49 + 1, None


def test_a_model_always_meets_whole_blocks() -> None:
    model = Mixing()
    rank_rows(model, np.arange(300), batches)
    assert model.sizes == [BLOCK_ROWS] * 3


def test_draws_follow_the_seed_and_the_block_alone() -> None:
    ranks = rank_rows(Mixing(), np.arange(300), batches, seed=3).rank
    random.seed(9)
    np.random.seed(9)
    torch.manual_seed(9)
    again = rank_rows(Mixing(), np.arange(300), batches, seed=3, budget_bytes=1).rank
    assert (again == ranks).all()
    assert (rank_rows(Mixing(), np.arange(300), batches, seed=4).rank != ranks).any()
    even = rank_rows(Mixing(), np.arange(300), batches, seed=3, share=(0, 2)).rank
    odd = rank_rows(Mixing(), np.arange(300), batches, seed=3, share=(1, 2)).rank
    assert (even + odd == ranks).all()


def test_nothing_is_drawn_from_what_was_there() -> None:
    generator = torch.Generator().manual_seed(1)

    def next_numbers() -> list[float]:
        return [
            random.random(),
            random.gauss(0, 1),
            np.random.random(),
            np.random.standard_normal(),
            float(torch.rand(1)),
            float(torch.rand(1, generator=generator)),
        ]

    def begin() -> None:
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)
        generator.manual_seed(5)
        next_numbers()  # both normal distributions keep a second number

    begin()
    expected = next_numbers()
    begin()
    with pytest.raises(KeyError), own_draws(generator, None):
        seed_block(2020, 7)
        next_numbers()
        raise KeyError("an error changes nothing of it")
    assert next_numbers() == expected
    begin()
    rank_rows(Mixing(), np.arange(300), batches)
    assert next_numbers() == expected


@given(st.integers(1, 10**9))
def test_a_block_of_scores_stays_in_memory(n_items: int) -> None:
    rows = block_rows(n_items)
    assert 1 <= rows <= BLOCK_ROWS and rows & (rows - 1) == 0
    assert rows == 1 or 8 * rows * n_items <= SCORE_BYTES
    assert rows == BLOCK_ROWS or 16 * rows * n_items > SCORE_BYTES


@given(st.integers(0, 700), st.sampled_from([1, 8, 128]))
def test_blocks_cover_each_row_once(n_rows: int, rows: int) -> None:
    seen = [row for number, low, high in blocks(n_rows, rows) for row in range(low, high)]
    assert seen == list(range(n_rows))
    assert all(low == number * rows for number, low, _ in blocks(n_rows, rows))


@given(st.integers(1, 20))
def test_filled_repeats_rows(size: int) -> None:
    batch = {"a": torch.arange(size), "b": (torch.arange(size) * 2, torch.arange(size)[:, None])}
    whole = filled(batch, size, 20)
    assert torch.equal(whole["a"], torch.arange(20) % size)
    assert torch.equal(whole["b"][0], 2 * whole["a"])
    assert torch.equal(whole["b"][1][:, 0], whole["a"])


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=9), st.randoms())
def test_a_row_alone_knows_nothing_of_the_others(rows: list[int], chance: random.Random) -> None:
    """The same row among other companions, in another order, has the same score to the bit."""

    def score(batch: torch.Tensor) -> torch.Tensor:
        return (batch.double() + batch.max()).sqrt() / len(batch)

    def alone(values: list[int]) -> dict[int, float]:
        batch = torch.tensor(values)
        return {values[row]: float(score(one)[0]) for row, one in one_at_a_time(batch, len(values))}

    first = alone(rows)
    others = [*chance.sample(rows, len(rows)), 123]
    again = alone(others)
    assert {value: again[value] for value in first} == first


def test_in_blocks_gives_each_row_its_own() -> None:
    rows = torch.arange(300)
    seen = []

    def double(batch: torch.Tensor) -> torch.Tensor:
        seen.append(len(batch))
        return torch.stack([batch, 2 * batch], dim=1)

    assert torch.equal(in_blocks(double, rows, 300), torch.stack([rows, 2 * rows], dim=1))
    assert seen == [BLOCK_ROWS] * 3
