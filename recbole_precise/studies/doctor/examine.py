"""All faults of a data set at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recbole_precise.studies.doctor.events import Events, check_events, read_events
from recbole_precise.studies.doctor.findings import ERROR, NOTE, WARNING, Findings
from recbole_precise.studies.doctor.plan import SUFFIXES, DescribedData
from recbole_precise.studies.doctor.rows import Layout, read_layout
from recbole_precise.studies.doctor.tables import Table, check_text_file, read_described


@dataclass
class Examination:
    """What `examine` saw.

    It holds the findings, the files it could read, and the lines that repeat another, by suffix.
    """

    plan: DescribedData
    found: Findings
    layouts: dict[str, Layout] = field(default_factory=dict)
    repeats: dict[str, np.ndarray] = field(default_factory=dict)
    events: int = 0
    users: int = 0
    items: int = 0

    @property
    def errors(self) -> int:
        """Return the number of errors."""
        return len(self.found.of(ERROR))

    def to_text(self) -> str:
        """Write the report: one line of sums, then the findings in groups."""
        counts = ", ".join(
            f"{len(self.found.of(severity))} {severity}{'s' * (len(self.found.of(severity)) != 1)}"
            for severity in (ERROR, WARNING, NOTE)
        )
        head = (
            f"{self.plan.name} ({self.plan.folder}): {self.events:,} usable events of "
            f"{self.users:,} users and {self.items:,} items; {counts}."
        )
        body = self.found.to_text()
        return head + (f"\n\n{body}" if body else "")


def examine(plan: DescribedData) -> Examination:
    """Examine `.inter`, `.item` and `.user` of a data set; nothing is written.

    The text file is examined, too, if there is one.

    Memory grows with the number of events (32 bytes each) and of distinct ids, not with the size of
    the files.
    """
    seen = Examination(plan, Findings())
    found = seen.found
    for suffix in SUFFIXES:
        if plan.file(suffix).is_file():
            if layout := read_layout(plan, suffix, found):
                seen.layouts[suffix] = layout
        elif suffix == "inter":
            found.add("missing file", plan.file(suffix).name)
        elif _needed(plan, suffix):
            found.add(
                "missing file",
                plan.file(suffix).name,
                detail="load_col names it"
                if plan.named(suffix)
                else "item_text is to be made from it",
            )
    tables: dict[str, Table] = {
        suffix: read_described(plan, seen.layouts[suffix], found)
        for suffix in ("item", "user")
        if suffix in seen.layouts
    }
    seen.repeats = {
        suffix: np.asarray(table.again, dtype=np.int64) for suffix, table in tables.items()
    }
    events = (
        read_events(plan, seen.layouts["inter"], found) if "inter" in seen.layouts else Events()
    )
    # A file without usable rows is a fault of its own; that all ids are unknown to it follows.
    seen.repeats["inter"] = check_events(
        plan, events, {suffix: table.line for suffix, table in tables.items() if table.line}, found
    )
    seen.events = len(events.lines)
    seen.users = len(events.users)
    seen.items = len(events.items)
    if plan.text_file is not None:
        _check_text_file(plan, events, tables.get("item"), found)
    return seen


def _needed(plan: DescribedData, suffix: str) -> bool:
    # With load_col empty RecBole loads whatever files there are.
    return bool(plan.load_col and plan.load_col.get(suffix)) or (
        suffix == "item" and plan.item_text is not None and plan.text_file is None
    )


def _check_text_file(
    plan: DescribedData, events: Events, table: Table | None, found: Findings
) -> None:
    if table is not None and table.line:
        check_text_file(plan, table.line, plan.file("item").name, found)
        return
    _, first = np.unique(events.item, return_index=True)
    check_text_file(
        plan, dict(zip(events.items, events.lines[first].tolist())), plan.file("inter").name, found
    )
