"""Rare items borrow from the items that read alike: by hand, item by item."""

import numpy as np
import pytest
import torch

from recbole_precise.nn.smoothed_ids import SmoothedIdEncoder
from recbole_precise.nn.text_vectors import FrozenText

ITEMS = 12


def build(unseen="zero", dropout=0.0):
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(ITEMS, 5)).astype(np.float32)
    texts[[0, 4]] = 0  # the padding, and an item without text
    trained = torch.ones(ITEMS, dtype=torch.bool)
    trained[[0, 7, 9]] = False
    bucket = torch.tensor([0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3])
    torch.manual_seed(0)
    encoder = SmoothedIdEncoder(
        ITEMS,
        4,
        1.0,
        dropout,
        unseen,
        trained,
        text=FrozenText(texts, scaled=False),
        neighbours=3,
        bucket=bucket,
    )
    with torch.no_grad():
        encoder.share.normal_()
    return texts, trained, bucket, encoder


def by_hand(texts, trained, bucket, encoder, training):
    table, share = encoder.table.weight, torch.sigmoid(encoder.share)
    centred = torch.from_numpy(texts - texts[texts.any(1)].mean(0))
    rows = []
    for item in range(ITEMS):
        others = [
            other
            for other in range(1, ITEMS)
            if other != item and trained[other] and texts[other].any()
        ]
        near = (
            sorted(
                others,
                key=lambda other: (
                    -float(torch.cosine_similarity(centred[item], centred[other], dim=0))
                ),
            )[:3]
            if texts[item].any()
            else []
        )
        mean = table[near].mean(0) if near else None
        if trained[item]:
            rows.append(
                table[item]
                if mean is None
                else (1 - share[bucket[item]]) * table[item] + share[bucket[item]] * mean
            )
        elif item and not training:
            rows.append(mean if mean is not None else torch.zeros(4))
        else:
            rows.append(table[item])
    return torch.stack(rows)


@pytest.mark.parametrize("training", [True, False])
def test_rows_are_the_formula(training):
    texts, trained, bucket, encoder = build()
    encoder.train(training)
    expected = by_hand(texts, trained, bucket, encoder, training)
    torch.testing.assert_close(encoder.rows(None), expected)
    some = torch.tensor([9, 2, 4, 2, 0])
    torch.testing.assert_close(encoder.rows(some), expected[some])
    assert encoder.rows(None)[0].abs().sum() == 0


def test_a_share_begins_small_for_frequent_items_and_learns():
    _, _, bucket, _ = build()
    encoder = SmoothedIdEncoder(
        ITEMS,
        4,
        1.0,
        0.0,
        "zero",
        torch.ones(ITEMS, dtype=torch.bool),
        text=FrozenText(build()[0]),
        neighbours=2,
        bucket=bucket,
    )
    first = torch.sigmoid(encoder.share)
    assert (first.diff() > 0).all() and first[0] < 0.02 and first[-1] == 0.5
    encoder.rows(None).square().sum().backward()
    assert (encoder.share.grad[1:] != 0).all()


def test_new_items_are_the_mean_of_their_neighbours_and_move_none():
    texts, _trained, _, encoder = build()
    encoder.eval()
    before = encoder.rows(None)
    # one item of two tokens, one without text
    words = (texts[[7, 7]], np.zeros(2, int), np.array([0, 2, 2]))
    assert encoder.extend(2, words).tolist() == [True, False]
    after = encoder.rows(None)
    assert torch.equal(after[:ITEMS], before)
    torch.testing.assert_close(
        after[ITEMS], before[7]
    )  # 7 has that text and was never trained either
    assert after[ITEMS + 1].abs().sum() == 0


def test_an_absent_id_is_absent_with_what_it_borrows():
    _, _, _, encoder = build(dropout=0.5)
    torch.manual_seed(1)
    rows = encoder.train().rows(None)[1:]
    assert 0 < (rows.abs().sum(1) == 0).sum() < ITEMS - 1
