"""The memory of transitions: counts without what a position itself brought to them, against a
recount from scratch.
"""

import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_precise.evaluation.floors import Graph, window_edges
from recbole_precise.nn.losses import bpr_loss, full_softmax_loss, sampled_softmax_loss
from recbole_precise.nn.memory import Memory
from recbole_precise.nn.next_item import next_item_targets


def memory_of(sequences, n_items, window=1, first=0.7) -> Memory:
    items = np.array([item for sequence in sequences for item in sequence])
    offsets = np.cumsum([0, *map(len, sequences)])
    return Memory(
        window_edges(
            items,
            offsets,
            n_items,
            Graph(window=window, backward=0.0, distance="inverse", counts="raw"),
        ),
        first,
        window,
    )


def recount(sequences, window, a, left_out=()) -> dict[int, float]:
    """c(a, .) over all sequences.

    `left_out`: (sequence, place) of occurrences of a that do not count.
    """
    counts: Counter = Counter()
    for number, sequence in enumerate(sequences):
        for place, item in enumerate(sequence):
            if item == a and (number, place) not in left_out:
                for k, later in enumerate(sequence[place + 1 : place + 1 + window], start=1):
                    counts[later] += 1 / k
    return counts


def rows_of(sequences):
    """Each sequence as one row that trains all its positions, padded on the right."""
    longest = max(map(len, sequences)) - 1
    padded = torch.tensor(
        [[*sequence[:-1], *[0] * (longest + 1 - len(sequence))] for sequence in sequences]
    )
    lengths = torch.tensor([len(sequence) - 1 for sequence in sequences])
    return next_item_targets(
        padded, lengths, torch.tensor([sequence[-1] for sequence in sequences]), lengths
    )


sequences_of_few = st.lists(
    st.lists(st.integers(1, 5), min_size=2, max_size=7), min_size=1, max_size=6
)


@settings(max_examples=60, deadline=None)
@given(sequences_of_few, st.sampled_from([1, 2, 3]))
def test_a_position_finds_what_others_did(sequences, window):
    memory, batch = memory_of(sequences, 8, window), rows_of(sequences)
    row, position = batch.trained.nonzero(as_tuple=True)
    recall = memory.before(batch, row, position)
    dense = recall.at(torch.arange(8)).detach()
    assert dense.shape == (len(row), 8)
    for number, (r, p) in enumerate(zip(row.tolist(), position.tolist())):
        a = sequences[r][p]
        own = {(r, place) for place in range(p, len(sequences[r])) if sequences[r][place] == a}
        counts = recount(sequences, window, a, own)
        torch.testing.assert_close(
            dense[number],
            torch.tensor([0.7 * math.log1p(counts.get(item, 0)) for item in range(8)]),
            rtol=1e-4,
            atol=1e-4,
        )
    keys = recall.row * 8 + recall.item
    assert (keys.diff() > 0).all()  # sorted, no pair twice


@settings(max_examples=30, deadline=None)
@given(sequences_of_few, st.sampled_from([1, 3]))
def test_ranking_finds_all_counts(sequences, window):
    memory = memory_of(sequences, 8, window)
    memory.extend(2)
    last = torch.tensor([1, 5, 3, 9, 1])  # 9 came later and follows nothing
    dense = memory.after(last).at(torch.arange(10))
    for number, a in enumerate(last.tolist()):
        counts = recount(sequences, window, a)
        torch.testing.assert_close(
            dense[number].detach(),
            torch.tensor([0.7 * math.log1p(counts.get(item, 0)) for item in range(10)]),
            rtol=1e-4,
            atol=1e-4,
        )
    own = torch.tensor([[1, 2], [2, 1], [3, 3], [4, 0], [5, 9]])
    assert torch.equal(memory.after(last).at(own), dense.gather(1, own))


def test_noise_teaches_it_nothing():
    """On sequences without any order the weight is driven down.

    With a position's own count left in it would be driven up.
    """
    chance = np.random.default_rng(0)
    sequences = [chance.choice(np.arange(1, 60), 9, replace=False).tolist() for _ in range(80)]
    memory, batch = memory_of(sequences, 60), rows_of(sequences)
    targets = batch.targets[batch.trained]
    gradients = []
    for recall in (
        memory.before(batch, *batch.trained.nonzero(as_tuple=True)),
        memory.after(batch.item_seq[batch.trained]),
    ):
        gradients.append(
            torch.autograd.grad(
                F.cross_entropy(recall.at(torch.arange(60))[:, 1:], targets - 1), memory.weight
            )[0].item()
        )
    assert gradients[0] > 0 > gradients[1]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 30),
    n_items=st.integers(2, 40),
    tile=st.integers(1, 3000),
    smoothing=st.sampled_from([0.0, 0.2]),
    share=st.floats(0, 1),
    seed=st.integers(0, 10**6),
)
def test_pairs_join_the_full_softmax(rows, n_items, tile, smoothing, share, seed):
    generator = torch.Generator().manual_seed(seed)
    states, items = (
        torch.randn(n, 5, dtype=torch.float64, generator=generator, requires_grad=True)
        for n in (rows, n_items)
    )
    row, item = (torch.rand(rows, n_items, generator=generator) < share).nonzero(as_tuple=True)
    value = torch.randn(len(row), dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.randint(1, n_items, (rows,), generator=generator)
    ours = full_softmax_loss(
        states, items, targets, pairs=(row, item, value), label_smoothing=smoothing, tile_bytes=tile
    )
    logits = (states @ items.t()).index_put((row, item), value, accumulate=True)
    wanted = F.cross_entropy(logits[:, 1:], targets - 1, label_smoothing=smoothing)
    torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-10)
    for mine, theirs in zip(
        torch.autograd.grad(1.5 * ours, [states, items, value]),
        torch.autograd.grad(1.5 * wanted, [states, items, value]),
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)


def test_a_bonus_is_one_more_column_of_the_vectors():
    """What is added to single scores is what another dimension of users and items would add."""
    users, positives, negatives = torch.randn(6, 4), torch.randn(6, 4), torch.randn(9, 4)
    bonus = torch.randn(6), torch.randn(6, 9)
    for logq in ("none", "corrected"):
        kwargs = {"logq": logq, "log_probability": torch.randn(9)}
        each = []
        for i in range(6):
            user, positive = (
                torch.cat([users[i], torch.ones(1)])[None],
                torch.cat([positives[i], bonus[0][i : i + 1]])[None],
            )
            each.append(
                sampled_softmax_loss(
                    user, positive, torch.cat([negatives, bonus[1][i][:, None]], 1), **kwargs
                )
            )
        torch.testing.assert_close(
            sampled_softmax_loss(users, positives, negatives, bonus=bonus, **kwargs),
            torch.stack(each).mean(),
        )
    own, pair = torch.randn(6, 3, 4), torch.randn(6, 4)
    widened = (
        torch.cat([users, torch.ones(6, 1)], 1),
        torch.cat([positives, pair[:, :1]], 1),
        torch.cat([own, pair[:, 1:, None]], 2),
    )
    torch.testing.assert_close(bpr_loss(users, positives, own, bonus=pair), bpr_loss(*widened))


def test_nothing_known():
    memory = memory_of([[1, 2]], 5)
    batch = rows_of([[3, 4, 3]])
    recall = memory.before(batch, *batch.trained.nonzero(as_tuple=True))
    assert len(recall.row) == 0 and torch.equal(recall.at(torch.arange(5)), torch.zeros(2, 5))
    assert memory.half().counts.dtype == torch.float16 and memory.items.dtype == torch.int64
    with pytest.raises(IndexError):
        memory.after(torch.tensor([7]))
