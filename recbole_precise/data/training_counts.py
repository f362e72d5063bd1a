"""How often every item occurs in training, whichever data set the model reads."""

from __future__ import annotations

from typing import Any

import numpy as np


def training_item_counts(part: Any) -> np.ndarray:
    """Training events of each item, each user's first event included, int64 `[items]`; row 0 is the padding item.

    Args:
        part: a part of this package's dataset, or the training part of RecBole's sequential dataset. RecBole has no row
            for a user's first event; it is read from the history of the user's earliest row.
    """
    if hasattr(part, "train_item_counts"):
        return part.train_item_counts().numpy()
    rows, n_items = part.inter_feat, int(part.item_num)
    counts = np.bincount(np.asarray(rows[part.iid_field]), minlength=n_items)
    lists = getattr(part, "item_id_list_field", None) or f"{part.iid_field}{part.config['LIST_SUFFIX']}"
    if lists not in rows:
        return counts
    length = np.asarray(rows[part.item_list_length_field])
    shortest = np.lexsort((length, np.asarray(rows[part.uid_field])))
    _, first = np.unique(np.asarray(rows[part.uid_field])[shortest], return_index=True)
    first = shortest[first]
    history = np.asarray(rows[lists])[first]
    before = history[np.arange(history.shape[1]) < length[first][:, None]]
    return counts + np.bincount(before, minlength=n_items)
