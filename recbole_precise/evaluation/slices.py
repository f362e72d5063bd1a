"""Where a model is good: metrics over parts of the catalogue, by how often an item stands in training.

Every slice ranks the full catalogue; only the test rows are chosen, by their target.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.evaluation.metrics import metrics_from_ranks
from recbole_precise.evaluation.ranking import Ranks

#: Lowest and highest count of training events of each slice of kind `frequency` (PAD, experiments).
FREQUENCY = {"warm": (51, math.inf), "median": (7, 50), "cold": (1, 6), "unseen": (0, 0)}
#: Share of the items seen in training that are the head (PRECISE, Table IV).
HEAD_SHARE = 0.2
KINDS = ("frequency", "popularity")


def item_slices(train_counts: np.ndarray, kinds: Iterable[str] = KINDS) -> dict[str, np.ndarray]:
    """The items of every slice.

    `frequency`: warm (more than 50 training events), median (7 to 50), cold (1 to 6), unseen (none).
    `popularity`: top20, the 20% most frequent of the items seen in training, equal counts by id; rest80, the other
    items seen in training.

    Args:
        train_counts: int `[items]`, training events of each item; row 0, the padding item, is in no slice.

    Returns:
        name -> bool `[items]`.
    """
    counts = np.asarray(train_counts).copy()
    is_item = np.arange(len(counts)) > 0
    slices: dict[str, np.ndarray] = {}
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind == "frequency":
            for name, (low, high) in FREQUENCY.items():
                slices[name] = is_item & (counts >= low) & (counts <= high)
        elif kind == "popularity":
            seen = is_item & (counts > 0)
            by_count = np.lexsort((np.arange(len(counts)), -counts))
            head = by_count[seen[by_count]][: math.ceil(HEAD_SHARE * seen.sum())]
            slices["top20"] = np.zeros(len(counts), dtype=bool)
            slices["top20"][head] = True
            slices["rest80"] = seen & ~slices["top20"]
        else:
            raise ConfigError(f"slices: there is no kind of slices '{kind}'; there are {', '.join(KINDS)}." + did_you_mean(str(kind), KINDS))
    return slices


def slice_report(
    ranks: Ranks, slices: Mapping[str, np.ndarray], names: Iterable[str], topk: int | Iterable[int], split: str = "test"
) -> dict[str, dict]:
    """Metrics of the rows whose target lies in each slice: `{slice: {"n": rows, split: {"ndcg@10": ...}}}`.

    A slice without rows has no metrics: the inner mapping is empty.
    """
    names, topk = list(names), [topk] if isinstance(topk, int) else list(topk)
    report = {}
    for name, members in slices.items():
        rank = ranks.rank[members[ranks.target]]
        report[name] = {"n": len(rank), split: metrics_from_ranks(rank, names, topk) if len(rank) else {}}
    return report
