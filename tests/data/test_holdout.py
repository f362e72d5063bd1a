"""Items held out of training are in no training tensor of any kind.

Validation and test rows stay RecBole's.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data_helpers import INTER, assert_same_rows, eval_args, synthetic
from hypothesis import given
from hypothesis import strategies as st

import recbole_precise as rp
from recbole_precise.data.holdout import choose_items, training_store
from recbole_precise.data.sequences import SequenceStore
from recbole_precise.errors import ConfigError, DataError
from recbole_precise.evaluation.slices import Cases, row_slices
from recbole_precise.plugin.preparation import create_dataset, data_preparation
from recbole_precise.training.views import phase_loaders


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 9)), min_size=3, max_size=40),
    st.floats(0.05, 0.95),
    st.integers(0, 5),
    st.randoms(),
)
def test_the_choice_is_a_share_of_the_items_with_events_and_follows_their_names(
    events, share, seed, random
):
    items, times = (np.array(part) for part in zip(*events))
    tokens = ["[PAD]", *(f"t{i}" for i in range(1, 13))]
    for by in ("random", "first_seen"):
        held = choose_items(items, times, tokens, share, by, seed)
        there = np.unique(items)
        assert held.sum() == max(1, round(share * len(there))) and set(np.flatnonzero(held)) <= set(
            there
        )
        order = list(range(1, 13))
        random.shuffle(order)  # other numbers for the same names
        renumbered = np.array([0, *order])
        names = np.empty(13, dtype=object)
        names[renumbered] = tokens
        again = choose_items(renumbered[items], times, list(names), share, by, seed)
        assert {tokens[i] for i in np.flatnonzero(held)} == {
            names[i] for i in np.flatnonzero(again)
        }
    first = {item: times[items == item].min() for item in there}
    assert min(first[i] for i in np.flatnonzero(held)) >= max(
        (first[i] for i in there if not held[i]), default=-1
    )


@given(
    st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=8), min_size=1, max_size=6),
    st.sets(st.integers(1, 6), max_size=5),
    st.data(),
)
def test_the_training_store_against_loops(histories, held, data):
    user = torch.repeat_interleave(
        torch.arange(1, len(histories) + 1), torch.tensor([len(h) for h in histories])
    )
    items = torch.tensor([i for h in histories for i in h])
    store = SequenceStore({"item": items}, user, np.arange(len(items)))
    cut = [
        data.draw(st.integers(0, len(h) - 1)) for h in histories
    ]  # the last training target; 0: none
    mask = torch.zeros(7, dtype=torch.bool)
    mask[list(held)] = True
    found, place = training_store(store, store.offsets[:-1] + torch.tensor(cut), mask, "item")
    expected = [
        (u + 1, i)
        for u, (h, last) in enumerate(zip(histories, cut))
        if last
        for i in h[: last + 1]
        if i not in held
    ]
    assert list(zip(found.user.tolist(), found.fields["item"].tolist())) == expected
    there = place[place >= 0]
    assert there.tolist() == list(range(len(found))) and torch.equal(
        items[place >= 0], found.fields["item"]
    )
    assert np.array_equal(found.times, np.arange(len(items))[(place >= 0).numpy()])


def build(config):
    dataset = create_dataset(config)
    return dataset, data_preparation(config, dataset)


@pytest.mark.parametrize("split", ["LS", "RS", "RS-none", "TS"])
@pytest.mark.parametrize("name", ["mixed", "ties"])
@pytest.mark.parametrize(
    ("model", "by"), [("PRECISE-ID", "random"), ("SASRec", "random"), ("PRECISE-ID", "first_seen")]
)
def test_no_held_out_item_is_in_any_training_tensor(
    write_dataset, our_config, name, split, model, by
):
    path = write_dataset(name, synthetic(name), inter_header=INTER)
    settings = {
        "data_path": str(path),
        "eval_args": eval_args(split),
        "MAX_ITEM_LIST_LENGTH": 6,
        "train_batch_size": 4,
    }
    if model == "SASRec":
        settings["train_neg_sample_args"] = None
    _, (_, *whole) = build(our_config(model, name, **settings))
    dataset, (train, *rest) = build(
        our_config(model, name, holdout_items=0.3, holdout_by=by, **settings)
    )
    held, field = train._dataset.held_out, dataset.iid_field
    assert 0 < held.sum() < held.numel() - 1
    for batch in train:
        for column, values in batch.interaction.items():
            if field in column and "length" not in column:
                assert not held[values].any(), column
    part = train._dataset
    assert not held[part.train_sequences()[0]].any() and not held[part.store.fields[field]].any()
    assert part.train_item_counts()[held].sum() == 0
    assert part.inter_matrix().tocsc()[:, held.numpy()].nnz == 0 and not {
        int(i) for i in torch.nonzero(held)
    } & set(part.counter(field))
    for loader, before in zip(rest, whole):  # RecBole's rows, as without the key
        assert_same_rows(loader._dataset, before._dataset)
        assert torch.equal(
            loader._dataset.train_item_counts(), part.train_item_counts()
        )  # no way round


def test_every_other_training_target_stays(our_config):
    """On ml-100k: the targets that are trained are the kept ones, each once, but for a user's first
    kept event.
    """
    _dataset, (train, _, _) = build(our_config("PRECISE-ID", holdout_items=0.1))
    _, (windows, _, _) = build(our_config("PRECISE-ID"))
    part, held = train._dataset, train._dataset.held_out
    items, offsets, users = windows._dataset.train_sequences()
    kept = [
        (int(u), items[a:b][~held[items[a:b]]].tolist())
        for u, a, b in zip(users, offsets[:-1], offsets[1:])
    ]
    ours = part.inter_feat.interaction
    target = ours.targets()
    assert sorted(
        zip(part.store.users_of(target).tolist(), part.store.fields["item_id"][target].tolist())
    ) == sorted((u, i) for u, own in kept for i in own[1:])
    assert int(held.sum()) == 168


def test_prefix_rows_keep_their_order_and_histories(our_config):
    settings = {"train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": 5}
    _dataset, (train, _, _) = build(our_config("SASRec", holdout_items=0.2, **settings))
    part, held = train._dataset, train._dataset.held_out
    rows = part[list(range(0, len(part), 997))].interaction
    items, offsets, users = part.train_sequences()
    own = {int(u): items[a:b].tolist() for u, a, b in zip(users, offsets[:-1], offsets[1:])}
    for user, history, length, target in zip(
        rows["user_id"].tolist(),
        rows["item_id_list"].tolist(),
        rows["item_length"].tolist(),
        rows["item_id"].tolist(),
    ):
        at = own[user].index(target)  # ml-100k has no repeats
        assert history[:length] == own[user][max(0, at - 5) : at] and not any(history[length:])
    order = part.inter_feat.interaction.end
    _, (stock, _, _) = build(our_config("SASRec", **settings))
    whole = stock._dataset.inter_feat.interaction
    expected = [
        (u, i)
        for u, i in zip(whole["user_id"].tolist(), whole["item_id"].tolist())
        if not held[i] and own[u][0] != i
    ]
    assert (
        list(zip(part.store.users_of(order).tolist(), part.store.fields["item_id"][order].tolist()))
        == expected
    )


def test_the_loss_does_not_know_held_out_items(our_config, tmp_path):
    """Neither as targets nor as negatives: their ID vectors get no gradient, and the loss is the
    same whatever they are.
    """
    for softmax in ("full", "sampled"):
        config = our_config(
            "PRECISE-ID",
            holdout_items=0.3,
            softmax=softmax,
            embedding_size=8,
            token_size=8,
            n_layers=1,
            hidden_dropout_prob=0.0,
            attn_dropout_prob=0.0,
        )
        _, (train, _, _) = build(config)
        torch.manual_seed(0)
        model = rp.get_model(config["model"])(config, train._dataset)
        held, batch, losses = train._dataset.held_out, next(iter(train)), []
        table = model.item_encoder.parts[0].table.weight
        for value in (0.0, 100.0):
            with torch.no_grad():
                table[held] = value
            torch.manual_seed(1)
            loss = model.calculate_loss(batch)
            model.zero_grad()
            loss.backward()
            losses.append(loss.item())
            assert not table.grad[held].any() and table.grad[~held].any()
        assert losses[0] == losses[1]


@pytest.mark.parametrize("rows", ["prefixes", "windows"])
@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_targeted_training_does_not_know_held_out_items(our_config, loss, rows):
    config = our_config(
        "PRECISE-TT",
        holdout_items=0.3,
        variant="id",
        embedding_size=8,
        token_size=8,
        n_layers=1,
        targeted_loss=loss,
        targeted_rows=rows,
        targeted_negatives=8,
        targeted_batch_size=64,
    )
    _, (train, _, _) = build(config)
    torch.manual_seed(0)
    model = rp.get_model(config["model"])(config, train._dataset)
    held, table = train._dataset.held_out, model.item_encoder.parts[0].table.weight
    model.calculate_loss(next(iter(phase_loaders(model.phases()[0], train, None)[0]))).backward()
    assert not table.grad[held].any() and table.grad[~held].any()


@pytest.mark.parametrize("view", ["target", "universal"])
def test_no_view_of_the_scenes_trains_a_held_out_item(our_config, view):
    """And what stays is what the view has without the key, less the held-out items."""
    settings = {"scene_rules": {"like": "rating >= 4"}, "target_scene": "like", "scene_view": view}
    whole = build(our_config("PRECISE-ID", **settings))[1]
    train, valid, test = build(our_config("PRECISE-ID", holdout_items=0.2, **settings))[1]
    held = train._dataset.held_out
    for scene_view in ("target", "universal", "context"):
        for rows in ("windows", "prefixes"):
            part = train._dataset.view(scene_view, rows)
            batch = part[list(range(0, len(part), 97))]
            assert not held[batch["item_id_list"]].any() and not held[batch["item_id"]].any()
        items, offsets, users = whole[0]._dataset.view(scene_view, "prefixes").train_sequences()
        expected = {
            int(u): items[a:b][~held[items[a:b]]].tolist()
            for u, a, b in zip(users, offsets[:-1], offsets[1:])
        }
        items, offsets, users = part.train_sequences()
        found = {int(u): items[a:b].tolist() for u, a, b in zip(users, offsets[:-1], offsets[1:])}
        assert found == {user: own for user, own in expected.items() if len(own) > 1}
        assert torch.equal(
            valid._dataset.view(scene_view).train_item_counts(), part.train_item_counts()
        )
    for loader, before in zip((valid, test), whole[1:]):
        assert_same_rows(loader._dataset, before._dataset)


@pytest.mark.parametrize("model", ["PRECISE-ID", "SASRec"])
def test_users_held_out_have_no_training_row_and_are_evaluated(our_config, model):
    settings = {"train_neg_sample_args": None} if model == "SASRec" else {}
    whole = build(our_config(model, **settings))[1]
    _dataset, loaders = build(our_config(model, holdout_users=0.25, **settings))
    train, others = loaders[0]._dataset, whole[0]._dataset
    assert train.held_out is None
    kept, everyone = (
        set(train.train_sequences()[2].tolist()),
        set(others.train_sequences()[2].tolist()),
    )
    assert len(everyone) - len(kept) == round(0.25 * 943) and kept < everyone
    assert set(train[list(range(0, len(train), 7))]["user_id"].tolist()) <= kept
    expected = torch.bincount(
        torch.cat(
            [
                part
                for part, user in zip(
                    others.train_sequences()[0].split(others.train_sequences()[1].diff().tolist()),
                    others.train_sequences()[2].tolist(),
                )
                if user in kept
            ]
        ),
        minlength=train.item_num,
    )
    assert torch.equal(train.train_item_counts(), expected)
    for loader, before in zip(loaders[1:], whole[1:]):
        assert_same_rows(loader._dataset, before._dataset)
    again = build(our_config(model, holdout_users=0.25, holdout_seed=7, **settings))[1][0]._dataset
    assert set(again.train_sequences()[2].tolist()) != kept


def test_slices_of_held_out_targets():
    cases = Cases(
        np.array([1, 2, 3, 2]),
        np.zeros(4),
        np.zeros(4, dtype=bool),
        np.array([0, 5, 0, 9]),
        np.array([False, False, True, False]),
    )
    found = row_slices(cases, "holdout")
    assert found["holdout"].tolist() == [False, True, False, True] and found["kept"].tolist() == [
        True,
        False,
        True,
        False,
    ]


def test_nothing_left_to_train_on(write_dataset, our_config):
    path = write_dataset(
        "two", [("u", "a", 1), ("u", "b", 2), ("u", "c", 3), ("u", "d", 4), ("v", "a", 1)]
    )
    with pytest.raises(
        DataError, match="holdout_items: 0.9 leaves no row for training: no user has two events"
    ):
        build(our_config("PRECISE-ID", "two", data_path=str(path), holdout_items=0.9))


@pytest.mark.parametrize(
    ("model", "value", "said"),
    [
        ("PRECISE-UT", 1.5, "holdout_items"),
        ("PRECISE-UT", 0, "above 0"),
        ("BPR", 0.1, "BPR"),
        ("DIEN", 0.1, "DIEN"),
    ],
)
def test_a_hold_out_that_cannot_be(our_config, model, value, said):
    with pytest.raises(ConfigError, match=said):
        our_config(model, holdout_items=value)
