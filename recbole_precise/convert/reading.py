"""From raw files to the tables `events` and `described`, with every row that cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from recbole_precise.convert.atomic import bad_token
from recbole_precise.convert.cells import Field, split_number, zone_of_number
from recbole_precise.convert.faults import HOPELESS, BadRow, Faults
from recbole_precise.convert.readers import Bad
from recbole_precise.convert.store import Store, is_of_disk
from recbole_precise.convert.tables import Delimited, Parquet, unreadable_parquet

_CHUNK = 20_000  # rows handed to the database at once
_ODD = {
    "id": "BIGINT",
    "value": "VARCHAR",
    "part": "DOUBLE",
    "zone": "VARCHAR",
    "reason": "VARCHAR",
}
_BAD = {"line": "BIGINT", "reason": "VARCHAR"}


class Event(NamedTuple):
    """One interaction, its time in seconds since 1970 or as the source counts."""

    user: str
    item: str
    time: int | float
    rating: int | float | None = None
    scene: str | None = None


@dataclass(frozen=True)
class Table:
    """A raw file that is a table, each row one event or one item.

    Args:
        file: the file; its columns are those of `fields`.
        fields: what they are read as, in the order in which a row is checked. An item's own
            field has the role `item`, its texts the role `text`, in the order of Raw.columns.
        describes: of events whose rows also describe their item: whether these are all its texts.
    """

    file: Delimited | Parquet
    fields: Sequence[Field]
    describes: bool | None = None

    @property
    def path(self) -> Path:
        """The file's place."""
        return self.file.path


@dataclass(frozen=True)
class Records:
    """A raw file that Python reads, record by record.

    Args:
        rows: `rows(bad)` yields `(line, row)` and gives rows that cannot be read to
            `bad(line, reason)`.
        parse: of events, `parse(row)` gives the Events in a row; of items, `(item, texts)`.
            Raises BadRow.
    """

    path: Path
    rows: Callable[[Bad], Iterable[tuple[int, Any]]]
    parse: Callable[[Any], Any]
    describes: bool | None = None


Part = Table | Records


@dataclass(frozen=True)
class Raw:
    """An opened download, nothing of it read yet.

    Args:
        columns: names of the items' texts.
        rating: whether events have ratings.
        item_text: the template over `columns` that the YAML proposes.
        scenes: name of a scene -> `event` (events carry it) or `item` (it is one of `columns`).
        items_first: read the items before the events.
        items_by: the text column that tables of items have as their key, when it is not the id.
        items_needed: whether an event of an item without metadata is a bad row.
        times_are_places: whether times are places in a user's list, so that no two of a user are
            equal.
        scene: the scene that is written when none is chosen.
        zones: kinds of times (see `values.moment`) and how many there are, filled while reading.
        notes: what else to report.
        counts: what was left out and why, filled while reading.
    """

    columns: tuple[str, ...]
    events: Sequence[Part]
    items: Sequence[Part] = ()
    rating: bool = False
    item_text: str | list[str] | None = None
    scenes: Mapping[str, str] = field(default_factory=dict)
    items_first: bool = False
    items_by: str | None = None
    items_needed: bool = False
    times_are_places: bool = False
    scene: str | None = None
    zones: Counter[str] = field(default_factory=Counter)
    notes: Sequence[str] = ()
    counts: Counter[str] = field(default_factory=Counter)

    def is_of_items(self, scene: str | None) -> bool:
        """Whether a scene is a column of the items."""
        return scene is not None and self.scenes.get(scene) == "item"


def read(raw: Raw, store: Store, faults: Faults, everything: bool) -> int:
    """Fill the store from all files.

    Args:
        everything: whether items without an event will be written, too.

    Returns:
        The number of rows about an item that has one.

    Raises:
        DataError: there are bad rows (see Faults), or a file cannot be read.
    """
    reading = _Reading(raw, store, faults)
    if raw.items_first:
        reading.read_items()
    for part in raw.events:
        reading.read(part, events=True)
    if raw.items_by is not None:
        store.settle_items()
        store.forget_described()
    if not raw.items_first:
        reading.read_items()
    faults.check()
    doubled = 0
    if raw.items_by is not None:
        key = f"text{raw.columns.index(raw.items_by)}"
        doubled = store.count_doubled(f"SELECT {key} FROM items")
        store.complete_items(key)
        return doubled
    if raw.items:
        every = everything or raw.items_first
        names = "SELECT item FROM described" if every else "SELECT item FROM events"
        doubled = store.count_doubled(names)
    store.settle_items()
    return doubled


class _Stop(Exception):
    """Enough has been read to know that a file is of no use."""


class _Reading:
    """The reading of all files into one store; `seq` counts the rows across them."""

    def __init__(self, raw: Raw, store: Store, faults: Faults) -> None:
        self._raw = raw
        self._store = store
        self._faults = faults
        self._seq = 0

    def read_items(self) -> None:
        for part in self._raw.items:
            self.read(part, events=False)

    def read(self, part: Part, events: bool) -> None:
        """Read one file."""
        good = (
            self._records(part, events) if isinstance(part, Records) else self._table(part, events)
        )
        if not good:
            self._faults.check()
            self._faults.hopeless(part.path)

    # --- Records ------------------------------------------------------------------------------

    def _records(self, part: Records, events: bool) -> int:
        good = 0
        rows: list[Sequence[Any]] = []

        def bad(line: int, reason: str) -> None:
            self._faults.add(part.path, line, reason, good=good)

        add = self._store.add_events if events else self._store.add_described
        for line, row in part.rows(bad):
            try:
                parsed = part.parse(row)
            except BadRow as error:
                bad(line, str(error))
                continue
            good += 1
            if events:
                rows += map(self._event, parsed)
            else:
                self._seq += 1
                rows.append((self._seq, parsed[0], True, *parsed[1]))
            if len(rows) >= _CHUNK:
                add(rows)
                rows = []
        add(rows)
        return good

    def _event(self, event: Event) -> tuple[Any, ...]:
        self._seq += 1
        rating: tuple[Any, Any] = (None, None)
        if event.rating is not None:
            rating = split_number(event.rating)
        scene = event.scene
        if scene is not None and bad_token(scene):
            scene = None
        return self._seq, event.user, event.item, *split_number(event.time), *rating, scene

    # --- Tables -------------------------------------------------------------------------------

    def _table(self, part: Table, events: bool) -> int:
        parsed = self._parsed(part)
        count = self._store.one("SELECT count(*) FROM parsed")
        good = count - parsed.bad
        self._list_bad(part, parsed)
        load = self._load_events if events else self._load_items
        load(part, parsed)
        self._seq += count
        for table in ("parsed", "cells"):
            self._store.run(f"DROP TABLE IF EXISTS {table}")
        return good

    def _parsed(self, part: Table) -> _Parsed:
        """Make the table `parsed`, and `bad` of the rows that could not even be cut into cells."""
        store = self._store
        store.make("bad", _BAD)
        relation = part.file.relation()
        if relation is not None:
            try:
                parsed = _Parsed(store, part.fields, relation, part.file.exact)
            except duckdb.Error as error:
                if is_of_disk(error):
                    raise
                if isinstance(part.file, Parquet):
                    raise unreadable_parquet(part.path, error) from error
            else:
                if part.file.exact or not parsed.bad:
                    return parsed
        # The lines of bad rows are known to Python's reader alone.
        self._fill_cells(part)
        return _Parsed(store, part.fields, "cells", exact=False)

    def _fill_cells(self, part: Table) -> None:
        columns = {"line": "BIGINT"} | {f"c{n}": "VARCHAR" for n in range(len(part.fields))}
        self._store.make("cells", columns)
        rows: list[Sequence[Any]] = []
        bad: list[tuple[int, str]] = []
        read = [0, 0]

        def note(line: int, reason: str) -> None:
            read[1] += 1
            bad.append((line, reason))
            if not read[0] and read[1] >= HOPELESS:
                raise _Stop

        try:
            for line, cells in part.file.rows(note):
                read[0] += 1
                rows.append((line, *cells))
                if len(rows) >= _CHUNK:
                    self._store.add("cells", columns, rows)
                    rows = []
                if len(bad) >= _CHUNK:
                    self._store.add("bad", _BAD, bad)
                    bad.clear()
        except _Stop:
            pass
        self._store.add("cells", columns, rows)
        self._store.add("bad", _BAD, bad)

    def _list_bad(self, part: Table, parsed: _Parsed) -> None:
        """Report all bad rows of a file, in their order."""
        store = self._store
        if parsed.bad:
            store.run(
                f"INSERT INTO bad SELECT {parsed.line}, {parsed.reason} FROM {parsed.joined} "
                f"WHERE {parsed.reason} IS NOT NULL"
            )
        if not store.one("SELECT count(*) FROM bad"):
            return
        first = store.one(
            f"SELECT min({parsed.line}) FROM {parsed.joined} WHERE {parsed.reason} IS NULL"
        )
        store.run("CREATE OR REPLACE TABLE bad AS SELECT * FROM bad ORDER BY line")
        for rows in store.batches("bad", "line, reason"):
            for _, line, reason in rows:
                self._faults.add(
                    part.path,
                    line,
                    reason,
                    good=int(first is not None and first < line),
                    unit=part.file.unit,
                    encoding=part.file.encoding,
                )

    def _load_events(self, part: Table, parsed: _Parsed) -> None:
        store = self._store
        columns = ["NULL"] * 7
        roles = ("user", "item", "time", "time_part", "rating", "rating_part", "scene")
        for place, each in enumerate(part.fields):
            if each.role == "text":
                continue
            at = roles.index(each.role)
            columns[at] = parsed.value(place)
            if each.is_number:
                columns[at + 1] = parsed.part(place)
        seq = f"{self._seq} + parsed.rowid"
        good = f"{parsed.reason} IS NULL"
        store.run(
            f"INSERT INTO events SELECT {seq}, {', '.join(columns)} FROM {parsed.joined} "
            f"WHERE {good} AND NOT {parsed.skipped}"
        )
        for place, each in enumerate(part.fields):
            if each.kind == "moment":
                zone = f"coalesce({parsed.zone(place)}, {zone_of_number(f'v{place}', f'p{place}')})"
                counted = store.rows(
                    f"SELECT {zone}, count(*) FROM {parsed.joined} WHERE {good} GROUP BY ALL"
                )
                self._raw.zones.update(dict(counted))
            if each.skips is not None:
                self._raw.counts[each.skips] += store.one(
                    f"SELECT count(*) FROM {parsed.joined} WHERE {good} AND {parsed.skipped}"
                )
        if part.describes is not None:
            item = columns[1]
            first = f"(SELECT min(parsed.rowid) FROM {parsed.joined} WHERE {good} GROUP BY {item})"
            self._describe(part, parsed, f"{item} IS NOT NULL AND parsed.rowid IN {first}")

    def _load_items(self, part: Table, parsed: _Parsed) -> None:
        self._describe(part, parsed, f"{parsed.value(0)} <> ''")

    def _describe(self, part: Table, parsed: _Parsed, wanted: str) -> None:
        """Append rows about items to `described`; texts that a file lacks are empty."""
        places = [place for place, each in enumerate(part.fields) if each.role == "text"]
        texts = [parsed.value(place) for place in places]
        texts += ["''"] * (len(self._raw.columns) - len(texts))
        (item,) = (place for place, each in enumerate(part.fields) if each.role == "item")
        known = part.describes is not False
        cells = [f"{self._seq} + parsed.rowid", parsed.value(item), str(known), *texts]
        self._store.run(
            f"INSERT INTO described SELECT {', '.join(cells)} FROM {parsed.joined} "
            f"WHERE {parsed.reason} IS NULL AND {wanted}"
        )


class _Parsed:
    """The table `parsed` of a relation's cells, and SQL for what became of them.

    It has, of each field, the value, part and zone that SQL could read, and else the cell, which
    a table `odd...` then has once with what `Field.read` made of it.

    Attributes:
        joined: the tables to select from.
        line: SQL for the number of a row in its file.
        reason: SQL for why a row cannot be used, NULL where it can.
        skipped: SQL for whether a row is left out without being bad.
        bad: how many rows cannot be used.
    """

    def __init__(self, store: Store, fields: Sequence[Field], relation: str, exact: bool) -> None:
        self._fields = fields
        self.joined = "parsed"
        self.line = "parsed.rowid + 1" if exact else "parsed.line"
        self.reason = "NULL::VARCHAR"
        self.skipped = "false"
        self.bad = 0
        self._make(store, relation)
        self._odd = self._odd_places(store)
        reasons = [place for place in self._odd if self._read_odd(store, place)]
        # Of several faults of a row, that of a date is reported.
        reasons.sort(key=lambda place: fields[place].kind != "moment")
        for place in self._odd:
            self.joined += f" LEFT JOIN odd{place} ON o{place} IS NOT DISTINCT FROM odd{place}.raw"
            if fields[place].skips is not None:
                odd = f"odd{place}"
                self.skipped = (
                    f"(v{place} IS NULL AND {odd}.value IS NULL AND {odd}.reason IS NULL)"
                )
        if reasons:
            each = [f"CASE WHEN v{place} IS NULL THEN odd{place}.reason END" for place in reasons]
            self.reason = f"CASE WHEN NOT {self.skipped} THEN coalesce({', '.join(each)}) END"
            self.bad = store.one(
                f"SELECT count(*) FROM {self.joined} WHERE {self.reason} IS NOT NULL"
            )

    def value(self, place: int) -> str:
        """Write SQL for the value of a field: a text, or the whole part of a number."""
        if place not in self._odd:
            return f"v{place}"
        kind = "BIGINT" if self._fields[place].is_number else "VARCHAR"
        return f"coalesce(v{place}, odd{place}.value::{kind})"

    def part(self, place: int) -> str:
        """Write SQL for a number that is not whole."""
        return f"coalesce(p{place}, odd{place}.part)" if place in self._odd else f"p{place}"

    def zone(self, place: int) -> str:
        """Write SQL for the kind of a time."""
        return f"coalesce(z{place}, odd{place}.zone)" if place in self._odd else f"z{place}"

    def _make(self, store: Store, relation: str) -> None:
        kinds = {name: kind for name, kind, *_ in store.rows(f"DESCRIBE SELECT * FROM {relation}")}
        columns = ["line" if "line" in kinds else "NULL::BIGINT AS line"]
        for place, each in enumerate(self._fields):
            sql = each.sql(f"c{place}", kinds[f"c{place}"])
            columns.append(f"{sql.value} AS v{place}")
            columns.append(f"CASE WHEN v{place} IS NULL THEN c{place} END AS o{place}")
            if each.is_number:
                columns.append(f"{sql.part} AS p{place}")
            if each.kind == "moment":
                columns.append(f"{sql.zone} AS z{place}")
        store.run(f"CREATE OR REPLACE TABLE parsed AS SELECT {', '.join(columns)} FROM {relation}")

    def _odd_places(self, store: Store) -> list[int]:
        """Return the fields that have cells which SQL did not read."""
        places = range(len(self._fields))
        counts = ", ".join(f"count(*) - count(v{place})" for place in places)
        (found,) = store.rows(f"SELECT {counts} FROM parsed")
        return [place for place in places if found[place]]

    def _read_odd(self, store: Store, place: int) -> bool:
        """Make the table of a field's odd cells; whether one of them cannot be used."""
        store.run(
            f"CREATE OR REPLACE TABLE odd AS SELECT DISTINCT o{place} AS raw FROM parsed "
            f"WHERE v{place} IS NULL"
        )
        store.make("made", _ODD)
        faulty = False
        for rows in store.batches("odd", "raw"):
            made = [_made(self._fields[place], *row) for row in rows]
            faulty = faulty or any(row[-1] is not None for row in made)
            store.add("made", _ODD, made)
        store.run(
            f"CREATE OR REPLACE TABLE odd{place} AS SELECT odd.raw, made.* FROM odd "
            "JOIN made ON made.id = odd.rowid"
        )
        return faulty


def _made(each: Field, number: int, raw: Any) -> tuple[Any, ...]:
    """Return what a cell becomes, or why it cannot be used."""
    try:
        value, part, zone = each.read(raw)
    except BadRow as error:
        return number, None, None, None, str(error)
    return number, None if value is None else str(value), part, zone, None
