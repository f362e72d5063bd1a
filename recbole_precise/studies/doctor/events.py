"""Faults of `.inter` that show between rows.

Events listed twice, equal times, unknown ids, users too short for the split.

An event is kept as three numbers and its line, 32 bytes; tokens are kept once each.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recbole_precise.data import splits
from recbole_precise.data.ordering import stable_order
from recbole_precise.studies.doctor.findings import SHOWN, Findings
from recbole_precise.studies.doctor.plan import DescribedData
from recbole_precise.studies.doctor.rows import Layout, read_rows


@dataclass
class Events:
    """The usable rows of `.inter`, in the order of the file.

    Attributes:
        user, item: int64 `[events]`, codes in the order of first appearance; users, items: token ->
            code.
        times: int64 `[events]`, or float64 when not all are whole; lines: int64 `[events]`.
    """

    users: dict[str, int] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    user: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    item: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    times: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    lines: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))


def read_events(plan: DescribedData, layout: Layout, found: Findings) -> Events:
    """Read `.inter`, adding the faults of its rows to `found`.

    A missing column leaves no events.
    """
    events = Events()
    names = layout.names
    complete = all(name in names for name in plan.keys("inter"))
    u, i, t = (names.index(name) for name in plan.keys("inter")) if complete else (0, 0, 0)
    user = array("q")
    item = array("q")
    times: array[Any] = array("q")
    lines = array("q")
    rows = 0
    for line, fields, _, _ in read_rows(plan, layout, found):
        rows += 1
        if fields is None or not complete:
            continue
        user.append(events.users.setdefault(fields[u], len(events.users)))
        item.append(events.items.setdefault(fields[i], len(events.items)))
        lines.append(line)
        try:
            times.append(int(fields[t]) if times.typecode == "q" else float(fields[t]))
        except (ValueError, OverflowError):
            times = array("d", times)
            times.append(float(fields[t]))
    events.user, events.item, events.lines = (
        np.frombuffer(part, dtype=np.int64) for part in (user, item, lines)
    )
    events.times = np.frombuffer(times, dtype=np.int64 if times.typecode == "q" else np.float64)
    if complete and not len(events.lines):
        found.add(
            "no rows",
            layout.path.name,
            detail="the file holds no rows, only a header"
            if not rows
            else f"{rows} rows, all with faults",
        )
    return events


def check_events(
    plan: DescribedData, events: Events, described: Mapping[str, Mapping[str, int]], found: Findings
) -> np.ndarray:
    """Add what is wrong between the rows to `found`.

    Args:
        described: for "item" and "user", the ids that have a row in their file; a file that cannot
            be looked at is left out.

    Returns: int64 `[n]`, the lines of events that are listed a second time, ascending.
    """
    file = plan.file("inter").name
    again = _listed_again(events)
    _add(found, "event twice", file, "", events.lines[again])
    ties = _tied(events) & ~again
    _add(found, "equal times", file, plan.time, events.lines[ties])
    stays = np.ones(len(events.lines), dtype=bool)
    for suffix, column, codes, tokens in (
        ("item", plan.item, events.item, events.items),
        ("user", plan.user, events.user, events.users),
    ):
        if suffix not in described:
            continue
        unknown = np.fromiter(
            (token not in described[suffix] for token in tokens), dtype=bool, count=len(tokens)
        )
        rows = unknown[codes] if len(codes) else np.zeros(0, dtype=bool)
        left_out = plan.filters and plan.reads(suffix)
        if rows.any():
            first = next(token for token, missing in zip(tokens, unknown) if missing)
            does = (
                "a run leaves them out (filter_inter_by_user_or_item)"
                if left_out
                else "they stay in a run"
            )
            _add(
                found,
                "unknown id",
                file,
                column,
                events.lines[rows],
                f"{unknown.sum():,} ids, the first is '{first}', not in .{suffix}; {does}",
            )
        if left_out:
            stays &= ~rows
    if len(stays) and not stays.any():
        found.add("empty part", file, detail="no event is left when those with unknown ids are out")
    elif len(stays):
        _check_users(plan, events, stays, found)
    return events.lines[again]


def _add(
    found: Findings, kind: str, file: str, column: str, lines: np.ndarray, detail: str = ""
) -> None:
    found.add_many(kind, file, column, len(lines), lines[:SHOWN], detail)


def _listed_again(events: Events) -> np.ndarray:
    """Bool `[events]`: the same user, item and time are in an earlier line."""
    order = stable_order([events.user, events.item, events.times])
    return _like_before(order, events.user, events.item, events.times)


def _tied(events: Events) -> np.ndarray:
    """Bool `[events]`: the same user and time are in an earlier line."""
    order = stable_order([events.user, events.times])
    return _like_before(order, events.user, events.times)


def _like_before(order: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    """Bool `[n]`: rows whose predecessor in `order` has the same values."""
    like = np.zeros(len(order), dtype=bool)
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    like[order[1:]] = same
    return like


def _check_users(plan: DescribedData, events: Events, stays: np.ndarray, found: Findings) -> None:
    """Find users who leave a part of a leave-one-out split without a target.

    Parts that are empty altogether are found, too.
    """
    mode = plan.split.get("LS")
    if mode not in splits.LEAVE_ONE_OUT:
        return
    users, first, counts = np.unique(events.user[stays], return_index=True, return_counts=True)
    parts = splits.leave_one_out(counts - 1, mode)
    asked = [
        True,
        mode in ("valid_and_test", "valid_only"),
        mode in ("valid_and_test", "test_only"),
    ]
    file = plan.file("inter").name
    names = ("training", "validation", "testing")
    short = np.zeros(len(users), dtype=bool)
    for part, wanted, name in zip(parts, asked, names):
        if wanted:
            short |= part == 0
            if not part.any():
                found.add(
                    "empty part",
                    file,
                    detail=f"the split LS: {mode} leaves no row for {name}; the longest of "
                    f"{len(users):,} users has {counts.max()} events",
                )
    lines = np.sort(events.lines[stays][first[short]])
    _add(
        found,
        "short user",
        file,
        plan.user,
        lines,
        f"fewer than {2 + sum(asked[1:])} events; {int((counts == 1).sum()):,} have one event "
        "alone, which no part uses",
    )
