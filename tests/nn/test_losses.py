"""The objectives against their definitions."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_precise.nn.losses import NegativeSampler, full_softmax_loss, sampled_softmax_loss
from recbole_precise.nn.losses.sampled_softmax import own_item_mask


def reference(states, items, targets, bias=None, smoothing=0.0):
    logits = states @ items.t()
    if bias is not None:
        logits = logits + bias
    return F.cross_entropy(logits[:, 1:], targets - 1, label_smoothing=smoothing)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    n_items=st.integers(2, 60),
    width=st.integers(1, 9),
    tile=st.integers(1, 4000),
    smoothing=st.sampled_from([0.0, 0.2]),
    with_bias=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_full_softmax_equals_cross_entropy_whatever_the_tile(
    rows, n_items, width, tile, smoothing, with_bias, seed
):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(rows, width, dtype=torch.float64, generator=generator, requires_grad=True)
    items = torch.randn(
        n_items, width, dtype=torch.float64, generator=generator, requires_grad=True
    )
    bias = (
        torch.randn(n_items, dtype=torch.float64, generator=generator, requires_grad=True)
        if with_bias
        else None
    )
    targets = torch.randint(1, n_items, (rows,), generator=generator)
    ours = full_softmax_loss(
        states, items, targets, item_bias=bias, label_smoothing=smoothing, tile_bytes=tile
    )
    wanted = reference(states, items, targets, bias, smoothing)
    inputs = [t for t in (states, items, bias) if t is not None]
    torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-10)
    for mine, theirs in zip(
        torch.autograd.grad(2.5 * ours, inputs), torch.autograd.grad(2.5 * wanted, inputs)
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 20),
    n_items=st.integers(2, 30),
    k=st.integers(1, 4),
    tile=st.integers(1, 4000),
    smoothing=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 10**6),
)
def test_soft_targets_equal_cross_entropy_against_probabilities(
    rows, n_items, k, tile, smoothing, seed
):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(rows, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    items = torch.randn(n_items, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.randint(
        1, n_items, (rows, k), generator=generator
    )  # an item may stand in it twice
    weights = torch.rand(rows, k, dtype=torch.float64, generator=generator)
    weights = weights / weights.sum(1, keepdim=True)
    probabilities = torch.zeros(rows, n_items, dtype=torch.float64).scatter_add(
        1, targets, weights
    )[:, 1:]
    ours = full_softmax_loss(
        states, items, targets, target_weights=weights, label_smoothing=smoothing, tile_bytes=tile
    )
    wanted = F.cross_entropy((states @ items.t())[:, 1:], probabilities, label_smoothing=smoothing)
    torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-10)
    for mine, theirs in zip(
        torch.autograd.grad(ours, [states, items]), torch.autograd.grad(wanted, [states, items])
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)


def test_full_softmax_in_float32_is_cross_entropy_to_1e5():
    states, items = (
        torch.randn(300, 64, requires_grad=True),
        torch.randn(2000, 64, requires_grad=True),
    )
    targets = torch.randint(1, 2000, (300,))
    ours, wanted = full_softmax_loss(states, items, targets), reference(states, items, targets)
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(
        torch.autograd.grad(ours, [states, items]), torch.autograd.grad(wanted, [states, items])
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_bf16_products_stay_near_the_float32_loss_and_gradient():
    states, items = (
        torch.randn(200, 64, requires_grad=True),
        (0.1 * torch.randn(500, 64)).requires_grad_(),
    )
    targets = torch.randint(1, 500, (200,))
    exact = full_softmax_loss(states, items, targets)
    near = full_softmax_loss(states, items, targets, product_dtype=torch.bfloat16)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, exact, rtol=1e-2, atol=1e-2)
    for a, b in zip(
        torch.autograd.grad(near, [states, items]), torch.autograd.grad(exact, [states, items])
    ):
        assert F.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.999


def test_padding_row_is_no_class_and_gets_no_gradient():
    states = torch.randn(5, 4)
    items = torch.randn(6, 4)
    huge = items.clone()
    huge[0] = 1e4
    targets = torch.tensor([1, 2, 3, 4, 5])
    huge.requires_grad_()
    loss = full_softmax_loss(states, huge, targets)
    torch.testing.assert_close(loss, full_softmax_loss(states, items, targets))
    assert torch.autograd.grad(loss, huge)[0][0].abs().max() == 0


@settings(max_examples=40, deadline=None)
@given(n_items=st.integers(3, 30), rows=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_corrected_sampling_of_the_whole_catalogue_has_the_full_gradient(n_items, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(rows, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    items = torch.randn(n_items, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.randint(1, n_items, (rows,), generator=generator)
    pool = torch.arange(1, n_items)
    uniform = torch.full((n_items - 1,), 1.0 / (n_items - 1), dtype=torch.float64).log()
    sampled = sampled_softmax_loss(
        states,
        items[targets],
        items[pool],
        forbidden=targets[:, None] == pool,
        log_probability=uniform,
        logq="corrected",
    )
    mine = torch.autograd.grad(sampled, [states, items])
    wanted = torch.autograd.grad(reference(states, items, targets), [states, items])
    for a, b in zip(mine, wanted):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("logq, near", [("corrected", True), ("none", False)])
def test_popular_negatives_need_the_correction(logq, near):
    """Averaged over many pools drawn by popularity, the corrected gradient points where the full
    one does.
    """
    torch.manual_seed(0)
    n_items = 50
    counts = torch.zeros(n_items)
    counts[1:] = 1000.0 / torch.arange(1, n_items) ** 1.2
    states = torch.randn(8, 6, dtype=torch.float64)
    items = torch.randn(n_items, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(1, n_items, (8,))
    sampler = NegativeSampler(n_items, 300, "other_sequences", counts)
    batch_items = torch.multinomial(counts, 20000, replacement=True)
    total = torch.zeros_like(items)
    for _ in range(150):
        pool = sampler.draw(batch_items)
        loss = sampled_softmax_loss(
            states,
            items[targets],
            items[pool],
            forbidden=targets[:, None] == pool,
            log_probability=sampler.log_probability[pool].double(),
            logq=logq,
        )
        total += torch.autograd.grad(loss, items)[0]
    wanted = torch.autograd.grad(reference(states, items, targets), items)[0]
    error = (total / 150 - wanted).norm() / wanted.norm()
    assert error < 0.1 if near else error > 0.3


def test_own_items_never_compete():
    item_seq = torch.tensor([[3, 4, 0], [7, 0, 0]])
    targets = torch.tensor([[4, 5, 0], [8, 0, 0]])
    negatives = torch.tensor([3, 5, 7, 8, 9])
    expected = torch.tensor([[True, True, False, False, False], [False, False, True, True, False]])
    assert torch.equal(own_item_mask(item_seq, targets, negatives), expected)


def test_a_position_without_competitors_teaches_nothing():
    states = torch.randn(2, 3, requires_grad=True)
    loss = sampled_softmax_loss(
        states,
        torch.randn(2, 3),
        torch.randn(4, 3),
        forbidden=torch.tensor([[True] * 4, [False] * 4]),
        log_probability=torch.full((4,), 0.25).log(),
        logq="corrected",
    )
    with torch.autograd.detect_anomaly(check_nan=True):  # RecBole's trainer turns this on for good
        gradient = torch.autograd.grad(loss, states)[0]
    assert torch.isfinite(loss) and gradient[0].abs().max() == 0 and gradient[1].abs().max() > 0


@pytest.mark.parametrize("source", ["other_sequences", "uniform", "mixed"])
def test_negatives_come_from_where_they_should(source):
    torch.manual_seed(1)
    sampler = NegativeSampler(1000, 400, source, torch.ones(1000))
    drawn = sampler.draw(torch.tensor([5, 6, 7]))
    from_batch = torch.isin(drawn, torch.tensor([5, 6, 7])).sum().item()
    assert drawn.shape == (400,) and drawn.min() >= 1
    assert {
        "other_sequences": from_batch == 400,
        "uniform": from_batch < 20,
        "mixed": 180 < from_batch < 240,
    }[source]
