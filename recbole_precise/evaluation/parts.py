"""Training counts and test cases of a part of the data, whichever data set the model reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_precise.evaluation.test_cases import TestCases


def training_item_counts(part: Any) -> np.ndarray:
    """Count each item's training events, each user's first event included.

    int64 `[items]`; row 0 is the padding item.

    Args:
        part: a part of this package's dataset, or the training part of RecBole's sequential
            dataset. RecBole has no row for a user's first event; it is read from the history of the
            user's earliest row.
    """
    if hasattr(part, "train_item_counts"):
        return part.train_item_counts().numpy()
    rows = part.inter_feat
    n_items = int(part.item_num)
    counts = np.bincount(np.asarray(rows[part.iid_field]), minlength=n_items)
    lists = (
        getattr(part, "item_id_list_field", None) or f"{part.iid_field}{part.config['LIST_SUFFIX']}"
    )
    if lists not in rows:
        return counts
    length = np.asarray(rows[part.item_list_length_field])
    shortest = np.lexsort((length, np.asarray(rows[part.uid_field])))
    _, first = np.unique(np.asarray(rows[part.uid_field])[shortest], return_index=True)
    first = shortest[first]
    history = np.asarray(rows[lists])[first]
    before = history[np.arange(history.shape[1]) < length[first][:, None]]
    return counts + np.bincount(before, minlength=n_items)


def test_cases(part: Any) -> TestCases:
    """Return the users, targets and history lengths of an evaluated part.

    Ours or RecBole's, sequential or not.

    RecBole cuts histories at MAX_ITEM_LIST_LENGTH: where a row of its data sets has a history of
    that length, the lengths are not known. A general recommender's rows have no history.
    """
    rows = part.inter_feat
    users, items = (_tokens(part, field, rows) for field in (part.uid_field, part.iid_field))
    if hasattr(part, "history_lengths"):
        return TestCases(users, items, part.history_lengths().numpy())
    field = getattr(part, "item_list_length_field", None)
    if field is None or field not in rows:
        return TestCases(users, items)
    length = np.asarray(rows[field]).astype(np.int64)
    cut = len(length) > 0 and length.max() >= part.config["MAX_ITEM_LIST_LENGTH"]
    return TestCases(users, items, None if cut else length)


def _tokens(part: Any, field: str, rows: Any) -> np.ndarray:
    return np.asarray(part.field2id_token[field], dtype=str)[np.asarray(rows[field])]
