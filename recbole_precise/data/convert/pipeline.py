"""From the rows of a raw download to atomic files: staged on disk, filtered, put in order, written
together.
"""

from __future__ import annotations

import contextlib
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_precise.data.convert import values
from recbole_precise.data.convert.atomic import Converted, bad_token
from recbole_precise.data.convert.faults import BadRow, Faults
from recbole_precise.data.convert.options import Options
from recbole_precise.data.convert.output import check_inputs_stay, files_of
from recbole_precise.data.convert.readers import Bad
from recbole_precise.data.convert.recipe import recipe
from recbole_precise.data.convert.staging import Event, Staging
from recbole_precise.data.workplace import publish, remove_leftovers, workplace
from recbole_precise.errors import DataError

_CHUNK = 20_000  # events handed to the database at once
_SHOWN_ZONES = 4  # zones of times named in one message
NO_SCENE = "unknown"


@dataclass(frozen=True)
class Part:
    """One raw file.

    Args:
        rows: `rows(bad)` yields `(line, row)` and gives rows that cannot be read to `bad(line,
            reason)`.
        parse: of a file of events, `parse(row)` gives the Events in a row; of a file of items,
            `(key, texts)` or None. Raises BadRow.
        texts: of a file of events whose rows also describe their item: `texts(row)` gives `(item,
            texts, known)`, `known` being whether these are all its texts.
        unit: what `line` counts.
        encoding: what a text is read in where the source has an option for it.
    """

    path: Path
    rows: Callable[[Bad], Iterable[tuple[int, Any]]]
    parse: Callable[[Any], Any]
    texts: Callable[[Any], tuple[str, Sequence[str], bool]] | None = None
    unit: str = "line"
    encoding: str | None = None


@dataclass(frozen=True)
class Raw:
    """An opened download, nothing of it read yet.

    Args:
        columns: names of the items' texts.
        rating: whether events have ratings.
        item_text: the template over `columns` that the YAML proposes.
        scenes: name of a scene -> `event` (Events carry it) or `item` (it is one of `columns`).
        items_first: read the items before the events; all of them are then kept while reading.
        items_by: the text column that files of items have as their key, when it is not the item's
            id.
        one_row_each: whether a second row for an item is a bad row; else the first is kept.
        items_needed: whether an event of an item without metadata is a bad row.
        times_are_places: whether times are places in a user's list, so that no two of a user are
            equal.
        scene: the scene that is written when none is chosen.
        zones: kinds of times (see `values.moment`) and how many there are, filled while reading.
        notes: what else to report.
        counts: what `parse` left out and why, filled while reading.
    """

    columns: tuple[str, ...]
    events: Sequence[Part]
    items: Sequence[Part] = ()
    rating: bool = False
    item_text: str | list[str] | None = None
    scenes: Mapping[str, str] = field(default_factory=dict)
    items_first: bool = False
    items_by: str | None = None
    one_row_each: bool = False
    items_needed: bool = False
    times_are_places: bool = False
    scene: str | None = None
    zones: Counter[str] = field(default_factory=Counter)
    notes: Sequence[str] = ()
    counts: Counter[str] = field(default_factory=Counter)


def write_dataset(raw: Raw, output: Path, options: Options) -> Converted:
    """Write `<output>/<name>.inter`, `.item` (when there are texts or items) and `.yaml`, the name
    being the folder's.

    The files appear together when all of them are complete; what an earlier conversion left there
    is replaced.

    Raises:
        DataError: rows cannot be used (see Faults), nothing is left, or the disk cannot be written.
        ConfigError: a file would replace one that is read.
    """
    inputs = [part.path for part in (*raw.events, *raw.items)]
    check_inputs_stay(output, inputs)
    try:
        with workplace(output if output.is_dir() else output.parent, "convert") as place:
            remove_leftovers(output.parent, "convert")
            return _write_in(place, raw, output, options)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{output}: cannot be written ({reason}); choose another output folder or make room."
        ) from error


def _write_in(place: Path, raw: Raw, output: Path, options: Options) -> Converted:
    """Convert within the temporary folder `place`, then move the finished files to `output`."""
    name = output.name
    ready = place / "ready"
    ready.mkdir()
    with contextlib.closing(
        Faults(options.skip_bad_rows, ready / f"{name}.bad_rows.tsv")
    ) as faults:
        with contextlib.closing(Staging(place, raw.columns)) as staging:
            doubled = _read(raw, staging, faults, options)
            notes = [
                *faults.summary(),
                *(f"left out {count} {what}" for what, count in raw.counts.items()),
                *_filter(staging, options),
            ]
            if doubled:
                notes.append(
                    f"{doubled} further rows about an item that has one: the first is kept"
                )
            interactions = staging.one("SELECT count(*) FROM events")
            users = staging.count_users()
            if not interactions:
                reasons = "; ".join(notes) or "the files hold none"
                raise DataError(f"{raw.events[0].path.parent}: no interaction is left ({reasons}).")
            items = staging.count_items(everything=options.items == "all")
            endings = ["inter", "yaml"]
            if raw.items or raw.columns:
                _write_lines(ready / f"{name}.item", _item_lines(raw, staging))
                endings.insert(1, "item")
            no_scene: Counter[str] = Counter()
            _write_lines(ready / f"{name}.inter", _event_lines(raw, staging, options, no_scene))
            _write_lines(ready / f"{name}.yaml", recipe(name, raw, options))
            if options.changes:
                notes.append(
                    f"the preset {options.preset} is changed by {', '.join(options.changes)}"
                )
            notes += [*_times(raw.zones), *raw.notes]
            notes += [
                f"{count} interactions have no scene: theirs is '{NO_SCENE}'"
                for count in no_scene.values()
            ]
            notes += _missing(raw, staging, options)
        if faults.total:
            endings.append("bad_rows.tsv")
    written = [output / f"{name}.{ending}" for ending in endings]
    stale = [path for path in files_of(output) if path not in written]
    # `.inter`, without which there is no data set, comes last.
    publish({path: ready / path.name for path in reversed(written)}, stale, place / "replaced")
    return Converted(users, items, interactions, tuple(written), tuple(notes))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)


def _times(zones: Mapping[str, int]) -> list[str]:
    """What the kinds of times (see `values.moment`) mean for what was written, in words."""
    dates = {
        kind: count
        for kind, count in zones.items()
        if kind not in (values.NUMBER, values.COMPACT) and count
    }
    numbers = zones.get(values.NUMBER, 0) + zones.get(values.COMPACT, 0)
    notes = []
    without = dates.get(values.NO_ZONE, 0)
    if without:
        notes.append(f"{without} times have no zone and are read as UTC")
    offsets = sorted(
        (zone for zone in dates if zone != values.NO_ZONE), key=lambda zone: -dates[zone]
    )
    if len(dates) > 1:
        shown = [f"{zone}: {dates[zone]}" for zone in offsets[:_SHOWN_ZONES]]
        shown += ["..."] * (len(offsets) > _SHOWN_ZONES)
        shown += [f"without: {without}"] * bool(without)
        notes.append(
            f"times are of several zones ({', '.join(shown)}); all are written as seconds since "
            "1970 UTC"
        )
    if numbers and dates:
        notes.append(
            f"{numbers} times are numbers, which are kept as they are, beside "
            f"{sum(dates.values())} dates, which are "
            "written as seconds since 1970: make sure that the numbers are seconds"
        )
    if numbers and zones.get(values.COMPACT, 0) == numbers:
        notes.append(
            "times look like dates written YYYYMMDD but are kept as numbers: --time_format=%Y%m%d "
            "reads them"
        )
    return notes


# --- Reading ----------------------------------------------------------------------------------


def _read(raw: Raw, staging: Staging, faults: Faults, options: Options) -> int:
    """Stage all rows; the number of rows about an item that had one.

    Raises DataError for bad rows.
    """
    generator = random.Random(options.tie_seed)
    tie = (lambda: generator.getrandbits(62)) if options.tie_break == "random" else (lambda: 0)
    doubled = 0
    if raw.items_first:
        doubled += _read_items(raw, staging, faults)
    for number, part in enumerate(raw.events):
        with staging.filling():
            chunk: list[Event] = []
            for line, row in _good_rows(part, faults, part.texts is not None and staging):
                chunk += [event._replace(part=number, line=line) for event in row]
                if len(chunk) >= _CHUNK:
                    staging.add_events(chunk, tie)
                    chunk = []
            staging.add_events(chunk, tie)
    if not raw.items_first:
        if options.items != "all":
            staging.remember_used()
        doubled += _read_items(raw, staging, faults)
    faults.check()
    return doubled


def _good_rows(
    part: Part, faults: Faults, staging: Staging | bool = False
) -> Iterator[tuple[int, Any]]:
    """`(line, parsed row)`; with `staging`, what the rows say of their items goes there."""
    good = 0

    def bad(line: int, reason: str) -> None:
        faults.add(part.path, line, reason, good=good, unit=part.unit, encoding=part.encoding)

    for line, row in part.rows(bad):
        try:
            parsed = part.parse(row)
            if staging and part.texts is not None:
                staging.add_item(*part.texts(row))
        except BadRow as error:
            bad(line, str(error))
            continue
        good += 1
        yield line, parsed
    if not good:
        faults.check()
        faults.hopeless(part.path)


def _read_items(raw: Raw, staging: Staging, faults: Faults) -> int:
    doubled = 0
    add = staging.add_item if raw.items_by is None else staging.complete_items(raw.items_by)
    for part in raw.items:
        with staging.filling():
            for line, row in _good_rows(part, faults):
                if row is None or add(*row):
                    continue
                if raw.one_row_each:
                    faults.add(part.path, line, f"item '{row[0]}' stands there twice")
                doubled += 1
    return doubled


# --- Filters ----------------------------------------------------------------------------------


def _filter(staging: Staging, options: Options) -> list[str]:
    """Apply the filters of the options; what each left out, in words."""
    notes = []

    def note(count: int, what: str) -> None:
        if count:
            notes.append(f"left out {count} interactions {what}")

    if options.known_items:
        note(staging.drop_unknown(), "with items that have no metadata")
    if options.min_rating is not None:
        note(staging.drop_rated_below(options.min_rating), f"rated below {options.min_rating:g}")
    sides = [
        (column, least)
        for column, least in (("user", options.min_user_events), ("item", options.min_item_events))
        if least > 1
    ]
    gone: dict[str, list[int]] = {column: [0, 0] for column, _ in sides}
    changed = bool(sides)
    while changed:
        changed = False
        for column, least in sides:
            names, events = staging.drop_rare(column, least)
            gone[column] = [gone[column][0] + names, gone[column][1] + events]
            changed |= names > 0 and len(sides) > 1
    for column, least in sides:
        note(gone[column][1], f"of {gone[column][0]} {column}s with fewer than {least}")
    if options.last_events is not None:
        most = (
            f"{options.last_events}"
            if options.last_of_longer == options.last_events
            else f"{options.last_events} ({options.last_of_longer} where there are more)"
        )
        note(
            staging.keep_last(options.last_events, options.last_of_longer),
            f"before a user's latest {most}",
        )
    return notes


def _missing(raw: Raw, staging: Staging, options: Options) -> list[str]:
    """Chosen items that have no text under the `item_text` of the YAML, in words."""
    template = options.protocol.get("item_text", raw.item_text)
    if not raw.columns or template is None:
        return []
    named = re.findall(r"\{(\w+)\}", template) if isinstance(template, str) else template
    used = [place for place, column in enumerate(raw.columns) if column in named]
    others = [place for place in range(len(raw.columns)) if place not in used]
    empty = " AND ".join(f"coalesce(text{place}, '') = ''" for place in used)
    query = f"SELECT count(*) FROM chosen LEFT JOIN items USING (item) WHERE {empty}"
    count = staging.one(query)
    if not count:
        return []
    note = f"{count} items have no text"
    if others:
        filled = " OR ".join(f"coalesce(text{place}, '') != ''" for place in others)
        some = staging.one(f"{query} AND ({filled})")
        if some:
            shown = ", ".join(named)
            note += (
                f" ({shown}); {some} of them have another column of .item, which item_text in the "
                "YAML can name"
            )
    return [note]


# --- Writing ----------------------------------------------------------------------------------


def _scene_column(raw: Raw, options: Options) -> str:
    """SQL for the scene of an event."""
    if raw.scenes.get(options.scene) == "item":
        return f"items.text{raw.columns.index(options.scene)}"
    if options.scene == "rating" and "rating" not in raw.scenes:
        return f"CASE WHEN rating >= {options.scene_rating} THEN 'high' ELSE 'low' END"
    return "events.scene"


def _event_lines(
    raw: Raw, staging: Staging, options: Options, no_scene: Counter[str]
) -> Iterator[str]:
    """Lines of `.inter`; events without a scene are counted in `no_scene`."""
    columns = ["events.user", "events.item", "events.time"]
    header = ["user_id:token", "item_id:token", "timestamp:float"]
    if raw.rating:
        columns.insert(2, "events.rating")
        header.insert(2, "rating:float")
    if options.scene is not None:
        columns.append(_scene_column(raw, options))
        header.append("scene:token")
    yield "\t".join(header) + "\n"
    for row in staging.events(", ".join(columns)):
        cells = ["" if value is None else str(value) for value in row]
        if options.scene is not None and bad_token(cells[-1]):
            cells[-1] = NO_SCENE
            no_scene[NO_SCENE] += 1
        yield "\t".join(cells) + "\n"


def _item_lines(raw: Raw, staging: Staging) -> Iterator[str]:
    yield "\t".join(["item_id:token", *(f"{name}:token_seq" for name in raw.columns)]) + "\n"
    for row in staging.items():
        yield "\t".join(row) + "\n"
