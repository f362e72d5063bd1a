"""Whole items held out of training, as if they came into the catalogue afterwards: which ones, and what is left to train on.

A held-out item is in no training row, neither as input nor as target, and so in no count, transition or frequency. Validation and
test rows stay as they are; an item that is held out keeps its place in the catalogue and its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from recbole_precise.data.sequences import SequenceStore
from recbole_precise.errors import DataError

if TYPE_CHECKING:
    from recbole_precise.data.dataset import SequenceDataset

WAYS = ("random", "first_seen")


def choose_items(items: np.ndarray, times: np.ndarray, tokens: Sequence[str], share: float, by: str = "random", seed: int = 2020) -> np.ndarray:
    """The items to hold out: a share of those that have events, at least one.

    Args:
        items: int64 `[events]`. times: `[events]`. tokens: name of each item id, 0 the padding.
        share: above 0 and below 1. by: `random`, drawn from `seed` alone; `first_seen`, those whose first event is the latest.

    Returns: bool `[len(tokens)]`. The choice follows the items' names, so that it does not depend on how they are numbered.
    """
    if by not in WAYS:
        raise ValueError(f"items are held out by one of {', '.join(WAYS)}, not {by!r}")
    if not 0 < share < 1:
        raise ValueError(f"the share of items must lie between 0 and 1, not {share}")
    there = np.unique(items[items > 0])
    names = np.asarray(tokens, dtype=str)[there]
    there = there[np.argsort(names, kind="stable")]
    count = max(1, round(share * len(there)))
    if by == "random":
        chosen = np.random.default_rng(seed).permutation(there)[:count]
    else:
        first = np.full(len(tokens), np.inf)
        np.minimum.at(first, items, times)
        chosen = there[np.argsort(-first[there], kind="stable")][:count]
    held = np.zeros(len(tokens), dtype=bool)
    held[chosen] = True
    return held


def training_store(store: SequenceStore, last: Tensor, held: Tensor, item_field: str) -> tuple[SequenceStore, Tensor]:
    """The training events on kept items, as a store of their own.

    Args:
        last: int64 `[users]`, each user's last training target, its first event when there is none.
        held: bool `[items]`.

    Returns: the store, and int64 `[events of the old one]`, where each event stands in it, -1 for those that are left out.
    """
    user, event = store.owner.long(), torch.arange(len(store))
    first = store.offsets[:-1]
    keep = (event <= last[user]) & (last > first)[user] & ~held[store.fields[item_field]]
    place = torch.where(keep, torch.cumsum(keep, 0) - 1, -1)
    fields = {name: values[keep] for name, values in store.fields.items()}
    return SequenceStore(fields, store.user[keep], None if store.times is None else store.times[keep.numpy()]), place


def hold_out(dataset: SequenceDataset, built: list[SequenceDataset]) -> list[SequenceDataset]:
    """The parts of a split, the training part without the items that `holdout_items` asks for; every part knows them as `held_out`.

    Raises DataError when nothing is left to train on.
    """
    config: Any = dataset.config
    share = config["holdout_items"]
    if not share:
        return built
    train, field = built[0], dataset.iid_field
    rows_of, ends = type(train.inter_feat), None if train._windows else train.inter_feat.interaction.end
    items, tokens = dataset.store.fields[field], dataset.field2id_token[field]
    seed = 2020 if config["holdout_seed"] is None else config["holdout_seed"]
    held = torch.from_numpy(choose_items(items.numpy(), dataset.store.times, tokens, share, config["holdout_by"] or "random", seed))
    store, place = training_store(dataset.store, dataset._train_last, held, field)
    users = len(store.user_ids)
    if not users or len(store) == users:
        raise DataError(f"{dataset.dataset_path}: holdout_items: {share} leaves nothing to train on; no user has two training events on the other items.")
    train.store, train._train_last = store, store.offsets[1:] - 1
    if ends is None:
        train.inter_feat = rows_of(train._window_columns())
    else:  # rows keep RecBole's order; an event that has become a user's first is no target any more
        ends = place[ends]
        ends = ends[ends >= 0]
        train.inter_feat = rows_of(train._columns(ends[store.first_of(ends) < ends]))
    for part in (dataset, *built):
        part.held_out = held
        part._trained_on = None if part is train else train
    return built
