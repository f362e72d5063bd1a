"""Items that came after training: their vectors come from text alone, and those that were there do
not move.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import recbole_precise as rp
from recbole_precise.nn.experts import ExpertPooling, MeanPooling
from recbole_precise.nn.item_encoders import IdEncoder, ItemEncoder, TextEncoder
from recbole_precise.plugin.preparation import create_dataset, data_preparation

HIDDEN, WIDTH = 12, 6


def texts_of(rng, lengths, vocabulary=15):
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return (
        rng.normal(size=(offsets[-1], HIDDEN)).astype(np.float16),
        rng.integers(0, vocabulary, offsets[-1]),
        offsets,
    )


def encoder_of(mode, states, ids, offsets, pooled=False):
    torch.manual_seed(0)
    width = TextEncoder.table_width(mode, WIDTH, HIDDEN)
    encoder = TextEncoder(
        states,
        ids,
        offsets,
        width=WIDTH,
        pooling=MeanPooling() if pooled else ExpertPooling(width, 3, 2),
        mode=mode,
    )
    with torch.no_grad():
        encoder.no_text.normal_()
        if mode == "vocab":
            encoder.table.add_(torch.randn_like(encoder.table))  # as after training
    return encoder.eval()


@pytest.mark.parametrize("mode", ["vocab", "item_states", "frozen_states"])
@pytest.mark.parametrize("pooled", [False, True])
@settings(max_examples=25)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 10**6))
def test_the_text_of_an_old_item_gives_its_vector_and_nothing_else_moves(
    mode, pooled, lengths, seed
):
    rng = np.random.default_rng(seed)
    states, ids, offsets = texts_of(rng, [0, 3, 2, 4, *lengths])
    encoder = encoder_of(mode, states, ids, offsets, pooled)
    before = encoder.rows(None)
    some = torch.tensor([1, 3])
    lookup = encoder.rows(some)
    learnt = {name: value.clone() for name, value in encoder.named_parameters()}
    copied = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in (3, 1, 0)]).astype(
        np.int64
    )
    with_text = encoder.extend(3, (states[copied], ids[copied], np.array([0, 4, 7, 7])))
    after = encoder.rows(None)
    assert with_text.tolist() == [True, True, False]
    # What was learnt stays bit for bit; a product over more rows may round otherwise.
    assert all(
        torch.equal(value[: len(learnt[name])], learnt[name])
        for name, value in encoder.named_parameters()
    )
    assert torch.allclose(after[: len(before)], before, atol=1e-5) and torch.allclose(
        encoder.rows(some), lookup, atol=1e-5
    )
    assert torch.allclose(after[len(before) :], before[[3, 1, 0]], atol=1e-5)
    new = torch.tensor([len(before), len(before) + 1])
    assert torch.allclose(encoder.rows(new), encoder.rows(torch.tensor([3, 1])), atol=1e-5)


def test_words_that_no_item_had_are_left_out():
    rng = np.random.default_rng(0)
    states, ids, offsets = texts_of(rng, [0, 3, 2])
    ids = np.array([4, 7, 2, 7, 9])
    encoder = encoder_of("vocab", states, ids, offsets)
    new_ids = np.array([4, 99, 7, 2, 1000, 5])
    new_states = np.zeros((6, HIDDEN), np.float16)
    with_text = encoder.extend(2, (new_states, new_ids, np.array([0, 4, 6])))
    assert with_text.tolist() == [True, False]
    rows = encoder.rows(None)
    assert torch.allclose(
        rows[3], rows[1], atol=1e-6
    )  # without the unknown word it is item 1's text
    assert torch.equal(rows[4], encoder.no_text)


@pytest.mark.parametrize("unseen", ["initial", "zero", "mean"])
def test_what_stands_for_an_id_that_was_never_trained(unseen):
    torch.manual_seed(0)
    trained = torch.tensor([False, True, False, True])
    encoder = IdEncoder(4, 5, 0.1, unseen=unseen, trained=trained)
    weight = encoder.table.weight.detach().clone()
    assert torch.equal(encoder.rows(None), weight)  # training knows nothing of it
    encoder.eval()
    encoder.extend(2)
    neutral = weight[trained].mean(0) if unseen == "mean" else torch.zeros(5)
    expected = torch.cat([weight, neutral.expand(2, -1)])
    if unseen != "initial":
        expected[2] = neutral
    assert torch.allclose(encoder.rows(None), expected)
    ids = torch.tensor([5, 2, 1, 0, 4])
    assert torch.allclose(encoder.rows(ids), expected[ids])
    assert not expected[0].any()


def test_ids_alone_say_the_same_of_every_new_item():
    encoder = ItemEncoder([IdEncoder(6, 4, 0.1)], 6).eval()
    assert encoder.extend(3).tolist() == [False] * 3
    new = encoder.all_items()[6:]
    assert len(new) == 3 and torch.equal(new, new[:1].expand(3, -1))


@pytest.mark.parametrize(
    "more",
    [
        {"neighbour_transitions": 0.5, "neighbour_texts": 2.0},
        {"score": "cosine", "temperature": 0.1, "unseen_id": "mean"},
    ],
)
def test_a_model_with_new_items_scores_the_old_ones_as_before(our_config, more):
    settings = {"embedding_size": 8, "token_size": 8, "n_layers": 1, "MAX_ITEM_LIST_LENGTH": 10}
    config = our_config("PRECISE-UT", **settings, **more)
    dataset = create_dataset(config)
    train, _, test = data_preparation(config, dataset)
    torch.manual_seed(0)
    model = rp.get_model(config["model"])(config, train._dataset).eval()
    rows = test._dataset[list(range(50))]
    before, states = model.full_sort_predict(rows), dataset.token_states()
    assert model.extend_catalogue(states.select(np.array([5, -1]))).tolist() == [True, False]
    after = model.full_sort_predict(rows)
    assert after.shape == (50, before.shape[1] + 2) and torch.allclose(
        after[:, :-2], before, atol=1e-5
    )
    rows["item_id_list"][:, 0] = before.shape[1]  # a new item may stand in a history, too
    assert torch.isfinite(model.full_sort_predict(rows)).all()
