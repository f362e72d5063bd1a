"""Faults of `.item` and `.user`: ids described twice, items without text."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from recbole_precise.data.item_text import default_template
from recbole_precise.errors import ConfigError, DataError
from recbole_precise.studies.doctor.findings import ERROR, SHOWN, Findings
from recbole_precise.studies.doctor.plan import DescribedData
from recbole_precise.studies.doctor.rows import Layout, read_rows
from recbole_precise.text.corpus import read_text_file, render

_BATCH = 1024  # texts made at a time


@dataclass
class Table:
    """What stays known of `.item` or `.user`: `line` of the first usable row of each id.

    `again`: lines that describe one once more.
    """

    line: dict[str, int] = field(default_factory=dict)
    again: array = field(default_factory=lambda: array("q"))


def read_described(plan: DescribedData, layout: Layout, found: Findings) -> Table:
    """Read a file whose rows describe one id each, and add its faults to `found`."""
    table = Table()
    key = plan.keys(layout.suffix)[0]
    file = layout.path.name
    place = layout.names.index(key) if key in layout.names else None
    texts = (
        _Texts(plan, layout, found) if layout.suffix == "item" and plan.text_file is None else None
    )
    rows = 0
    for line, fields, _, _ in read_rows(plan, layout, found):
        rows += 1
        if fields is None or place is None:
            continue
        first = table.line.setdefault(fields[place], line)
        if first != line:
            table.again.append(line)
            found.add("row twice", file, key, line, f"'{fields[place]}' stands in line {first}")
        elif texts is not None:
            texts.add(line, fields)
    if texts is not None and place is not None:
        texts.finish()
    if place is not None and not table.line:
        found.add(
            "no rows",
            file,
            detail="the file holds no rows, only a header"
            if not rows
            else f"{rows} rows, all with faults",
        )
    return table


class _Texts:
    """Makes the texts of `.item` a batch at a time and counts the empty ones."""

    def __init__(self, plan: DescribedData, layout: Layout, found: Findings) -> None:
        self.layout = layout
        self.found = found
        self.file = layout.path.name
        self.asked = plan.item_text is not None
        self.template = (
            plan.item_text
            if self.asked
            else [name for name, kind in layout.columns if kind == "token_seq"]
        )
        self.lines: list[int] = []
        self.records: list[dict[str, str]] = []
        self.with_text = self.without = 0
        self.first: list[int] = []
        self.wrong = not self.template
        if self.wrong:
            self.found.add("no words", self.file)

    def add(self, line: int, fields: Sequence[str]) -> None:
        if self.wrong:
            return
        self.lines.append(line)
        self.records.append(dict(zip(self.layout.names, fields)))
        if len(self.lines) == _BATCH:
            self._render()

    def _render(self) -> None:
        try:
            texts = render(self.template, self.records)
        except ConfigError as error:
            self.wrong = True
            self.found.add("item_text", self.file, detail=str(error))
            return
        empty = [line for line, text in zip(self.lines, texts) if not text]
        self.without += len(empty)
        self.with_text += len(texts) - len(empty)
        self.first += empty[: SHOWN - len(self.first)]
        self.lines = []
        self.records = []

    def finish(self) -> None:
        if self.lines and not self.wrong:
            self._render()
        if self.wrong or not self.with_text + self.without:
            return
        made = (
            f"item_text {self.template!r}"
            if self.asked
            else f"the columns {', '.join(self.template)}"
        )
        if self.asked and not self.with_text:
            self.found.add("no texts", self.file, detail=made)
        else:
            self.found.add_many("no text", self.file, "", self.without, self.first, f"under {made}")


def check_text_file(
    plan: DescribedData, items: dict[str, int], where: str, found: Findings
) -> None:
    """Find faults of the file that `text_file` names, and items without a text.

    `items` have their lines in the file `where`.
    """
    assert plan.text_file is not None, "the settings name a text_file"
    try:
        records = read_text_file(plan.text_file, id_column=plan.item, encoding=plan.encoding)
        template = plan.item_text or default_template(records, plan.item)
        texts = dict(zip(records, render(template, list(records.values())))) if template else None
    except (DataError, ConfigError) as error:
        found.add("item_text", str(plan.text_file), detail=str(error))
        return
    if texts is None:
        found.add(
            "item_text",
            str(plan.text_file),
            detail="item_text must say which of the columns make a text",
        )
        return
    lines = np.sort(
        np.array([line for item, line in items.items() if not texts.get(item, "")], dtype=np.int64)
    )
    if items and len(lines) == len(items):
        found.add(
            "no texts",
            where,
            detail=f"{plan.text_file} has none for any of {len(items):,} items",
            severity=ERROR,
        )
    else:
        found.add_many("no text", where, "", len(lines), lines[:SHOWN], f"in {plan.text_file}")
