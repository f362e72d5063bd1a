"""A plain table of events, CSV (.csv, .tsv, gzip or not) or Parquet, with columns to name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_precise.convert import files, values
from recbole_precise.convert.cells import Field
from recbole_precise.convert.encodings import (
    UTF8,
    checked_encoding,
    checked_separator,
    is_utf8_beyond_ascii,
    sample_of,
)
from recbole_precise.convert.reading import Raw, Table
from recbole_precise.convert.tables import PARQUET_MARK, Delimited, Parquet, parquet_schema
from recbole_precise.errors import ConfigError


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
    encoding: str | None = None,
    time_format: str | None = None,
) -> Raw:
    """Open a table with one event in each row.

    Args:
        user, item, time, rating, scene_column: names of columns. A time is a number or an ISO 8601
            date (UTC without a zone).
        text: columns with texts of the item, separated by commas; of the same table, or of
            `item_file`.
        item_file: a table with one item in each row; its id is in the column `item` too.
        separator: of CSV; default: a comma, a tab for .tsv.
        encoding: of CSV; default: UTF-8.
        time_format: strptime form of the times, as in `%d/%m/%Y %H:%M`.

    Raises:
        DataError: a file is missing.
        ConfigError: options do not go together.
    """
    tables = files.some(path)
    texts = _text_columns(text)
    if item_file is not None and not texts:
        raise ConfigError(
            "--item_file is read for texts: name its columns with --text=title,brand."
        )
    others = [] if item_file is None else files.some(item_file)
    _check_roles({"user": user, "item": item, "time": time, "rating": rating})
    if time_format is not None:
        values.checked_form(time_format)
        for table in tables:
            _check_times_are_text(table, time)
    reading = _Reading(separator, encoding)
    if all(map(_is_parquet, [*tables, *others])):
        reading.refuse_options([*tables, *others])
    of_item = [Field("text", name, "text") for name in texts]
    event = [
        Field("user", user, "token"),
        Field("item", item, "token"),
        Field("time", time, "moment", form=time_format),
    ]
    if rating is not None:
        event.append(Field("rating", rating, "number"))
    if scene_column is not None:
        event.append(Field("scene", scene_column, "text", unescape=False))
    own = bool(texts) and not others
    return Raw(
        columns=tuple(texts),
        events=[
            reading.table(table, [*event, *of_item] if own else event, own) for table in tables
        ],
        items=[reading.table(table, [Field("item", item, "token"), *of_item]) for table in others],
        rating=rating is not None,
        item_text=_item_text(texts),
        scenes={} if scene_column is None else {scene_column: "event"},
        scene=scene_column,
        notes=reading.notes([*tables, *others]),
    )


def _text_columns(text: str | None) -> list[str]:
    """Return the columns that --text names.

    Raises:
        ConfigError: a name is one that .item cannot have.
    """
    texts = [name.strip() for name in (text or "").split(",") if name.strip()]
    if text is not None and not texts:
        raise ConfigError(
            "--text names no column: give the columns of the items' texts, as in "
            "--text=title,brand."
        )
    clash = [name for name in texts if name == "item_id" or not name.isidentifier()]
    if len(set(texts)) < len(texts) or clash:
        wrong = clash[0] if clash else next(name for name in texts if texts.count(name) > 1)
        raise ConfigError(
            f"--text: '{wrong}' cannot name a column of .item; names are letters, digits and _, "
            "each once, and not "
            "item_id."
        )
    return texts


def _check_roles(columns: Mapping[str, str | None]) -> None:
    """Raise a ConfigError when one column is to be two of user, item, time and rating."""
    roles: dict[str, str] = {}
    for role, column in columns.items():
        if column is None:
            continue
        if column in roles:
            raise ConfigError(
                f"--{roles[column]} and --{role} both name the column '{column}'; each has its own."
            )
        roles[column] = role


def _check_times_are_text(table: Path, time: str) -> None:
    """Check that a form of texts is not given for a column of times or numbers.

    Raises:
        ConfigError: it is given for such a column of Parquet.
    """
    if not _is_parquet(table):
        return
    schema = parquet_schema(table)
    kind = str(schema.field(time).type) if time in schema.names else "string"
    if not any(word in kind for word in ("string", "binary")):
        raise ConfigError(
            f"--time_format is for times that are text; the column '{time}' of {table} holds "
            f"{kind}: leave it out."
        )


def _item_text(texts: Sequence[str]) -> str | list[str] | None:
    """Return the item's text that the YAML proposes.

    It is made of all columns, so that an item with one of them has a text.
    """
    if len(texts) > 1:
        return list(texts)
    return f"{{{texts[0]}}}" if texts else None


def _is_parquet(file: Path) -> bool:
    if file.suffix.lower() in (".parquet", ".pq"):
        return True
    return sample_of(file)[: len(PARQUET_MARK)] == PARQUET_MARK


class _Reading:
    """How tables are read: the separator and the encoding of those that are CSV."""

    def __init__(self, separator: str | None, encoding: str | None) -> None:
        self._given = {"separator": separator, "encoding": encoding}
        self._separator = None if separator is None else checked_separator(separator)
        self._encoding = UTF8 if encoding is None else checked_encoding(encoding)

    def refuse_options(self, tables: Sequence[Path]) -> None:
        """Raise a ConfigError for an option of CSV where there is none."""
        for key, value in self._given.items():
            if value is not None:
                names = " and ".join(table.name for table in tables)
                raise ConfigError(f"--{key} is for CSV files; {names} is Parquet: leave it out.")

    def table(self, file: Path, fields: Sequence[Field], describes: bool = False) -> Table:
        """Return a file and what its columns are.

        Args:
            describes: whether rows of events also describe their item.
        """
        columns = [field.name for field in fields]
        if _is_parquet(file):
            return Table(Parquet(file, columns), fields, describes or None)
        separator = self._separator or ("\t" if ".tsv" in file.suffixes else ",")
        text = Delimited(file, columns, separator, self._encoding)
        return Table(text, fields, describes or None)

    def notes(self, tables: Sequence[Path]) -> list[str]:
        """Say what looks wrong about the encoding that was given, in one sentence for a file."""
        if self._encoding == UTF8:
            return []
        notes = []
        for table in tables:
            if not _is_parquet(table) and is_utf8_beyond_ascii(sample_of(table)):
                notes.append(
                    f"{table.name} looks like UTF-8 text but was read as {self._encoding}: leave "
                    "out --encoding if "
                    "names and texts look wrong"
                )
        return notes
