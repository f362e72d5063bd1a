"""Item frequencies in training, and buckets of items that hold equal shares of it.

PAD weighs its experts by them.

All counts here come from training events alone (`SequenceDataset.train_item_counts`); bucket 1
holds the most frequent items, the last bucket those that were rarely or never trained.
"""

from __future__ import annotations

import torch
from torch import Tensor


def item_counts(items: Tensor, n_items: int) -> Tensor:
    """Count each id among `items` (any shape): int64 `[n_items]`.

    0 (padding) is not counted.
    """
    counts = torch.bincount(items.flatten(), minlength=n_items)
    counts[0] = 0
    return counts


def by_frequency(counts: Tensor) -> Tensor:
    """Sort item ids from the most to the least frequent: int64 `[n_items - 1]`.

    Ties by id, without the padding.
    """
    return torch.sort(counts[1:], descending=True, stable=True).indices + 1


def bucket_cuts(counts: Tensor, buckets: int = 10) -> list[int]:
    """Return where buckets begin and end in `by_frequency`: `[buckets + 1]`.

    Bucket b is `[cuts[b - 1], cuts[b])`.

    Items are taken by falling frequency; a bucket is closed as soon as it holds at least `1 /
    buckets` of all training events, and the next begins to count from 0. The last bucket takes what
    is left. (The authors' list for Prime Pantry is this one, with 8,348 for the end, since they
    count the padding.) Buckets that find no items left are empty.

    Raises ValueError when `buckets` is less than 1.
    """
    if buckets < 1:
        raise ValueError(f"there must be at least one bucket, not {buckets}")
    ordered = counts[by_frequency(counts)]
    total = int(ordered.sum())
    cumulative = torch.cumsum(ordered, 0)
    cuts = [0]
    for _ in range(buckets - 1):
        held = int(cumulative[cuts[-1] - 1]) if cuts[-1] else 0
        # The first place where `buckets` times what was added since the last cut reaches the total.
        place = (
            int(torch.searchsorted(cumulative * buckets, torch.tensor(held * buckets + total))) + 1
        )
        cuts.append(min(place, len(ordered)))
    return [*cuts, len(ordered)]


def frequency_buckets(counts: Tensor, buckets: int = 10) -> Tensor:
    """int64 `[n_items]`: each item's bucket, 1 (most frequent) .. `buckets`; 0 for the padding.

    Items never trained are in the last bucket, because they come last.
    """
    cuts = bucket_cuts(counts, buckets)
    bucket = torch.zeros(len(counts), dtype=torch.int64)
    size = torch.tensor(cuts).diff()
    bucket[by_frequency(counts)] = torch.repeat_interleave(torch.arange(1, buckets + 1), size)
    bucket[1:][counts[1:] == 0] = buckets
    return bucket


def training_share(counts: Tensor, buckets: Tensor) -> Tensor:
    """float64 `[max bucket + 1]`: share of all training events that each bucket of items holds."""
    mass = torch.zeros(int(buckets.max()) + 1, dtype=torch.float64).index_add_(
        0, buckets, counts.double()
    )
    return mass / mass.sum().clamp_min(1)
