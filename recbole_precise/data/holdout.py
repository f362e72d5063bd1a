"""Whole items or users held out of training, as if they came afterwards.

Which ones, and what is left to train on.

A held-out item is in no training row, neither as input nor as target, and so in no count,
transition or frequency; a held-out user has no training row. Validation and test rows stay as they
are; an item that is held out keeps its place in the catalogue and its text.
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
    from recbole_precise.plugin.dataset import SequenceDataset

WAYS = ("random", "first_seen")


def choose_items(
    items: np.ndarray,
    times: np.ndarray | None,
    tokens: Sequence[str],
    share: float,
    by: str = "random",
    seed: int = 2020,
) -> np.ndarray:
    """Choose the items to hold out: a share of those that have events, at least one.

    Args:
        items: int64 `[events]`.
        times: `[events]`, needed for `first_seen`.
        tokens: name of each item id, 0 the padding.
        share: above 0 and below 1. by: `random`, drawn from `seed` alone; `first_seen`, those whose
            first event is the latest.

    Returns: bool `[len(tokens)]`. The choice follows the items' names, so that it does not depend
        on how they are numbered.
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
        assert times is not None, "what was seen first is known by times alone"
        first = np.full(len(tokens), np.inf)
        np.minimum.at(first, items, times)
        chosen = there[np.argsort(-first[there], kind="stable")][:count]
    held = np.zeros(len(tokens), dtype=bool)
    held[chosen] = True
    return held


def choose_users(
    users: np.ndarray, tokens: Sequence[str], share: float, seed: int = 2020
) -> np.ndarray:
    """Choose the users to hold out: a share of `users` (int64 ids).

    Drawn from `seed` by their names.

    Bool `[len(tokens)]`.
    """
    ordered = users[np.argsort(np.asarray(tokens, dtype=str)[users], kind="stable")]
    held = np.zeros(len(tokens), dtype=bool)
    held[np.random.default_rng([seed, 1]).permutation(ordered)[: round(share * len(ordered))]] = (
        True
    )
    return held


def training_store(
    store: SequenceStore, last: Tensor, held: Tensor, item_field: str, users: Tensor | None = None
) -> tuple[SequenceStore, Tensor]:
    """Return the training events of kept users on kept items, as a store of their own.

    Args:
        last: int64 `[users]`, each user's last training target, its first event when there is none.
        held: bool `[items]`. users: bool `[user ids]`, those held out; None: none.

    Returns: the store, and int64 `[events of the old one]`, where each event is in it, -1 for
        those that are left out.
    """
    user = store.owner.long()
    event = torch.arange(len(store))
    first = store.offsets[:-1]
    keep = (event <= last[user]) & (last > first)[user] & ~held[store.fields[item_field]]
    if users is not None:
        keep &= ~users[store.user]
    place = torch.where(keep, torch.cumsum(keep, 0) - 1, -1)
    fields = {name: values[keep] for name, values in store.fields.items()}
    return SequenceStore(
        fields, store.user[keep], None if store.times is None else store.times[keep.numpy()]
    ), place


def hold_out(
    dataset: SequenceDataset, views: Mapping[str, View]
) -> tuple[Tensor | None, dict[str, View]]:
    """Hold out what `holdout_items` and `holdout_users` ask for.

    Gives the items (bool `[items]`, None for no items), and the views of a training part without
    them.
    """
    config: Any = dataset.config
    store = dataset.store
    tokens = dataset.field2id_token[dataset.iid_field]
    names = dataset.field2id_token[dataset.uid_field]
    seed = 2020 if config["holdout_seed"] is None else config["holdout_seed"]
    items = torch.zeros(len(tokens), dtype=torch.bool)
    users = None
    if config["holdout_items"]:
        found = choose_items(
            store.fields[dataset.iid_field].numpy(),
            store.times,
            tokens,
            config["holdout_items"],
            config["holdout_by"] or "random",
            seed,
        )
        items = torch.from_numpy(found)
    if config["holdout_users"]:
        users = torch.from_numpy(
            choose_users(store.user_ids.numpy(), names, config["holdout_users"], seed)
        )
    kept = {
        id(view): _without(view, items, users, dataset.iid_field) for view in views.values()
    }  # without scenes both views are one, and stay one
    return items if config["holdout_items"] else None, {
        name: kept[id(view)] for name, view in views.items()
    }


def _without(view: View, items: Tensor, users: Tensor | None, item_field: str) -> View:
    """Return the training side of a view without some items and users.

    Rows keep their order.
    """
    store, place = training_store(view.store, view.train_last, items, item_field, users)
    ends = view.ends[0]
    if ends is not None:
        ends = place[ends]
        ends = ends[ends >= 0]
        ends = ends[
            store.first_of(ends) < ends
        ]  # an event that has become a user's first is no target any more
    return View(store, store, None, store.offsets[1:] - 1, (ends, *view.ends[1:]))
