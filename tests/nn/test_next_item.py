"""Targets of every position, against a loop over the events."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_precise.nn.next_item import later_targets, next_item_targets, upcoming_items


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    horizon=st.integers(1, 9),
    decay=st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    seed=st.integers(0, 10**6),
)
def test_upcoming_items_equal_a_loop(lengths, horizon, decay, seed):
    generator = torch.Generator().manual_seed(seed)
    events = [
        torch.randint(1, 50, (length + 1,), generator=generator).tolist() for length in lengths
    ]
    item_seq = torch.zeros(len(lengths), 7, dtype=torch.long)
    for row, items in enumerate(events):
        item_seq[row, : len(items) - 1] = torch.tensor(items[:-1])
    batch = next_item_targets(
        item_seq,
        torch.tensor(lengths),
        torch.tensor([items[-1] for items in events]),
        torch.tensor(lengths),
    )
    items, weights = upcoming_items(batch.targets, horizon, decay)
    assert items.shape == weights.shape == (*batch.targets.shape, horizon)
    for row, history in enumerate(events):
        for position in range(len(history) - 1):
            later = history[position + 1 : position + 1 + horizon]
            mass = [decay**step for step in range(len(later))]
            assert items[row, position, : len(later)].tolist() == later
            torch.testing.assert_close(
                weights[row, position],
                torch.tensor([m / sum(mass) for m in mass] + [0.0] * (horizon - len(later))),
            )
            assert (items[row, position] > 0).all()  # a target without weight is still a real item


def test_a_horizon_of_one_is_the_next_item():
    targets = torch.tensor([[3, 4, 0], [5, 0, 0]])
    items, weights = upcoming_items(targets, 1, 0.5)
    assert torch.equal(items[..., 0], targets) and torch.equal(
        weights[..., 0], (targets > 0).float()
    )


def test_the_wanted_positions_train_and_no_others():
    item_seq, lengths, last = (
        torch.tensor([[4, 5, 6, 0, 0], [7, 0, 0, 0, 0]]),
        torch.tensor([3, 1]),
        torch.tensor([9, 8]),
    )
    batch = next_item_targets(item_seq, lengths, last, torch.tensor([2, 1]))
    assert batch.item_seq.tolist() == [[4, 5, 6], [7, 0, 0]] and batch.mask.tolist() == [
        [True] * 3,
        [True, False, False],
    ]
    assert batch.targets.tolist() == [[5, 6, 9], [8, 0, 0]]
    assert batch.trained.tolist() == [[False, True, True], [True, False, False]]
    assert next_item_targets(item_seq, lengths, last).trained.sum(1).tolist() == [
        1,
        1,
    ]  # RecBole's rows: the last alone


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 4))
def test_later_targets_come_after_their_position(seed, n_positions, n_targets):
    torch.manual_seed(seed)
    lengths = torch.randint(1, 8, (4,))
    supervised = (torch.rand(4) * lengths).long() + 1
    item_seq = torch.arange(1, 33).view(4, 8)  # an item's number tells its row and place
    batch = next_item_targets(
        torch.where(torch.arange(8) < lengths[:, None], item_seq, 0),
        lengths,
        item_seq[torch.arange(4), lengths],
        supervised,
    )
    row, position, target = later_targets(batch, n_positions, n_targets)
    assert batch.trained[row, position].all()
    assert ((target - 1) // 8 == row).all()
    place = (target - 1) % 8
    assert ((place > position) & (place <= lengths[row])).all()
    assert torch.bincount(row, minlength=4).tolist() == [
        min(n_positions, s) * n_targets for s in supervised.tolist()
    ]
    pairs = set(zip(row.tolist(), position.tolist()))
    assert len(pairs) == sum(min(n_positions, s) for s in supervised.tolist())
