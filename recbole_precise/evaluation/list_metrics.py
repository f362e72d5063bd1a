"""Metrics beyond accuracy: how top-k items are spread over the catalogue, and how popular.

Names and directions are RecBole's; the numbers are those of the definitions. The catalogue has `n`
items without the padding item, and `c_i` lists have item `i`, also 0:

- itemcoverage@k: the share of the catalogue that is in any list, |{i: c_i > 0}| / n.
- giniindex@k: with c in ascending order, sum over i of (2 i - n - 1) c_i, divided by n times the
  sum of c; 0 when all items are shown equally often, (n - 1) / n when one item alone is.
- shannonentropy@k: with p_i = c_i / sum of c, the sum of -p_i ln p_i.
- averagepopularity@k: the mean over rows of the mean over the list of the items' training events,
  each user's first event included.
- tailpercentage@k: the mean over rows of the share of the list that is in the long tail
  (`long_tail`).

Equal scores are listed in the order of the catalogue (`TopItems`). A row with fewer than k
candidates has a shorter list; one without candidates has none and is left out of the means over
rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from recbole_precise.evaluation.metrics import is_rank_metric, metrics_from_ranks
from recbole_precise.evaluation.top_lists import ShownItems

#: Share of the items that are the long tail where `tail_ratio` is not set, as in RecBole.
TAIL_RATIO = 0.1


def long_tail(train_counts: np.ndarray, ratio: float | None = None) -> np.ndarray:
    """Return the items of the long tail, by RecBole's key `tail_ratio`.

    Up to 1, the ratio is a share: that many of the catalogue's items with the fewest training
    events, at least one, equal counts in the order of the catalogue. Above 1 it is a number of
    events: items with at most so many. Items without any training event are part of the catalogue.

    Args:
        train_counts: int `[items]`, training events of each item; row 0 is the padding item.
        ratio: above 0; `TAIL_RATIO` where it is None.

    Returns:
        bool `[items]`.
    """
    counts = np.asarray(train_counts)
    ratio = TAIL_RATIO if ratio is None else ratio
    if not ratio > 0:
        raise ValueError(f"tail_ratio is a share or a number of events above 0, not {ratio}")
    tail = np.zeros(len(counts), dtype=bool)
    if ratio > 1:
        tail[1:] = counts[1:] <= ratio
        return tail
    # 0.29 of 100 items are 29 of them, though the product of the floats is a little less.
    size = max(math.floor(ratio * (len(counts) - 1) + 1e-9), 1)
    tail[1 + np.argsort(counts[1:], kind="stable")[:size]] = True
    return tail


def _coverage(shown: ShownItems, cut: int) -> float:
    count = shown.count[cut, 1:]
    return float((count > 0).sum() / len(count)) if len(count) else math.nan


def _gini(shown: ShownItems, cut: int) -> float:
    count = np.sort(shown.count[cut, 1:])
    total = int(count.sum())
    if not total:
        return math.nan
    place = np.arange(1, len(count) + 1)
    weighted = int(((2 * place - len(count) - 1) * count).sum())
    return weighted / (len(count) * total)


def _entropy(shown: ShownItems, cut: int) -> float:
    count = shown.count[cut, 1:]
    count = count[count > 0]
    if not len(count):
        return math.nan
    share = count / count.sum()
    return float(-(share * np.log(share)).sum()) + 0.0  # no -0.0 for a single item


def _row_mean(sums: np.ndarray, rows: np.ndarray) -> float:
    """Average (sum over the list / its length) over rows.

    From sums and rows by length `[longest + 1]`.
    """
    length = np.arange(1, len(rows))
    counted = int(rows[1:].sum())
    return float((sums[1:] / length).sum() / counted) if counted else math.nan


def _popularity(shown: ShownItems, cut: int) -> float:
    return _row_mean(shown.popularity[cut], shown.rows[cut])


def _tail(shown: ShownItems, cut: int) -> float:
    return _row_mean(shown.tail[cut], shown.rows[cut])


_METRICS: dict[str, Callable[[ShownItems, int], float]] = {
    "itemcoverage": _coverage,
    "giniindex": _gini,
    "shannonentropy": _entropy,
    "averagepopularity": _popularity,
    "tailpercentage": _tail,
}

#: Metrics of the top-k lists, in RecBole's lower-case spelling.
LIST_METRICS = tuple(_METRICS)
#: Those of which less is better, as RecBole has it.
SMALLER_IS_BETTER = frozenset({"giniindex", "averagepopularity"})
#: Those that are no share between 0 and 1.
NOT_A_SHARE = frozenset({"shannonentropy", "averagepopularity"})


def is_list_metric(name: str) -> bool:
    """Whether `name` (any case, with or without `@k`) is a metric of the top-k lists."""
    return name.lower().partition("@")[0] in _METRICS


def is_share(metric: str) -> bool:
    """Return whether a metric is a share between 0 and 1, to be printed as a percentage.

    `metric`: with or without `@k`.
    """
    return metric.lower().partition("@")[0] not in NOT_A_SHARE


def list_metric(shown: ShownItems, name: str, cut: int) -> float:
    """Compute a metric at a cut-off that `shown` counts; NaN where no row has a list."""
    return _METRICS[name.lower()](shown, shown.cuts.index(cut))


def is_exact_metric(name: str) -> bool:
    """Return whether the exact evaluator computes `name`, from ranks or from top-k lists.

    `name`: in any case, without `@k`.
    """
    return is_rank_metric(name) or is_list_metric(name)


def exact_metrics(
    rank: np.ndarray, shown: ShownItems | None, names: Iterable[str], topk: int | Iterable[int]
) -> dict[str, float]:
    """Every metric at every cut-off, keyed and ordered as RecBole prints them.

    Args:
        rank: int64 `[rows]`, from 1.
        shown: the counts of the rows' lists; None where `names` has no metric of lists.
        names: metric names in any case; topk: cut-offs.
    """
    cuts = [topk] if isinstance(topk, int) else list(topk)
    found: dict[str, float] = {}
    for name in names:
        if is_list_metric(name):
            assert shown is not None, "metrics of lists need the lists to be counted"
            found.update({f"{name.lower()}@{cut}": list_metric(shown, name, cut) for cut in cuts})
        else:
            found.update(metrics_from_ranks(rank, [name], cuts))
    return found
