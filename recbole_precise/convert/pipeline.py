"""From a raw download to atomic files: read, filtered, put in order, written together."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

import duckdb

from recbole_precise.convert import values
from recbole_precise.convert.atomic import Converted
from recbole_precise.convert.faults import Faults
from recbole_precise.convert.options import Options
from recbole_precise.convert.output import check_inputs_stay, files_of
from recbole_precise.convert.reading import Raw, read
from recbole_precise.convert.recipe import recipe
from recbole_precise.convert.store import NO_SCENE, Store, disk_reason, number_sql, tie_order
from recbole_precise.data.workplace import publish, remove_leftovers, workplace
from recbole_precise.errors import DataError

_SHOWN_ZONES = 4  # zones of times named in one message


def write_dataset(raw: Raw, output: Path, options: Options) -> Converted:
    """Write `<output>/<name>.inter`, `.item` (when there are texts or items) and `.yaml`.

    The name is the folder's. The files appear together when all of them are complete; what an
    earlier conversion left there is replaced.

    Raises:
        DataError: rows cannot be used (see Faults), nothing is left, or the disk cannot be written.
        ConfigError: a file would replace one that is read.
    """
    check_inputs_stay(output, [part.path for part in (*raw.events, *raw.items)])
    try:
        with workplace(output if output.is_dir() else output.parent, "convert") as place:
            remove_leftovers(output.parent, "convert")
            return _write_in(place, raw, output, options)
    except (OSError, duckdb.Error) as error:
        reason = disk_reason(error) if isinstance(error, duckdb.Error) else error.strerror or error
        raise DataError(
            f"{output}: cannot be written ({reason}); choose another output folder or make room."
        ) from error


def _write_in(place: Path, raw: Raw, output: Path, options: Options) -> Converted:
    """Convert within the temporary folder `place`, then move the finished files to `output`."""
    name = output.name
    ready = place / "ready"
    ready.mkdir()
    with (
        contextlib.closing(Faults(options.skip_bad_rows, ready / f"{name}.bad_rows.tsv")) as faults,
        contextlib.closing(Store(place, raw.columns)) as store,
    ):
        doubled = read(raw, store, faults, options.items == "all")
        notes = [
            *faults.summary(),
            *(f"left out {count} {what}" for what, count in raw.counts.items() if count),
            *_filter(store, options),
        ]
        if doubled:
            notes.append(f"{doubled} further rows about an item that has one: the first is kept")
        interactions = store.one("SELECT count(*) FROM events")
        if not interactions:
            reasons = "; ".join(notes) or "the files hold none"
            raise DataError(f"{raw.events[0].path.parent}: no interaction is left ({reasons}).")
        store.settle_choice(everything=options.items == "all")
        users = store.one("SELECT count(*) FROM users")
        items = store.one("SELECT count(*) FROM chosen")
        endings = _write_files(ready / name, raw, store, options, notes)
        if faults.total:
            endings.append("bad_rows.tsv")
    written = [output / f"{name}.{ending}" for ending in endings]
    stale = [path for path in files_of(output) if path not in written]
    # `.inter`, without which there is no data set, comes last.
    publish({path: ready / path.name for path in reversed(written)}, stale, place / "replaced")
    return Converted(users, items, interactions, tuple(written), tuple(notes))


def _write_files(
    base: Path, raw: Raw, store: Store, options: Options, notes: list[str]
) -> list[str]:
    """Write the files `<base>.<ending>`, add to `notes` what to report, return the endings."""
    endings = ["inter", "yaml"]
    if raw.items or raw.columns:
        store.write_items(
            Path(f"{base}.item"),
            ["item_id:token", *(f"{column}:token_seq" for column in raw.columns)],
        )
        endings.insert(1, "item")
    header = ["user_id:token", "item_id:token", "timestamp:float"]
    if raw.rating:
        header.insert(2, "rating:float")
    if options.scene is not None:
        header.append("scene:token")
    scene = None if options.scene is None else _scene(raw, options)
    without = store.write_events(Path(f"{base}.inter"), header, raw.rating, scene, _tie(options))
    with Path(f"{base}.yaml").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(recipe(base.name, raw, options))
    if options.changes:
        notes.append(f"the preset {options.preset} is changed by {', '.join(options.changes)}")
    notes += [*_times(raw.zones), *raw.notes]
    if without:
        notes.append(f"{without} interactions have no scene: theirs is '{NO_SCENE}'")
    notes += _missing(raw, store, options)
    return endings


def _scene(raw: Raw, options: Options) -> str:
    """Write SQL for the scene of an event."""
    if raw.is_of_items(options.scene):
        return f"items.text{raw.columns.index(options.scene)}"
    if options.scene == "rating" and "rating" not in raw.scenes:
        high = f"{number_sql('rating')} >= {options.scene_rating!r}"
        return f"(CASE WHEN {high} THEN 'high' ELSE 'low' END)"
    return "events.scene"


def _tie(options: Options) -> str:
    return tie_order(options.tie_seed if options.tie_break == "random" else None)


def _times(zones: Mapping[str, int]) -> list[str]:
    """Say in words what the kinds of times (see `values.moment`) mean for what was written."""
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


def _filter(store: Store, options: Options) -> list[str]:
    """Apply the filters of the options; what each left out, in words."""
    notes = []

    def note(count: int, what: str) -> None:
        if count:
            notes.append(f"left out {count} interactions {what}")

    if options.known_items:
        note(store.drop_unknown(), "with items that have no metadata")
    if options.min_rating is not None:
        note(store.drop_rated_below(options.min_rating), f"rated below {options.min_rating:g}")
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
            names, events = store.drop_rare(column, least)
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
            store.keep_last(
                options.last_events, options.last_of_longer or options.last_events, _tie(options)
            ),
            f"before a user's latest {most}",
        )
    return notes


def _missing(raw: Raw, store: Store, options: Options) -> list[str]:
    """Chosen items that have no text under the `item_text` of the YAML, in words."""
    template = options.protocol.get("item_text", raw.item_text)
    if not raw.columns or template is None:
        return []
    named = re.findall(r"\{(\w+)\}", template) if isinstance(template, str) else template
    used = [place for place, column in enumerate(raw.columns) if column in named]
    others = [place for place in range(len(raw.columns)) if place not in used]
    empty = " AND ".join(f"coalesce(text{place}, '') = ''" for place in used)
    query = f"SELECT count(*) FROM chosen LEFT JOIN items USING (item) WHERE {empty}"
    count = store.one(query)
    if not count:
        return []
    note = f"{count} items have no text"
    if others:
        filled = " OR ".join(f"coalesce(text{place}, '') != ''" for place in others)
        some = store.one(f"{query} AND ({filled})")
        if some:
            shown = ", ".join(named)
            note += (
                f" ({shown}); {some} of them have another column of .item, which item_text in the "
                "YAML can name"
            )
    return [note]
