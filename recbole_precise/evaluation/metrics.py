"""Top-k metrics of rows with one target each, from the targets' ranks.

The numbers of RecBole's evaluator, unrounded.

With one relevant item at rank r (docs/methods.md 4): hit@k = recall@k = [r <= k], ndcg@k = [r <= k]
/ log2(r + 1), mrr@k = map@k = [r <= k] / r, precision@k = [r <= k] / k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from recbole_precise.errors import ConfigError, did_you_mean

_GAIN: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "recall": lambda rank, k: np.ones_like(rank),
    "hit": lambda rank, k: np.ones_like(rank),
    "ndcg": lambda rank, k: 1.0 / np.log2(rank + 1.0),
    "mrr": lambda rank, k: 1.0 / rank,
    "map": lambda rank, k: 1.0 / rank,
    "precision": lambda rank, k: np.full_like(rank, 1.0 / k),
}

#: Metrics that ranks alone determine, in RecBole's lower-case spelling.
RANK_METRICS = tuple(_GAIN)


def is_rank_metric(name: str) -> bool:
    """Whether `name` (any case, without `@k`) follows from the ranks of the targets."""
    return name.lower() in _GAIN


def rank_metric_names(names: Iterable[str]) -> list[str]:
    """Select those of `names` that follow from ranks.

    These are the ones that slices, which are parts of the rows, have.
    """
    return [name for name in names if is_rank_metric(name)]


def per_case(rank: np.ndarray, metric: str) -> np.ndarray:
    """Compute the metric of every row.

    Args:
        rank: int64 `[rows]`, from 1.
        metric: such as `ndcg@10`, in any case.

    Returns:
        float64 `[rows]`; its mean is the metric that RecBole prints.
    """
    name, _, cut = metric.lower().partition("@")
    if not cut.isdecimal() or int(cut) < 1:
        raise ConfigError(
            f"metric '{metric}' needs a cut-off from 1 on after '@', as in '{name or 'ndcg'}@10'."
        )
    return _per_case(rank, name, int(cut))


def metrics_from_ranks(
    rank: np.ndarray, names: Iterable[str], topk: int | Iterable[int]
) -> dict[str, float]:
    """Average every metric at every cut-off, keyed and ordered as RecBole prints them.

    Such as `recall@10`.

    Args:
        rank: int64 `[rows]`, from 1.
        names: metric names in any case; topk: cut-offs.
    """
    if len(rank) == 0:
        raise ValueError("there are no rows to evaluate")
    cuts = [topk] if isinstance(topk, int) else list(topk)
    return {
        f"{name.lower()}@{k}": float(_per_case(rank, name.lower(), k).mean())
        for name in names
        for k in cuts
    }


def _per_case(rank: np.ndarray, name: str, k: int) -> np.ndarray:
    if name not in _GAIN:
        raise ConfigError(
            f"metric '{name}' cannot be computed from the ranks of the targets; those that can: "
            f"{', '.join(RANK_METRICS)}." + did_you_mean(name, RANK_METRICS)
        )
    rank = np.asarray(rank, dtype=np.float64)
    if rank.size and not rank.min() >= 1:
        raise ValueError("ranks start at 1")
    return np.where(rank <= k, _GAIN[name](rank, k), 0.0)
