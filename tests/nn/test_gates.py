"""Gates of PAD: weights of sum 1, the authors' numbers, and scores that fold into one inner
product.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.nn.gated_items import GatedItems, user_gated_softmax_loss
from recbole_precise.nn.gates import FREE_GATES, GATES, build_gate
from recbole_precise.nn.towers import ItemTower

WIDTH, ITEMS, BUCKETS = 6, 30, 4
EXPERTS = ("id", "aligned", "text")


class Table(ItemTower):
    """Stands for a tower: a row of its own for each item."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(ITEMS, WIDTH))

    def rows(self, item_ids, absent=None):
        return self.weight if item_ids is None else self.weight[item_ids]


def gated(kind: str, experts=EXPERTS, seed: int = 0) -> GatedItems:
    torch.manual_seed(seed)
    gate = build_gate(kind, experts, BUCKETS, WIDTH)
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter)
    bucket = torch.randint(1, BUCKETS + 1, (ITEMS,))
    bucket[0], bucket[1] = 0, BUCKETS
    return GatedItems({name: Table() for name in EXPERTS}, experts, gate, bucket, None)


def by_hand(items: GatedItems, states: torch.Tensor) -> torch.Tensor:
    """The sum of the gated experts' scores, expert by expert, in float64."""
    total = torch.zeros(len(states), ITEMS, dtype=torch.float64)
    for k, name in enumerate(items.active):
        score = states[:, k].double() @ items.towers[name].weight.double().t()
        weight = items.weights(items.bucket.expand(len(states), -1), states)[..., k]
        total += weight.double() * score
    return total


@given(kind=st.sampled_from(GATES), size=st.integers(1, 3), seed=st.integers(0, 9999))
def test_the_folded_score_is_the_sum_of_the_gated_experts(kind, size, seed):
    items = gated(kind, EXPERTS[:size], seed)
    states = torch.randn(5, size, WIDTH)
    expected = by_hand(items, states)
    folded = (items.fold_users(states) @ items.all_items().t()).double()
    torch.testing.assert_close(folded[:, 1:], expected[:, 1:], rtol=1e-5, atol=1e-5)
    pairs = torch.randint(1, ITEMS, (5, 7))
    one_by_one = items.pair_scores(states, items.stacked(None)[pairs], items.bucket[pairs])
    torch.testing.assert_close(one_by_one.double(), expected.gather(1, pairs), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(items(pairs), items.all_items()[pairs])


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_weights_are_shares(kind, size):
    items = gated(kind, EXPERTS[:size])
    weights = items.weights(items.bucket.expand(4, -1), torch.randn(4, size, WIDTH))
    assert weights.shape == (4, ITEMS, size) and (weights >= 0).all()
    torch.testing.assert_close(
        weights.sum(-1), torch.full((4, ITEMS), float(size if kind == "none" else 1))
    )


@pytest.mark.parametrize("kind", ["bucket", "author", "mlp", "global", "none"])
def test_foldable_gates_give_one_vector_of_the_experts_width(kind):
    assert gated(kind).all_items().shape == (ITEMS, 3 * WIDTH)


def test_a_users_own_weights_fold_into_blocks_of_buckets():
    assert gated("expert_output").all_items().shape == (ITEMS, BUCKETS * 3 * WIDTH)


def test_the_authors_first_weights():
    """The shares that follow from the first values in the released code: the aligned expert is
    nearly switched off.
    """
    table = build_gate("author", EXPERTS, 10, WIDTH).table()
    assert table[1].tolist() == pytest.approx([0.568, 0.013, 0.419], abs=6e-4)
    assert table[10].tolist() == pytest.approx([0.404, 0.005, 0.591], abs=6e-4)


def test_the_bucket_gate_begins_with_equal_shares_and_each_bucket_learns_alone():
    gate = build_gate("bucket", EXPERTS, 4, WIDTH)
    torch.testing.assert_close(gate.table(), torch.full((5, 3), 1 / 3))
    gate(torch.tensor([2, 2]))[:, 0].sum().backward()
    assert gate.logits.grad[2].abs().min() > 0 and gate.logits.grad[[0, 1, 3, 4]].abs().max() == 0


def test_a_global_gate_knows_no_buckets():
    table = gated("global").gate.table()
    assert torch.equal(table, table[:1].expand_as(table))


def test_an_unknown_gate():
    with pytest.raises(ValueError, match="gate must be one of"):
        build_gate("moe", EXPERTS, 4, WIDTH)


def test_one_speaking_expert_is_not_gated():
    items = gated("bucket")
    items.active = ("aligned",)
    assert torch.equal(items.all_items(), items.towers["aligned"].weight)


@given(seed=st.integers(0, 9999), absent=st.integers(0, BUCKETS))
def test_softmax_with_a_users_own_weights_is_cross_entropy_of_all_scores(seed, absent):
    """Also where a bucket has no item, and with gradients of every part."""
    items = gated("expert_output", seed=seed)
    if absent:
        items.bucket[1:][items.bucket[1:] == absent] = absent % BUCKETS + 1
    states = torch.randn(6, 3, WIDTH, requires_grad=True)
    targets = torch.randint(1, ITEMS, (6,))

    def gradients(loss):
        return torch.autograd.grad(loss, [states, *items.parameters()], allow_unused=True)

    loss = user_gated_softmax_loss(items, states, items.stacked(None), items.bucket, targets)
    everything = torch.arange(ITEMS).expand(6, -1)
    scores = items.pair_scores(states, items.stacked(None)[everything], items.bucket[everything])
    expected = F.cross_entropy(scores[:, 1:], targets - 1)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(gradients(loss), gradients(expected)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in GATES if kind != "expert_output"])
def test_first_weights_can_be_set_where_they_are_free_numbers(kind):
    gate = build_gate(kind, EXPERTS, 4, WIDTH)
    before = gate.table().clone()
    if kind in FREE_GATES:
        gate.begin([3.0, 1.0, 0.5])
        torch.testing.assert_close(
            gate.table(), torch.tensor([3.0, 1.0, 0.5]).div(4.5).expand(5, 3)
        )
        assert all(parameter.requires_grad for parameter in gate.parameters())
    else:
        with pytest.raises(ValueError, match="cannot be set"):
            gate.begin([3.0, 1.0, 0.5])
        torch.testing.assert_close(gate.table(), before)
