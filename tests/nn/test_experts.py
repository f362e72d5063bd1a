"""Experts, gate and item encoders against slow definitions."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recbole_precise.nn.experts import ExpertPooling, MeanPooling, TopKGate, segment_softmax
from recbole_precise.nn.item_encoders import (
    IdEncoder,
    ItemEncoder,
    TextEncoder,
    principal_projection,
)


def tokens(n_items=7, hidden=12, seed=0):
    rng = np.random.default_rng(seed)
    lengths = np.r_[
        0, rng.integers(1, 6, n_items - 2), 0
    ]  # item 0 is padding, the last has no text
    offsets = np.r_[0, lengths.cumsum()]
    ids = rng.integers(100, 110, offsets[-1])
    return (
        rng.standard_normal((offsets[-1], hidden)).astype(np.float16),
        ids.astype(np.int32),
        offsets,
    )


def slow_pooling(pooling, table, index, offsets):
    """Item by item, expert by expert, as docs/methods.md 1 spells it."""
    out = []
    scale = table.pow(2).mean().rsqrt() / table.shape[1] ** 0.5
    for begin, end in itertools.pairwise(offsets):
        rows = table[index[begin:end]]
        if not len(rows):
            out.append(torch.zeros(table.shape[1]))
            continue
        weight = pooling.gate(F.layer_norm(rows.mean(0), rows.shape[1:])[None])[0]
        total = torch.zeros(table.shape[1])
        for k in range(len(weight)):
            attention = (rows @ pooling.query[k] * scale).softmax(0)
            value = attention @ rows
            total += weight[k] * (value if pooling.value is None else value @ pooling.value[k])
        out.append(total)
    return torch.stack(out)


@pytest.mark.parametrize("value_projection", [False, True])
def test_experts_equal_the_item_by_item_definition(value_projection):
    torch.manual_seed(0)
    _, ids, offsets = tokens()
    table = torch.randn(10, 12)
    index, offsets = torch.from_numpy(ids.astype(np.int64) - 100), torch.from_numpy(offsets)
    pooling = ExpertPooling(12, 4, 2, value_projection=value_projection)
    if value_projection:
        torch.nn.init.normal_(pooling.value)
    torch.testing.assert_close(
        pooling(table, index, offsets),
        slow_pooling(pooling, table, index, offsets),
        rtol=1e-5,
        atol=1e-6,
    )


def test_gate_keeps_k_experts_and_gives_the_others_exactly_nothing():
    torch.manual_seed(0)
    gate = TopKGate(6, 5, 2)
    weights = gate(torch.randn(40, 6))
    assert ((weights > 0).sum(1) == 2).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(40))


def test_experts_that_are_not_chosen_get_zero_gradient():
    torch.manual_seed(0)
    pooling = ExpertPooling(8, 4, 1)
    table, index, offsets = torch.randn(5, 8), torch.tensor([0, 1, 2]), torch.tensor([0, 3])
    pooling(table, index, offsets).sum().backward()
    touched = pooling.query.grad.abs().sum(1) > 0
    assert touched.sum() == 1 and touched[pooling.last_usage.argmax()]


def test_segment_softmax_sums_to_one_and_survives_large_scores():
    segment = torch.tensor([0, 0, 2, 2, 2])
    scores = torch.tensor([[1e4, 0.0], [1e4, 1.0], [-1e4, 2.0], [0.0, 2.0], [1.0, 2.0]])
    soft = segment_softmax(scores, segment, 3)
    torch.testing.assert_close(soft[:2].sum(0), torch.ones(2))
    torch.testing.assert_close(soft[2:].sum(0), torch.ones(2))


@pytest.mark.parametrize("mode", ["vocab", "item_states", "frozen_states"])
@pytest.mark.parametrize("pool", ["experts", "mean"])
def test_some_items_are_encoded_as_in_the_whole_catalogue(mode, pool):
    torch.manual_seed(0)
    states, ids, offsets = tokens()
    width = TextEncoder.table_width(mode, 6, 12)
    pooling = ExpertPooling(width) if pool == "experts" else MeanPooling()
    encoder = ItemEncoder(
        [
            IdEncoder(7, 4, 0.1),
            TextEncoder(states, ids, offsets, width=6, pooling=pooling, mode=mode),
        ],
        7,
    )
    if mode != "frozen_states":
        encoder.parts[1].no_text.data.fill_(0.5)
    catalogue = encoder.all_items()
    assert catalogue.shape == (7, 10)
    wanted = torch.tensor([[3, 0, 6], [3, 3, 5]])
    if (pool == "experts" and mode != "frozen_states") or pool == "mean":
        torch.testing.assert_close(encoder(wanted), catalogue[wanted])
    torch.testing.assert_close(catalogue[6, 4:], encoder.parts[1].no_text)


def test_every_trainable_tensor_gets_a_gradient_and_frozen_states_none():
    torch.manual_seed(0)
    states, ids, offsets = tokens()
    for mode in ("vocab", "item_states", "frozen_states"):
        encoder = TextEncoder(
            states,
            ids,
            offsets,
            width=6,
            pooling=ExpertPooling(TextEncoder.table_width(mode, 6, 12)),
            mode=mode,
        )
        (encoder.rows(None) * torch.randn(7, 6)).sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())
        assert (mode == "frozen_states") == ("table" not in dict(encoder.named_parameters()))
        assert not any(key.startswith("frozen") for key in encoder.state_dict())


def test_vocab_rows_start_as_the_mean_state_of_their_token_on_principal_directions():
    states, ids, offsets = tokens(hidden=6)
    encoder = TextEncoder(states, ids, offsets, width=6, pooling=MeanPooling(), std=0.3)
    used = np.unique(ids)
    means = torch.from_numpy(np.stack([states[ids == u].astype(np.float32).mean(0) for u in used]))
    centred = means - means.mean(0)
    # a rotation and one scale: all angles between centred rows are those of the mean states
    ours = encoder.table.detach()
    torch.testing.assert_close(
        F.normalize(ours) @ F.normalize(ours).t(),
        F.normalize(centred) @ F.normalize(centred).t(),
        rtol=1e-3,
        atol=1e-3,
    )
    assert abs(ours.pow(2).mean().sqrt().item() - 0.3) < 1e-5


def test_projection_is_orthonormal_and_pads_what_the_encoder_lacks():
    rows = torch.randn(50, 8)
    projection = principal_projection(rows, 5)
    torch.testing.assert_close(projection.t() @ projection, torch.eye(5), rtol=1e-4, atol=1e-5)
    assert principal_projection(rows, 12).shape == (8, 12)


def test_bad_numbers_are_refused_with_the_numbers():
    with pytest.raises(
        ValueError, match="top_experts must be between 1 and n_experts \\(3\\), not 4"
    ):
        TopKGate(4, 3, 4)
    with pytest.raises(ValueError, match="token_mode"):
        TextEncoder(*tokens(), width=4, pooling=MeanPooling(), mode="vocabulary")


def test_id_dropout_leaves_whole_items_out_while_training_only():
    torch.manual_seed(0)
    encoder = IdEncoder(5000, 4, 0.1, dropout=0.3)
    rows = encoder.rows(None)
    dropped = (rows[1:] == 0).all(1).float().mean()
    assert abs(dropped - 0.3) < 0.03
    kept = (rows != 0).all(1)
    assert torch.equal(rows[kept], encoder.table.weight[kept])
    assert encoder.eval().rows(None) is encoder.table.weight
