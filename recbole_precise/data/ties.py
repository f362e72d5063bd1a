"""Events whose times do not say which came first.

And whether their order in the file is that of the catalogue.

Events of one user with one time keep the order of the file (`tie_break: file`). A file that was
sorted by item has the catalogue's order there, which a sequence model can learn and which says
nothing of people. The same holds for a file whose times only number each user's events.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recbole_precise.data.filtering import counted
from recbole_precise.data.sequences import SequenceStore

logger = logging.getLogger("recbole_precise")

_LEAST_PAIRS = 20  # with fewer, a share is not meaningful
_PREVAILS = 0.6  # share of one direction from which it is reported as an order
_DEVIATIONS = 4.0  # standard deviations that the share must be away from a half


@dataclass(frozen=True)
class Ties:
    """What is known of events without an order of their own.

    Attributes:
        events: events that share their time with another event of their user; 0 where times only
            number the events.
        total: all events.
        numbered: the times of every user are 0, 1, 2, ... from a first one on.
        pairs: neighbours of one user and one time (or all neighbours, where times number them) with
            unequal items.
        ascending: share of the pairs whose second item comes later in the catalogue; NaN without
            pairs.
        order: the order of the catalogue that was looked at, in words.
    """

    events: int
    total: int
    numbered: bool
    pairs: int
    ascending: float
    order: str

    @property
    def in_order(self) -> bool:
        """Whether the pairs follow the catalogue, upwards or downwards, more than by chance."""
        if self.pairs < _LEAST_PAIRS:
            return False
        away = abs(self.ascending - 0.5)
        return away >= _PREVAILS - 0.5 and away * 2 * np.sqrt(self.pairs) > _DEVIATIONS

    def in_words(self, tie_break: str) -> str | None:
        """One line for the log; None where there is nothing to say."""
        if not self.events and not (self.numbered and self.in_order):
            return None
        if self.events:
            what = (
                f"{self.events:,} of {self.total:,} events share their time with another "
                "event of their user"
            )
            pairs = f"of {self.pairs:,} neighbours among them"
        else:
            what = (
                f"The times only number each user's events, {self.total:,} in all, so that "
                "their order is that of the file"
            )
            pairs = f"of {self.pairs:,} neighbours"
        if tie_break == "random" and self.events:
            return f"{what}; tie_break: random draws their order from tie_seed."
        kept = (
            "; tie_break: file keeps the order of the file (random would draw it from tie_seed)"
            if self.events
            else ""
        )
        if not self.pairs:
            return f"{what}{kept}."
        direction = "ascend" if self.ascending >= 0.5 else "descend"
        share = max(self.ascending, 1 - self.ascending)
        found = f"{pairs} {share:.0%} {direction} in the catalogue ({self.order})"
        if not self.in_order:
            return f"{what}{kept}; {found}, as by chance."
        remedy = "tie_break: random takes it out; " if self.events else ""
        return (
            f"{what}{kept}; {found}: that is the order of a sorted file, which a model of "
            "sequences learns though nobody "
            f"acted in it. {remedy}the command audit measures what it is worth."
        )


def find_ties(
    offsets: np.ndarray,
    times: np.ndarray,
    items: np.ndarray,
    names: Sequence[str],
    rows: Sequence[str] | None,
) -> Ties:
    """Look at the events of a data set in the order in which they are used.

    Args:
        offsets: int64 `[users + 1]`, where each user's events begin.
        times: `[events]`, by which a user's events are ordered.
        items: int64 `[events]`, ids from 1 on.
        names: name of each item id, 0 the padding.
        rows: names in the order of .item; None where that file was not read.
    """
    begins = np.zeros(len(items), dtype=bool)
    begins[offsets[:-1]] = True
    later = np.flatnonzero(~begins)
    tied = later[times[later] == times[later - 1]]
    shares = np.zeros(len(items), dtype=bool)
    shares[tied] = True
    shares[tied - 1] = True
    numbered = (
        not len(tied) and len(later) > 0 and bool((times[later] - times[later - 1] == 1).all())
    )
    pairs = later if numbered else tied
    first = items[pairs - 1]
    second = items[pairs]
    pairs_differ = first != second
    best = ("by name", np.nan, 0)
    for order, place in _catalogue_orders(names, rows).items():
        known = pairs_differ & (place[first] >= 0) & (place[second] >= 0)
        count = int(known.sum())
        share = float((place[first] < place[second])[known].mean()) if count else float("nan")
        if not best[2] or (count and abs(share - 0.5) > abs(best[1] - 0.5)):
            best = (order, share, count)
    order, share, count = best
    return Ties(int(shares.sum()), len(items), numbered, count, share, order)


def _catalogue_orders(names: Sequence[str], rows: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Place of each item id by name (as numbers where all are), and by the rows of .item.

    -1 where it has none.
    """
    known = [str(name) for name in names[1:]]
    keys: list[int] | list[str] = known
    if all(name.isascii() and name.isdigit() for name in known):
        keys = [int(name) for name in known]
    by_name = np.zeros(len(names), dtype=np.int64)
    by_name[1 + np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)] = (
        np.arange(len(keys))
    )
    orders = {"by name": by_name}
    if rows is not None:
        place = {str(name): number for number, name in enumerate(rows)}
        orders["rows of .item"] = np.array(
            [-1, *(place.get(name, -1) for name in known)], dtype=np.int64
        )
    return orders


def log_order(
    store: SequenceStore,
    times: np.ndarray,
    item: str,
    names: Sequence[str],
    rows: Sequence[str] | None,
    tie_break: str,
) -> None:
    """Log what the file decides.

    The order of events with one time, and users with too few events for a row.

    Args:
        store: the events in the order in which they are used; `times` `[events]`, by which they
            were put into it.
        item: name of the item field.
        names, rows: as for `find_ties`.
    """
    ties = find_ties(store.offsets.numpy(), times, store.fields[item].numpy(), names, rows)
    said = ties.in_words(tie_break)
    if said is not None:
        drawn = tie_break == "random" and ties.events > 0
        logger.log(logging.WARNING if ties.in_order and not drawn else logging.INFO, "%s", said)
    single = int((store.offsets.diff() == 1).sum())
    if single:
        users = counted(len(store.user_ids), "user")
        logger.info(
            "%s of %s have a single event: nothing of them is a target of training or a test.",
            f"{single:,}",
            users,
        )
