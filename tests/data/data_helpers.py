"""Synthetic data sets and comparison with RecBole's own SequentialDataset."""

import random

import numpy as np
import torch

SPLITS = {
    "LS": {"LS": "valid_and_test"},
    "LS-test": {"LS": "test_only"},
    "RS": {"RS": [0.8, 0.1, 0.1]},
    "RS-none": {"RS": [0.7, 0.2, 0.1]},
    "TS": {"TS": [0.7, 0.15, 0.15]},
}
INTER = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")


def eval_args(split):
    return {
        "split": SPLITS[split],
        "order": "TO",
        "group_by": "none" if split == "RS-none" else "user",
        "mode": "full",
    }


def synthetic(name, seed=0):
    """Events (user, item, rating, time) in the order of a file.

    `mixed`: users with 1, 2, 3 and many events; `ties`: repeats and few different times;
        `milliseconds`: times so large
    that float32 throws many of them together.
    """
    rng = random.Random(seed)
    counts = [1, 1, 2, 2, 3, 3, 4, 5, 7, 9, 12, 17, 25, 60]
    events = []
    for user, count in enumerate(counts):
        for _ in range(count):
            if name == "mixed":
                item, time = rng.randrange(40), rng.randrange(10**6)
            elif name == "ties":
                item, time = rng.randrange(5), rng.randrange(8)
            else:
                item, time = rng.randrange(30), 1_500_000_000_000 + rng.randrange(10**6)
            events.append((f"u{user}", f"i{item}", rng.randrange(1, 6), time))
    rng.shuffle(events)
    return events


def all_rows(part):
    return part[list(range(len(part)))].interaction


def assert_same_rows(ours, stock):
    """Every field of every row equal: names in order, types, shapes, values."""
    assert len(ours) == len(stock)
    mine, theirs = all_rows(ours), all_rows(stock)
    assert list(mine) == list(theirs)
    for field, expected in theirs.items():
        assert mine[field].dtype == expected.dtype, field
        assert torch.equal(mine[field], expected), field


def assert_same_ids(ours, stock):
    """Every token has the number that it has in RecBole's dataset."""
    assert set(ours.field2id_token) == set(stock.field2id_token)
    for field, tokens in stock.field2id_token.items():
        assert ours.field2id_token[field].tolist() == np.asarray(tokens).tolist(), field
        assert ours.field2token_id[field] == stock.field2token_id[field]
    for feat in ("user_feat", "item_feat"):
        mine, theirs = getattr(ours, feat), getattr(stock, feat)
        assert (mine is None) == (theirs is None)
