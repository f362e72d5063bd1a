"""The parts of targeted training against loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.nn.losses import bpr_loss, draw_pair_negatives
from recbole_precise.nn.user_heads import ConcatHead


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(0, 1000), st.booleans())
def test_bpr_is_the_mean_over_pairs_then_rows(batch, n, width, seed, some_forbidden):
    generator = torch.Generator().manual_seed(seed)
    users, positives = torch.randn(2, batch, width, generator=generator)
    negatives = torch.randn(batch, n, width, generator=generator)
    forbidden = torch.rand(batch, n, generator=generator) < 0.4 if some_forbidden else None
    rows = []
    for b in range(batch):
        pairs = [k for k in range(n) if forbidden is None or not forbidden[b, k]]
        gaps = [float(users[b] @ positives[b] - users[b] @ negatives[b, k]) for k in pairs]
        rows.append(sum(math.log1p(math.exp(-gap)) for gap in gaps) / max(len(gaps), 1))
    assert float(bpr_loss(users, positives, negatives, forbidden)) == pytest.approx(
        sum(rows) / batch, rel=1e-4, abs=1e-6
    )


def test_negatives_are_half_uniform_half_of_other_rows():
    torch.manual_seed(0)
    targets = torch.tensor([3, 5]).repeat(200)
    drawn = draw_pair_negatives(targets, 32, 1000)
    assert drawn.shape == (400, 32) and drawn.min() >= 1 and drawn.max() < 1000
    assert set(drawn[:, 16:].unique().tolist()) == {3, 5} and drawn[:, :16].unique().numel() > 900
    assert draw_pair_negatives(targets, 1, 1000).unique().numel() > 100


@given(st.integers(0, 1000), st.booleans())
def test_the_head_puts_the_last_state_in_the_last_place(seed, residual):
    torch.manual_seed(seed)
    width, length = 3, 6
    head = ConcatHead(width, length, residual)
    torch.nn.init.normal_(head.outer.weight)
    lengths = torch.randint(1, length + 1, (5,))
    longest = int(lengths.max())
    mask = torch.arange(longest) < lengths[:, None]
    states = torch.randn(5, longest, width)
    users = head(states, mask)
    for row, count in enumerate(lengths.tolist()):
        flat = torch.cat([torch.zeros((length - count) * width), states[row, :count].flatten()])
        expected = head.outer(torch.nn.functional.gelu(head.inner(flat))) + (
            states[row, count - 1] if residual else 0
        )
        torch.testing.assert_close(users[row], expected)
        changed = states.clone()
        changed[row, count:] = 9.0  # padding says nothing
        torch.testing.assert_close(head(changed, mask)[row], users[row])


def test_a_residual_head_begins_as_the_last_state():
    states, mask = torch.randn(2, 4, 3), torch.tensor([[True] * 4, [True, True, False, False]])
    torch.testing.assert_close(
        ConcatHead(3, 7, residual=True)(states, mask), torch.stack([states[0, 3], states[1, 1]])
    )


@given(st.integers(0, 1000), st.booleans(), st.integers(1, 6))
def test_at_every_position_the_head_is_that_of_the_prefix(seed, residual, longest):
    torch.manual_seed(seed)
    width, length = 3, 6
    head = ConcatHead(width, length, residual)
    torch.nn.init.normal_(head.outer.weight)
    states = torch.randn(4, longest, width)
    everywhere = head.at_every_position(states)
    for end in range(1, longest + 1):
        torch.testing.assert_close(
            everywhere[:, end - 1],
            head(states[:, :end], torch.ones(4, end, dtype=torch.bool)),
            rtol=1e-4,
            atol=1e-5,
        )
