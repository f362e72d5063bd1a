"""A plain table of events, CSV (.csv, .tsv, gzip or not) or Parquet, whose columns the user names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from recbole_precise.data.convert import values
from recbole_precise.data.convert.pipeline import Part, Raw
from recbole_precise.data.convert.readers import Bad, csv_rows, parquet_rows
from recbole_precise.data.convert.staging import Event
from recbole_precise.errors import ConfigError, DataError

_SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}


def open_raw(
    path: str | Path,
    user: str,
    item: str,
    time: str,
    rating: str | None = None,
    text: str | None = None,
    scene_column: str | None = None,
    item_file: str | Path | None = None,
    separator: str | None = None,
    time_format: str | None = None,
) -> Raw:
    """A table with one event a row.

    Args:
        user, item, time, rating, scene_column: names of columns. A time is a number or an ISO 8601 date (UTC without a zone).
        text: columns with texts of the item, separated by commas; of the same table, or of `item_file`.
        item_file: a table with one item a row; its id stands in the column `item` too.
        separator: of CSV; default: a comma, a tab for .tsv.
        time_format: strptime form of the times, as in `%d/%m/%Y %H:%M`.

    Raises DataError when a file is missing, ConfigError when options do not go together.
    """
    table = _file(path)
    texts = [name.strip() for name in (text or "").split(",") if name.strip()]
    if item_file is not None and not texts:
        raise ConfigError("--item_file is read for texts: name its columns with --text=title,brand.")
    clash = [name for name in texts if name == "item_id" or not name.isidentifier()]
    if len(set(texts)) < len(texts) or clash:
        raise ConfigError(f"--text: '{(clash or texts)[0]}' cannot name a column of .item; names are letters, digits and _, each once, and not item_id.")
    own_texts = texts if item_file is None else []
    named = [user, item, time, *([rating] if rating else []), *([scene_column] if scene_column else [])]

    def event(row: Sequence[Any]) -> list[Event]:
        cells = dict(zip(named, row))
        return [
            Event(
                values.token(cells[user], user),
                values.token(cells[item], item),
                values.moment(cells[time], time, time_format),
                values.number(cells[rating], rating) if rating else None,
                values.text(cells[scene_column], unescape=False) if scene_column else None,
            )
        ]

    def texts_of(row: Sequence[Any]) -> tuple[str, list[str], bool]:
        return values.token(row[1], item), [values.text(cell) for cell in row[len(named) :]], True

    items: list[Part] = []
    if item_file is not None:
        file = _file(item_file)
        items.append(Part(file, _rows(file, [item, *texts], separator), partial(_item, column=item), unit=_unit(file)))
    return Raw(
        columns=tuple(texts),
        events=[Part(table, _rows(table, [*named, *own_texts], separator), event, texts=texts_of if own_texts else None, unit=_unit(table))],
        items=items,
        rating=rating is not None,
        item_text=" ".join(f"{{{name}}}" for name in texts[:1]) or None,
        scenes={scene_column: "event"} if scene_column else {},
    )


def _item(row: Sequence[Any], column: str) -> tuple[str, list[str]]:
    return values.token(row[0], column), [values.text(cell) for cell in row[1:]]


def _file(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder; give the file itself' if path.is_dir() else 'there is no such file'}.")
    return path


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() in (".parquet", ".pq")


def _unit(file: Path) -> str:
    return "row" if _is_parquet(file) else "line"


def _rows(file: Path, columns: Sequence[str], separator: str | None) -> Callable[[Bad], Iterable[tuple[int, Any]]]:
    if _is_parquet(file):
        return lambda bad: parquet_rows(file, columns)
    if separator is None:
        separator = "\t" if ".tsv" in file.suffixes else ","
    separator = _SEPARATORS.get(separator, separator)
    if len(separator) != 1:
        raise ConfigError(f"--separator is one character (or tab, comma, semicolon), not '{separator}'.")
    return partial(csv_rows, file, columns=columns, separator=separator)
