"""Rank a split's rows exactly under any model.

The order is that of the dataset, and the loader's transform is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.blocks import BLOCK_PAIRS, block_rows, blocks
from recbole_precise.evaluation.draws import seed_block
from recbole_precise.evaluation.list_metrics import exact_metrics, is_list_metric, long_tail
from recbole_precise.evaluation.parts import training_item_counts
from recbole_precise.evaluation.ranking import Ranks, rank_rows
from recbole_precise.evaluation.top_lists import ShownItems
from recbole_precise.training.processes import ALONE, Processes

#: Pairs that RecBole's evaluator has rated at once: its own default of eval_batch_size.
RECBOLES_PAIRS = 4096
#: What a log says where metrics of lists are computed by RecBole.
RECBOLES_LIST_METRICS = (
    "ItemCoverage, GiniIndex, ShannonEntropy, AveragePopularity and TailPercentage are RecBole's "
    "here: the padding item "
    "counts as an item, each user's first event does not count as training, and the entropy is "
    "divided by the number "
    "of items shown. They are right under evaluator: exact, which ranks the whole catalogue for "
    "sequential models."
)


@dataclass(frozen=True)
class RankingSettings:
    """What the exact evaluation of a split is set to.

    Attributes:
        metrics: names of metrics that follow from ranks and top lists.
        topk: their cutoffs.
        seed: what the loader's transform and the model draw follows from it.
        mask_history: leave all earlier items of a row's user out of its ranking.
        budget_bytes: of work space beside a block of scores; it changes no rank.
        tail_ratio: which items are the long tail; see `long_tail`.
    """

    metrics: Sequence[str]
    topk: Sequence[int]
    seed: int = 0
    mask_history: bool = False
    budget_bytes: int = 64 * 2**20
    tail_ratio: float | None = None


def shown_items(settings: RankingSettings, dataset: Any, training_part: Any) -> ShownItems | None:
    """Counters of what is recommended for the rows of an evaluated part, empty yet.

    Args:
        settings: of the evaluation; None is returned where none of its metrics needs counters.
        dataset: the evaluated part, ours or RecBole's.
        training_part: of the same data; needed for RecBole's, None where it is not known.

    Raises:
        ConfigError: the training events cannot be counted.
    """
    if not any(map(is_list_metric, settings.metrics)):
        return None
    part = dataset if hasattr(dataset, "train_item_counts") else training_part
    if part is None:
        raise ConfigError(
            f"metrics of popularity need the training data, which {type(dataset).__name__} does "
            "not know when it is "
            "evaluated: call fit or know_training(train_data) first."
        )
    counts = training_item_counts(part)
    return ShownItems(list(settings.topk), counts, long_tail(counts, settings.tail_ratio))


def evaluate_exactly(
    model: Any,
    loader: Any,
    device: torch.device,
    settings: RankingSettings,
    *,
    training_part: Any = None,
    score: Callable[[Any], Tensor] | None = None,
    rows: int | None = None,
    progress: Callable[[int], object] | None = None,
    processes: Processes = ALONE,
) -> tuple[Ranks, dict[str, float]]:
    """Ranks of all rows of a split, and its metrics, the same in all processes.

    Args:
        training_part: as for `shown_items`.
        score: as for `rank_split`, and so are the others.
    """
    shown = shown_items(settings, loader._dataset, training_part)
    ranks = rank_split(
        model,
        loader,
        device,
        mask_history=settings.mask_history,
        budget_bytes=settings.budget_bytes,
        seed=settings.seed,
        score=score,
        progress=progress,
        processes=processes,
        rows=rows,
        shown=shown,
    )
    exact = exact_metrics(ranks.rank, shown, settings.metrics, settings.topk)
    return ranks, processes.agree(exact)


def rank_split(
    model: Any,
    loader: Any,
    device: torch.device,
    *,
    mask_history: bool,
    budget_bytes: int,
    seed: int = 0,
    score: Callable[[Any], Tensor] | None = None,
    progress: Callable[[int], object] | None = None,
    processes: Processes = ALONE,
    rows: int | None = None,
    shown: ShownItems | None = None,
) -> Ranks:
    """Rank the target of every row of a full-sort loader of a sequential dataset.

    The dataset is ours or RecBole's.

    Args:
        loader: RecBole's; its dataset, fields and transform are used, its batches are not.
        mask_history: leave out all earlier items of the row's user, which our dataset alone can
            tell.
        budget_bytes: of work space beside a block of scores; it changes no rank.
        seed: what the loader's transform and the model draw follows from it and from the row's
            place in the split alone.
        score: interaction -> `[rows, items]`, for models without scores for all items.
        progress: called with the number of rows done after each block.
        processes: blocks are dealt out among them, and each gets all ranks; the same bits as from
            one process.
        rows: of a block, as in `rank_rows`.
        shown: counts the items at the top of the same rows, in all processes together.
    """
    dataset = loader._dataset
    item_field = dataset.iid_field
    if mask_history and not hasattr(dataset, "history"):
        raise ConfigError(
            f"mask_history needs recbole_precise's dataset, but got {type(dataset).__name__}: "
            "create it with recbole_precise.create_dataset(config)."
        )

    def batches(lo: int, hi: int) -> tuple[Any, Tensor, tuple[Tensor, Tensor] | None]:
        rows = np.arange(lo, hi)
        interaction = loader.transform(dataset, dataset[rows])
        targets = interaction[item_field]
        excluded = dataset.history(rows) if mask_history else None
        return interaction.to(device), targets, excluded

    users = np.asarray(dataset.inter_feat[dataset.uid_field])
    ranks = rank_rows(
        model, users, batches, n_items=dataset.item_num, budget_bytes=budget_bytes, score=score,
        progress=progress,
        share=(processes.rank, processes.count), seed=seed, rows=rows, shown=shown,
    )  # fmt: skip
    if shown is not None:
        shown.replace([processes.total(counts) for counts in shown.arrays()])
    return Ranks(users, processes.total(ranks.target), processes.total(ranks.rank))


def score_by_pairs(model: Any, item_features: Any, n_items: int) -> Callable[[Any], Tensor]:
    """Scores of all items through `predict`, for models that rate one item at a time (DIN, DIEN).

    Pairs of user and item are rated `BLOCK_PAIRS` at a time, the last ones filled up by repetition.

    Args:
        item_features: an Interaction with a row for every item, on the model's device.
    """
    rows_at_once, width = pair_block(n_items)
    device = next(iter(item_features.interaction.values())).device

    def score(interaction: Any) -> Tensor:
        n_rows = len(interaction)
        scores = []
        for low in range(0, n_rows, rows_at_once):
            row = (low + torch.arange(rows_at_once)) % n_rows
            some = interaction[row].repeat_interleave(width)
            parts = []
            for start in range(0, n_items, width):
                item = (start + torch.arange(width)) % n_items
                pairs = some.to(device)  # a new Interaction over the same columns
                pairs.update(item_features[item].repeat(rows_at_once))
                parts.append(model.predict(pairs).view(rows_at_once, width))
            scores.append(torch.cat(parts, dim=1)[:, :n_items])
        return torch.cat(scores)[:n_rows]

    return score


def rates_pairs(model: Any, base: Any) -> bool:
    """Return whether a model rates one item at a time.

    Then it has no scores for all items but those of `base`.
    """
    own = type(model).full_sort_predict
    return own is base.full_sort_predict and not hasattr(model, "user_vectors")


def pair_block(n_items: int) -> tuple[int, int]:
    """(rows, items) of the pairs that `score_by_pairs` has rated at once.

    The rows are a block's too.
    """
    width = min(n_items, BLOCK_PAIRS)
    return min(block_rows(n_items), 1 << ((BLOCK_PAIRS // width).bit_length() - 1)), width


def rows_of_recboles_batch(loader: Any, n_items: int, full: bool, by_pairs: bool) -> int:
    """Rows (or users) of a batch under RecBole's evaluator; they follow from the data alone.

    Args:
        loader: RecBole's loader of an evaluated split.
        full: the batch is ranked over the whole catalogue.
        by_pairs: the model rates one item at a time.
    """
    if full:
        rows = block_rows(n_items)
        # RecBole lays out all pairs of a batch before it rates them in parts.
        return min(rows, max(1, 16 * RECBOLES_PAIRS // n_items)) if by_pairs else rows
    if not hasattr(loader, "uid2items_num"):
        return RECBOLES_PAIRS
    most = int(loader.uid2items_num.max()) * loader.times
    return max(1, min(block_rows(n_items), RECBOLES_PAIRS // most))


def recboles_batches(
    loader: Any, rows: int, seed: int, progress: Callable[[int], object] | None = None
) -> Iterator[Any]:
    """Yield the batches of RecBole's loader of an evaluated split.

    Args:
        rows: of a batch (or users).
        seed: what a batch draws follows from it and from the number of the batch.
        progress: called with the number of rows done after each batch.
    """
    for number, low, high in blocks(loader.sample_size, rows):
        seed_block(seed, number)
        yield loader.collate_fn(list(range(low, high)))
        if progress is not None:
            progress(high - low)
