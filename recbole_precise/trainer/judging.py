"""Exact ranks of a split's rows under any model, in the order of the dataset and through the loader's transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_precise.data.parts import training_item_counts
from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.list_metrics import is_list_metric, long_tail
from recbole_precise.evaluation.ranking import Ranks, rank_rows
from recbole_precise.evaluation.top_lists import ShownItems
from recbole_precise.trainer.processes import Processes

#: What a log says where metrics of lists are computed by RecBole.
RECBOLES_LIST_METRICS = (
    "ItemCoverage, GiniIndex, ShannonEntropy, AveragePopularity and TailPercentage are RecBole's here: the padding item "
    "counts as an item, each user's first event does not count as training, and the entropy is divided by the number "
    "of items shown. They are right under evaluator: exact, which ranks the whole catalogue for sequential models."
)


def shown_items(config: Any, dataset: Any, training_part: Any) -> ShownItems | None:
    """Counters of what is recommended for the rows of an evaluated part, empty yet; None where no metric needs them.

    Args:
        dataset: the evaluated part, ours or RecBole's.
        training_part: of the same data; needed for RecBole's, None where it is not known.

    Raises:
        ConfigError: the training events cannot be counted.
    """
    if not any(map(is_list_metric, config["metrics"])):
        return None
    part = dataset if hasattr(dataset, "train_item_counts") else training_part
    if part is None:
        raise ConfigError(
            f"metrics of popularity need the training data, which {type(dataset).__name__} does not know when it is "
            "evaluated: call fit or know_training(train_data) first."
        )
    counts = training_item_counts(part)
    return ShownItems(config["topk"], counts, long_tail(counts, config["tail_ratio"]))


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
    shown: ShownItems | None = None,
) -> Ranks:
    """Rank the target of every row of a full-sort loader of a sequential dataset, ours or RecBole's.

    Args:
        loader: RecBole's; its dataset, fields and transform are used, its batches are not.
        mask_history: leave out all earlier items of the row's user, which our dataset alone can tell.
        score: interaction -> `[rows, items]`, for models without scores for all items.
        progress: called with the number of rows done after each batch.
        processes: batches are dealt out among them, and each gets all ranks; the same bits as from one process.
        shown: counts the items at the top of the same rows, in all processes together.
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
        share=(processes.rank, processes.count), shown=shown,
    )  # fmt: skip
    if shown is not None:
        shown.replace([processes.total(counts) for counts in shown.arrays()])
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
