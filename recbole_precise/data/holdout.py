"""Whole items held out of training, as if they came into the catalogue afterwards: which ones, and what is left to train on.

A held-out item is in no training row, neither as input nor as target, and so in no count, transition or frequency. Validation and
test rows stay as they are; an item that is held out keeps its place in the catalogue and its text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from recbole_precise.data.scenes import View
from recbole_precise.data.sequences import SequenceStore

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


def hold_out(dataset: SequenceDataset, views: Mapping[str, View]) -> tuple[Tensor, dict[str, View]]:
    """The items that `holdout_items` asks for (bool `[items]`), and the views of a training part without them."""
    config: Any = dataset.config
    items, tokens = dataset.store.fields[dataset.iid_field], dataset.field2id_token[dataset.iid_field]
    seed = 2020 if config["holdout_seed"] is None else config["holdout_seed"]
    held = torch.from_numpy(choose_items(items.numpy(), dataset.store.times, tokens, config["holdout_items"], config["holdout_by"] or "random", seed))
    kept = {id(view): _without(view, held, dataset.iid_field) for view in views.values()}  # without scenes both views are one, and stay one
    return held, {name: kept[id(view)] for name, view in views.items()}


def _without(view: View, held: Tensor, item_field: str) -> View:
    """The training side of a view without the items `held`; rows keep their order."""
    store, place = training_store(view.store, view.train_last, held, item_field)
    ends = view.ends[0]
    if ends is not None:
        ends = place[ends]
        ends = ends[ends >= 0]
        ends = ends[store.first_of(ends) < ends]  # an event that has become a user's first is no target any more
    return View(store, store, None, store.offsets[1:] - 1, (ends, *view.ends[1:]))
