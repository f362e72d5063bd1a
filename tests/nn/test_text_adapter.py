"""Text vectors tuned on what is consumed together: pairs and loss by brute force, what is learnt on
planted data, and the vectors that models read.
"""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_precise.evaluation.discrepancy import ItemPairs, pair_distances, separation_of
from recbole_precise.nn.residual_codes import CodeVectors
from recbole_precise.nn.text_adapter import Pairs, TextAdapter, Tuning, nearby_pairs, pair_loss
from recbole_precise.nn.text_vectors import FrozenText

QUICK = Tuning(window=2, steps=20, width=24)


@given(
    st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=9), min_size=1, max_size=6),
    st.integers(1, 5),
    st.sets(st.integers(1, 7)),
)
def test_pairs_are_what_stands_near_in_a_sequence(sequences, window, without_text):
    has_text = np.array([item not in without_text and item > 0 for item in range(8)])
    expected = {}
    for sequence in sequences:
        for i, a in enumerate(sequence):
            for k in range(1, window + 1):
                if (
                    i + k < len(sequence)
                    and sequence[i + k] != a
                    and has_text[a]
                    and has_text[sequence[i + k]]
                ):
                    expected[a, sequence[i + k]] = expected.get((a, sequence[i + k]), 0) + 1 / k
    pairs = nearby_pairs(
        np.concatenate(sequences), np.cumsum([0, *map(len, sequences)]), has_text, window
    )
    found = dict(
        zip(zip(pairs.before.tolist(), pairs.after.tolist()), pairs.weight.tolist(), strict=True)
    )
    assert len(found) == len(pairs.weight) and found == pytest.approx(expected)


@settings(max_examples=12)
@given(st.integers(1, 9), st.integers(0, 999))
def test_the_loss_is_its_formula_row_by_row(n, seed):
    """With repeats of both items, of pairs, and of the one side on the other; its gradient too."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    before, after = torch.randint(0, 6, (2, n), generator=generator)
    after = torch.where(after == before, (after + 1) % 6, after)
    log_before, log_after = torch.log(
        torch.rand(2, 6, generator=generator, dtype=torch.float64) + 0.1
    )

    def side(own, partner, log_share):
        total = 0.0
        for i in range(n):
            logit = {
                j: torch.cosine_similarity(vectors[own[i]], vectors[partner[j]], dim=0) / 0.3
                - log_share[partner[j]]
                for j in range(n)
            }
            against = [
                logit[j]
                for j in range(n)
                if j == i or (partner[j] != partner[i] and partner[j] != own[i])
            ]
            total = total - logit[i] + torch.logsumexp(torch.stack(against), 0)
        return total / n

    expected = (side(before, after, log_after) + side(after, before, log_before)) / 2
    loss = pair_loss(
        vectors[before], vectors[after], before, after, log_before[before], log_after[after], 0.3
    )
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, vectors, retain_graph=True)[0] for value in (loss, expected))
    )


def planted(items=360, groups=4, held_out=60, seed=0):
    """Texts of much noise and a faint mark of the item's group, sequences within a group.

    The last items are in none.
    """
    rng = np.random.default_rng(seed)
    group = rng.integers(groups, size=items + 1)
    mark = np.eye(groups, 24)[group]
    texts = (
        rng.normal(size=(items + 1, 24)) * np.r_[np.zeros(groups), np.ones(24 - groups)] + mark
    ).astype(np.float32)
    texts[0] = 0
    sequences = [
        rng.choice(np.flatnonzero(group[1 : items - held_out + 1] == user % groups) + 1, 8)
        for user in range(200)
    ]
    return (
        texts,
        group,
        np.concatenate(sequences),
        np.arange(0, 8 * len(sequences) + 1, 8),
        items - held_out,
    )


def auc(vectors, group, among, seed=1):
    """Chance that two items of different groups are farther apart than two of one, as `inspect
    separation` counts it.
    """
    one, other = np.random.default_rng(seed).choice(among, (2, 4000))
    kept = one != other
    one, other = one[kept], other[kept]
    distance = pair_distances(vectors.numpy(), ItemPairs(one, other, np.ones_like(one)), "cosine")
    same = group[one] == group[other]
    return separation_of(distance[same], distance[~same]).auc


def test_hidden_groups_come_out_also_of_items_that_nobody_took():
    texts, group, items, offsets, trained = planted()
    text = FrozenText(texts, scaled=False)
    adapter = TextAdapter(24, 64)
    first, last = adapter.fit(
        text.plain,
        nearby_pairs(items, offsets, text.has_text.numpy(), 3),
        Tuning(steps=100, width=64),
        5,
    )
    seen, unseen = np.arange(1, trained + 1), np.arange(trained + 1, len(texts))
    before = [auc(text.vectors, group, among) for among in (seen, unseen)]
    text.tune(adapter)
    after = [auc(text.vectors, group, among) for among in (seen, unseen)]
    assert last < first and max(before) < 0.6, (first, last, before)
    assert after[0] > 0.9 and after[1] > 0.8, after


def test_sequences_without_any_order_teach_nothing_of_new_items():
    """The same texts, but who takes what has nothing to do with them: no group comes out."""
    texts, group, items, offsets, trained = planted()
    text, adapter = FrozenText(texts, scaled=False), TextAdapter(24, 64)
    shuffled = np.random.default_rng(2).permutation(items)
    adapter.fit(
        text.plain,
        nearby_pairs(shuffled, offsets, text.has_text.numpy(), 3),
        Tuning(steps=100, width=64),
        5,
    )
    text.tune(adapter)
    assert auc(text.vectors, group, np.arange(trained + 1, len(texts))) < 0.6


def small():
    texts, _, items, offsets, _ = planted(items=40, held_out=8)
    texts[7] = 0
    text = FrozenText(texts, scaled=True)
    return texts, text, nearby_pairs(items, offsets, text.has_text.numpy(), 2)


def test_it_begins_as_the_identity():
    torch.testing.assert_close(
        TextAdapter(5, 3)(torch.arange(20.0).view(4, 5)), torch.arange(20.0).view(4, 5)
    )
    _, text, pairs = small()
    adapter = TextAdapter(24, 16)
    adapter.fit(text.plain, pairs, Tuning(steps=1, width=16, learning_rate=1e-12), 0)
    text.tune(adapter)
    torch.testing.assert_close(text.vectors, text.plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scaled", [True, False])
def test_tuned_vectors_are_centred_and_as_large_as_before(scaled):
    texts, _, pairs = small()
    text, adapter = FrozenText(5 * texts, scaled=scaled), TextAdapter(24, 24)
    adapter.fit(text.plain, pairs, QUICK, 0)
    text.tune(adapter)
    some = text.vectors[text.has_text]
    assert (some - text.plain[text.has_text]).abs().max() > 0.1 * some.abs().max()
    assert some.mean(0).abs().max() < 1e-4 * some.abs().max()
    assert math.isclose(some.pow(2).mean(), text.plain[text.has_text].pow(2).mean(), rel_tol=1e-4)
    assert text.vectors[~text.has_text].abs().sum() == 0 and text.vectors.requires_grad is False


def test_one_seed_one_adapter_whatever_chance_did_elsewhere():
    _, text, pairs = small()
    found = []
    for seed, elsewhere in ((3, 0), (3, 1), (4, 0)):
        torch.manual_seed(elsewhere)
        state = torch.get_rng_state()
        found.append(TextAdapter(24, 24))
        found[-1].fit(text.plain, pairs, QUICK, seed)
        assert torch.equal(torch.get_rng_state(), state)
    one, again, other = ([*adapter.buffers()] for adapter in found)
    assert all(torch.equal(a, b) for a, b in zip(one, again)) and not torch.equal(one[0], other[0])


def test_pairs_are_drawn_by_their_weight_and_others_are_not_looked_at():
    """Of two pairs one weighs nothing beside the other: the adapter is that of the one alone.

    Vectors outside of pairs do not matter to it.
    """
    torch.manual_seed(0)
    rows = torch.randn(6, 24)
    pairs = Pairs(
        torch.tensor([1, 3]), torch.tensor([2, 4]), torch.tensor([1e9, 1e-9], dtype=torch.float64)
    )
    changed = rows.clone()
    changed[3:] = changed[3:].flip(0).neg()  # the same size
    first, other = TextAdapter(24, 8), TextAdapter(24, 8)
    for adapter, given_rows in ((first, rows), (other, changed)):
        adapter.fit(given_rows, pairs, Tuning(steps=5, width=8), 0)
    torch.testing.assert_close(first.outer, other.outer)


def tuned(scaled=False):
    texts, _, pairs = small()
    text, adapter = FrozenText(texts, scaled=scaled), TextAdapter(24, 24)
    adapter.fit(text.plain, pairs, QUICK, 0)
    text.tune(adapter)
    return texts, text, adapter


@pytest.mark.parametrize("scaled", [True, False])
def test_new_items_go_through_it_and_old_ones_stay(scaled):
    texts, text, _ = tuned(scaled)
    before, light = text.vectors.clone(), text.without_items()
    assert len(light.vectors) == 0 and text.extend(texts[[9, 7]]).tolist() == [True, False]
    assert torch.equal(text.vectors[:-2], before)
    torch.testing.assert_close(text.vectors[-2], before[9])
    assert (
        text.vectors[-1].abs().sum() == 0
        and len(text.plain) == len(text.has_text) == len(before) + 2
    )
    rows, readable = light.new_rows(texts[[9, 7]])
    assert readable.tolist() == [True, False] and torch.equal(rows, text.vectors[-2:])


def test_loaded_values_are_read_at_once_and_it_is_saved_once():
    _, text, adapter = tuned()
    holder = torch.nn.ModuleDict({"text": text, "again": copy.copy(text), "adapter": adapter})
    saved = {name: value.clone() for name, value in holder.state_dict().items()}
    assert {name.split(".")[0] for name in saved} == {"adapter"} and not list(holder.parameters())
    kept = text.vectors.clone()
    with torch.no_grad():
        adapter.outer.zero_()
    assert not torch.allclose(text.vectors, kept)
    holder.load_state_dict(saved)
    assert torch.equal(text.vectors, kept)
    assert not adapter.take(dict(saved.items())) and not TextAdapter(24, 8).take(
        adapter.state_dict()
    )
    other = TextAdapter(24, 24)
    assert other.take(adapter.state_dict()) and torch.equal(other(text.plain), adapter(text.plain))


def test_codes_are_those_of_the_tuned_text_for_new_items_too():
    texts, text, _ = tuned()
    part = CodeVectors(text, width=4, levels=2, codes=4, std=0.1).eval()
    plain = CodeVectors(FrozenText(texts, scaled=False), width=4, levels=2, codes=4, std=0.1)
    assert not torch.equal(part.centres, plain.centres)
    lengths = (np.abs(texts[[9, 11]]).sum(1) > 0).astype(int)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    part.extend(2, (texts[[9, 11]], np.zeros(2, int), offsets))
    assert torch.equal(part.codes[-2:], part.codes[[9, 11]])


def test_what_cannot_be_learnt_from():
    _, text, pairs = small()
    nothing = Pairs(pairs.before[:0], pairs.after[:0], pairs.weight[:0])
    with pytest.raises(ValueError, match="no pair of two items with text"):
        TextAdapter(24, 8).fit(text.plain, nothing, QUICK, 0)
    with pytest.raises(ValueError, match="loss of the pairs is (nan|inf) at step 1"):
        TextAdapter(24, 24).fit(text.plain, pairs, Tuning(steps=2, width=24, temperature=1e-45), 0)
