"""Exact ranks of a split's rows under any model, in the order of the dataset and through the loader's transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.ranking import Ranks, rank_rows
from recbole_precise.trainer.processes import Processes


def rank_split(
    model: Any,
    loader: Any,
    device: torch.device,
    *,
    mask_history: bool,
    batch_rows: int,
    budget_bytes: int,
    score: Callable[[Any], Tensor] | None = None,
    progress: Callable[[int], object] | None = None,
    processes: Processes = Processes(),
) -> Ranks:
    """Rank the target of every row of a full-sort loader of a sequential dataset, ours or RecBole's.

    Args:
        loader: RecBole's; its dataset, fields and transform are used, its batches are not.
        mask_history: leave out all earlier items of the row's user, which our dataset alone can tell.
        score: interaction -> `[rows, items]`, for models without scores for all items.
        progress: called with the number of rows done after each batch.
        processes: batches are dealt out among them, and each gets all ranks; the same bits as from one process.
    """
    dataset = loader._dataset
    item_field = dataset.iid_field
    if mask_history and not hasattr(dataset, "history"):
        raise ConfigError(f"mask_history needs recbole_precise's dataset, but got {type(dataset).__name__}: create it with recbole_precise.create_dataset(config).")

    def batches(lo: int, hi: int) -> tuple[Any, Tensor, tuple[Tensor, Tensor] | None]:
        rows = np.arange(lo, hi)
        interaction = loader.transform(dataset, dataset[rows])
        targets = interaction[item_field]
        excluded = dataset.history(rows) if mask_history else None
        return interaction.to(device), targets, excluded

    users = np.asarray(dataset.inter_feat[dataset.uid_field])
    ranks = rank_rows(
        model, users, batches, n_items=dataset.item_num, batch_rows=batch_rows, budget_bytes=budget_bytes, score=score, progress=progress,
        share=(processes.rank, processes.count),
    )  # fmt: skip
    return Ranks(users, processes.total(ranks.target), processes.total(ranks.rank))


def score_by_pairs(model: Any, item_features: Any, n_items: int, batch_rows: int) -> Callable[[Any], Tensor]:
    """Scores of all items through `predict`, for models that rate one item at a time (DIN, DIEN).

    Args:
        item_features: an Interaction with a row for every item, on the model's device.
        batch_rows: pairs of user and item rated at once.
    """

    def score(interaction: Any) -> Tensor:
        rows_at_once = max(1, batch_rows // n_items)
        parts = []
        for lo in range(0, len(interaction), rows_at_once):
            some = interaction[slice(lo, lo + rows_at_once)]
            pairs = some.repeat_interleave(n_items)
            pairs.update(item_features.repeat(len(some)))
            parts.append(model.predict(pairs).view(len(some), n_items))
        return torch.cat(parts)

    return score
