"""Where a model is good: metrics over parts of the test rows.

Parts by what is known of each row's target and history.

Every slice ranks the full catalogue; only the rows are chosen. A slice is a bool mask over rows, so
that slices by item (how often it was trained) and by row (how long the history is) are one kind of
thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from recbole_precise.data.frequency import frequency_buckets
from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.evaluation.metrics import metrics_from_ranks
from recbole_precise.evaluation.ranks import Ranks

#: Lowest and highest count of training events of each slice of kind `frequency` (PAD, experiments).
FREQUENCY = {"warm": (51, math.inf), "median": (7, 50), "cold": (1, 6), "unseen": (0, 0)}
#: Share of the items seen in training that are the head (PRECISE, Table IV).
HEAD_SHARE = 0.2
#: Buckets of equal training mass (PAD, its experts' gate).
BUCKETS = 10
#: Fewest and most events before the target of each slice of kind `history`.
HISTORY = {
    "history_1_to_5": (1, 5), "history_6_to_10": (6, 10), "history_11_to_20": (11, 20),
    "history_21_to_50": (21, 50), "history_over_50": (51, math.inf),
}  # fmt: skip


@dataclass(frozen=True)
class Cases:
    """What slices need to know of the evaluated rows.

    Attributes:
        target: int64 `[rows]`, item ids.
        history_length: int64 `[rows]`, events of the user before the target, not cut at any length.
        repeat: bool `[rows]`, whether the target is among these events.
        train_counts: int64 `[items]`, training events of each item; row 0 is the padding item.
        held_out: bool `[items]`, items that were kept out of training on purpose; None where there
            are none.
    """

    target: np.ndarray
    history_length: np.ndarray
    repeat: np.ndarray
    train_counts: np.ndarray
    held_out: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        target: np.ndarray,
        history: tuple[np.ndarray, np.ndarray],
        train_counts: np.ndarray,
        held_out: np.ndarray | None = None,
    ) -> Cases:
        """Collect cases from the targets `[rows]` and the earlier events of all rows.

        These are (row `[events]`, item `[events]`).
        """
        target = np.asarray(target)
        row, item = (np.asarray(part) for part in history)
        repeat = np.zeros(len(target), dtype=bool)
        repeat[row[item == target[row]]] = True
        return cls(
            target,
            np.bincount(row, minlength=len(target)),
            repeat,
            np.asarray(train_counts),
            None if held_out is None else np.asarray(held_out),
        )


def item_slices(
    train_counts: np.ndarray, kinds: Iterable[str] | str = ("frequency", "popularity")
) -> dict[str, np.ndarray]:
    """Select the items of every slice that depends on the target item alone.

    * `frequency`: warm (more than 50 training events), median (7 to 50), cold (1 to 6), unseen
      (none).
    * `popularity`: top20, the 20% most frequent of the items seen in training, equal counts by id;
      rest80, the other items seen in training.
    * `buckets`: frequency_bucket_01 (the most frequent items) to frequency_bucket_10, each with a
      tenth of all training events; the last one holds the unseen items too (`data.frequency`).

    Args:
        train_counts: int `[items]`, training events of each item; row 0, the padding item, is in no
            slice.

    Returns: name -> bool `[items]`. Raises ConfigError for a kind that is none of these.
    """
    counts = np.asarray(train_counts)
    slices = {}
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        slices.update(_known(kind, _OF_ITEMS)(counts))
    return slices


def row_slices(cases: Cases, kinds: Iterable[str] | str | None = None) -> dict[str, np.ndarray]:
    """Select the rows of every slice, of all kinds by default: name -> bool `[rows]`.

    Kinds of `item_slices`, taken at the row's target, and

    * `history`: history_1_to_5, history_6_to_10, history_11_to_20, history_21_to_50,
      history_over_50, by events before the target;
    * `repeat`: repeat_target, the target is among these events; new_target, it is not;
    * `holdout`: holdout, the target was held out of training (`holdout_items`); kept, it was not.
      Absent without items held out.

    Raises ConfigError for an unknown kind.
    """
    slices = {}
    if kinds is None:
        kinds = KINDS
    elif isinstance(kinds, str):
        kinds = [kinds]
    for kind in kinds:
        if kind in _OF_ITEMS:
            slices.update(
                {
                    name: items[cases.target]
                    for name, items in item_slices(cases.train_counts, kind).items()
                }
            )
        else:
            slices.update(_known(kind, _OF_ROWS)(cases))
    return slices


def slice_report(
    ranks: Ranks,
    slices: Mapping[str, np.ndarray],
    names: Iterable[str],
    topk: int | Iterable[int],
    split: str = "test",
) -> dict[str, dict]:
    """Metrics of the rows of each slice: `{slice: {"n": rows, split: {"ndcg@10": ...}}}`.

    A slice without rows has no metrics: the inner mapping is empty.

    Args:
        slices: name -> bool `[rows]`, as `row_slices` gives them.

    Raises ValueError for a slice that is not over these rows.
    """
    names = list(names)
    topk = [topk] if isinstance(topk, int) else list(topk)
    report = {}
    for name, rows in slices.items():
        if len(rows) != len(ranks):
            raise ValueError(f"slice {name} is over {len(rows)} rows, and there are {len(ranks)}")
        rank = ranks.rank[rows]
        report[name] = {
            "n": len(rank),
            split: metrics_from_ranks(rank, names, topk) if len(rank) else {},
        }
    return report


def _known(kind: str, table: Mapping[str, Callable]) -> Callable:
    if kind not in table:
        raise ConfigError(
            f"slices: there is no kind of slices '{kind}'; there are {', '.join(KINDS)}."
            + did_you_mean(str(kind), KINDS)
        )
    return table[kind]


def _is_item(counts: np.ndarray) -> np.ndarray:
    return np.arange(len(counts)) > 0


def _frequency(counts: np.ndarray) -> dict[str, np.ndarray]:
    return {
        name: _is_item(counts) & (counts >= low) & (counts <= high)
        for name, (low, high) in FREQUENCY.items()
    }


def _popularity(counts: np.ndarray) -> dict[str, np.ndarray]:
    seen = _is_item(counts) & (counts > 0)
    by_count = np.lexsort((np.arange(len(counts)), -counts))
    top = np.zeros(len(counts), dtype=bool)
    top[by_count[seen[by_count]][: math.ceil(HEAD_SHARE * seen.sum())]] = True
    return {"top20": top, "rest80": seen & ~top}


def _buckets(counts: np.ndarray) -> dict[str, np.ndarray]:
    trained = np.where(_is_item(counts), counts, 0).astype(np.int64)
    bucket = frequency_buckets(torch.from_numpy(trained), BUCKETS).numpy()
    return {f"frequency_bucket_{number:02d}": bucket == number for number in range(1, BUCKETS + 1)}


def _history(cases: Cases) -> dict[str, np.ndarray]:
    return {
        name: (cases.history_length >= low) & (cases.history_length <= high)
        for name, (low, high) in HISTORY.items()
    }


def _repeat(cases: Cases) -> dict[str, np.ndarray]:
    return {"repeat_target": cases.repeat, "new_target": ~cases.repeat}


def _holdout(cases: Cases) -> dict[str, np.ndarray]:
    if cases.held_out is None:
        return {}
    held = cases.held_out[cases.target]
    return {"holdout": held, "kept": ~held}


_OF_ITEMS: dict[str, Callable[[np.ndarray], dict[str, np.ndarray]]] = {
    "frequency": _frequency,
    "popularity": _popularity,
    "buckets": _buckets,
}
_OF_ROWS: dict[str, Callable[[Cases], dict[str, np.ndarray]]] = {
    "history": _history,
    "repeat": _repeat,
    "holdout": _holdout,
}
KINDS = (*_OF_ITEMS, *_OF_ROWS)
