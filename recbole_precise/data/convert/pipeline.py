"""From the rows of a raw download to atomic files: staged on disk, filtered, put in order, written together."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_precise.data.convert.atomic import Converted, bad_token, write_together
from recbole_precise.data.convert.faults import BadRow, Faults
from recbole_precise.data.convert.options import Options
from recbole_precise.data.convert.readers import Bad
from recbole_precise.data.convert.recipe import recipe
from recbole_precise.data.convert.staging import Event, Staging
from recbole_precise.errors import ConfigError, DataError, did_you_mean

_CHUNK = 20_000  # events handed to the database at once
NO_SCENE = "unknown"


@dataclass(frozen=True)
class Part:
    """One raw file.

    Args:
        rows: `rows(bad)` yields `(line, row)` and gives rows that cannot be read to `bad(line, reason)`.
        parse: of a file of events, `parse(row)` gives the Events in a row; of a file of items, `(key, texts)` or None.
            Raises BadRow.
        texts: of a file of events whose rows also describe their item: `texts(row)` gives `(item, texts, known)`,
            `known` being whether these are all its texts.
        unit: what `line` counts.
    """

    path: Path
    rows: Callable[[Bad], Iterable[tuple[int, Any]]]
    parse: Callable[[Any], Any]
    texts: Callable[[Any], tuple[str, Sequence[str], bool]] | None = None
    unit: str = "line"


@dataclass(frozen=True)
class Raw:
    """An opened download, nothing of it read yet.

    Args:
        columns: names of the items' texts.
        rating: whether events have ratings.
        item_text: the template over `columns` that the YAML proposes.
        scenes: name of a scene -> `event` (Events carry it) or `item` (it is one of `columns`).
        items_first: read the items before the events; all of them are then kept while reading.
        items_by: the text column that files of items have as their key, when it is not the item's id.
        one_row_each: whether a second row for an item is a bad row; else the first is kept.
        counts: what `parse` left out and why, filled while reading.
    """

    columns: tuple[str, ...]
    events: Sequence[Part]
    items: Sequence[Part] = ()
    rating: bool = False
    item_text: str | Sequence[str] | None = None
    scenes: Mapping[str, str] = field(default_factory=dict)
    items_first: bool = False
    items_by: str | None = None
    one_row_each: bool = False
    counts: Counter[str] = field(default_factory=Counter)


def write_dataset(raw: Raw, output: Path, options: Options) -> Converted:
    """Write `<output>/<name>.inter`, `.item` (when there are texts or items) and `.yaml`, the name being the folder's.

    Raises DataError for rows that cannot be used (see Faults) and when nothing is left; ConfigError for an unknown scene.
    Then no file is written.
    """
    _check_scene(raw, options)
    name, folder = output.resolve().name, _existing(output)
    try:
        temporary = tempfile.TemporaryDirectory(prefix=".convert-", dir=folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror or error}); choose another output folder or make room.") from error
    with temporary as place, contextlib.closing(Faults(options.skip_bad_rows, Path(place, "bad_rows.tsv"))) as faults:
        with contextlib.closing(Staging(Path(place), raw.columns)) as staging:
            doubled = _read(raw, staging, faults, options)
            notes = [*faults.summary(), *(f"left out {count} {what}" for what, count in raw.counts.items()), *_filter(raw, staging, options)]
            if doubled:
                notes.append(f"{doubled} further rows about an item that has one: the first is kept")
            interactions, users = staging.one("SELECT count(*) FROM events"), staging.count_users()
            if not interactions:
                raise DataError(f"{raw.events[0].path.parent}: no interaction is left ({'; '.join(notes) or 'the files hold none'}).")
            items = staging.count_items(everything=options.items == "all")
            contents: dict[Path, Iterable[str]] = {}
            if raw.items or raw.columns:
                contents[output / f"{name}.item"] = _item_lines(raw, staging)
            contents[output / f"{name}.inter"] = _event_lines(raw, staging, options)
            contents[output / f"{name}.yaml"] = recipe(name, raw, options)
            if faults.total:
                faults.close()
                contents[output / f"{name}.bad_rows.tsv"] = open(faults.listing, encoding="utf-8", newline="\n")  # noqa: SIM115 - read once
            notes += _missing(raw, staging)
            write_together(contents)
    return Converted(users, items, interactions, tuple(sorted(contents, key=lambda path: path.suffix != ".inter")), tuple(notes))


def _existing(folder: Path) -> Path:
    """The nearest folder above (or at) `folder` that exists."""
    return next((place for place in (folder, *folder.resolve().parents) if place.is_dir()), Path("."))


# --- Reading ----------------------------------------------------------------------------------------------------------


def _read(raw: Raw, staging: Staging, faults: Faults, options: Options) -> int:
    """Stage all rows; the number of rows about an item that had one. Raises DataError for bad rows."""
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


def _good_rows(part: Part, faults: Faults, staging: Staging | bool = False) -> Iterator[tuple[int, Any]]:
    """`(line, parsed row)`; with `staging`, what the rows say of their items goes there."""
    good = 0

    def bad(line: int, reason: str) -> None:
        faults.add(part.path, line, reason, good=good, unit=part.unit)

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


# --- Filters ----------------------------------------------------------------------------------------------------------


def _filter(raw: Raw, staging: Staging, options: Options) -> list[str]:
    """Apply the filters of the options; what each left out, in words."""
    notes = []

    def note(count: int, what: str) -> None:
        if count:
            notes.append(f"left out {count} interactions {what}")

    if options.known_items:
        note(staging.drop_unknown(), "with items that have no metadata")
    if options.min_rating is not None:
        if not raw.rating:
            raise ConfigError("min_rating: these interactions have no ratings.")
        note(staging.drop_rated_below(options.min_rating), f"rated below {options.min_rating:g}")
    sides = [(column, least) for column, least in (("user", options.min_user_events), ("item", options.min_item_events)) if least > 1]
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
        most = f"{options.last_events}" if options.last_of_longer == options.last_events else f"{options.last_events} ({options.last_of_longer} where there are more)"
        note(staging.keep_last(options.last_events, options.last_of_longer), f"before a user's latest {most}")
    return notes


def _missing(raw: Raw, staging: Staging) -> list[str]:
    """Chosen items without text, in words."""
    if not raw.columns:
        return []
    empty = " AND ".join(f"coalesce(text{i}, '') = ''" for i in range(len(raw.columns)))
    count = staging.one(f"SELECT count(*) FROM chosen LEFT JOIN items USING (item) WHERE {empty}")
    return [f"{count} items have no text"] if count else []


# --- Writing ----------------------------------------------------------------------------------------------------------


def _check_scene(raw: Raw, options: Options) -> None:
    known = [*raw.scenes, *(["rating"] if raw.rating else [])]
    if options.scene is not None and options.scene not in known:
        there = f"This source has the scenes {', '.join(known)}." if known else "This source has none."
        raise ConfigError(f"scene: there is no '{options.scene}' here.{did_you_mean(options.scene, known)} {there}")


def _scene_column(raw: Raw, options: Options) -> str:
    """SQL for the scene of an event."""
    if raw.scenes.get(options.scene) == "item":
        return f"items.text{raw.columns.index(options.scene)}"
    if options.scene == "rating" and "rating" not in raw.scenes:
        return f"CASE WHEN rating >= {options.scene_rating} THEN 'high' ELSE 'low' END"
    return "events.scene"


def _event_lines(raw: Raw, staging: Staging, options: Options) -> Iterator[str]:
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
        yield "\t".join(cells) + "\n"


def _item_lines(raw: Raw, staging: Staging) -> Iterator[str]:
    yield "\t".join(["item_id:token", *(f"{name}:token_seq" for name in raw.columns)]) + "\n"
    for row in staging.items():
        yield "\t".join(row) + "\n"
