"""Tables that DuckDB reads: delimited text that is written as it should be, and Parquet.

What DuckDB would read in another way than Python's csv module, or could not name the line of, is
left to `readers`: these are few files, and it is they that need a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet

from recbole_precise.convert.encodings import UTF8
from recbole_precise.convert.readers import (
    Bad,
    csv_rows,
    find_columns,
    is_packed,
    opened,
    read_header,
    shortened,
    split_lines,
)
from recbole_precise.convert.store import quoted
from recbole_precise.errors import DataError

PARQUET_MARK = b"PAR1"  # the first bytes of every such file
_SEPARATORS = (",", ";", "\t", "|", " ", "::")  # that DuckDB was compared with Python for
_BLOCK = 1 << 20  # bytes looked at together
_LONGEST = 2 << 20  # bytes of a line that DuckDB reads


@dataclass(frozen=True)
class Delimited:
    """A file of delimited text.

    Args:
        columns: names of the columns to read, in this order; for a file without a header, one
            for each of its columns.
        header: whether the first line names the columns; fields may then be quoted.
        encoding: None where the source has no option for it.
    """

    path: Path
    columns: Sequence[str]
    separator: str = ","
    encoding: str | None = None
    header: bool = True

    unit = "line"
    exact = False  # whether the number of a row is its place

    def rows(self, bad: Bad) -> Iterable[tuple[int, list[str]]]:
        """`(line, cells)` of the rows; those that cannot be read go to `bad`."""
        if not self.header:
            return split_lines(self.path, bad, self.separator, len(self.columns))
        return csv_rows(
            self.path, bad, self.columns, separator=self.separator, encoding=self.encoding
        )

    def relation(self) -> str | None:
        """Write SQL with the columns `c0, c1, ...`; None where DuckDB must not read the file."""
        places: Sequence[int] = range(len(self.columns))
        width = len(self.columns)
        if self.header:
            names = read_header(self.path, self.columns, self.separator, self.encoding)
            places = find_columns(self.path, names, self.columns)
            width = len(names)
        if self.encoding not in (None, UTF8) or self.separator not in _SEPARATORS:
            return None
        if not _is_plain(self.path, self.separator, self.header):
            return None
        quote = '"' if self.header else ""
        columns = ", ".join(f"'a{place}': 'VARCHAR'" for place in range(width))
        chosen = ", ".join(f"coalesce(a{p}, '') AS c{n}" for n, p in enumerate(places))
        packed = "gzip" if is_packed(self.path) else "none"
        return (
            f"(SELECT {chosen} FROM read_csv({_literal_path(self.path)}, auto_detect = false, "
            f"columns = {{{columns}}}, delim = {quoted(self.separator)}, quote = '{quote}', "
            f"escape = '{quote}', comment = '', header = {self.header}, compression = '{packed}'))"
        )


@dataclass(frozen=True)
class Parquet:
    """A Parquet file, whose rows are numbered from 1."""

    path: Path
    columns: Sequence[str]

    unit = "row"
    encoding = None
    exact = True

    def rows(self, bad: Bad) -> Iterable[tuple[int, list[str]]]:
        """Never asked for: DuckDB reads the file or none of it."""
        raise NotImplementedError

    def relation(self) -> str:
        """Write SQL with the columns `c0, c1, ...`.

        Raises:
            DataError: this is no Parquet, or lacks a column, or one holds records.
        """
        schema = parquet_schema(self.path)
        places = find_columns(self.path, schema.names, self.columns)
        for column in self.columns:
            kind = schema.field(column).type
            if str(kind).startswith(("struct<", "map<")):
                raise DataError(
                    f"{self.path}: the column '{column}' holds records{_fields_of(kind)}, no "
                    "single values; write what is needed as a column of its own."
                )
        chosen = ", ".join(f"#{place + 1} AS c{number}" for number, place in enumerate(places))
        return f"(SELECT {chosen} FROM read_parquet({_literal_path(self.path)}))"


def parquet_schema(path: Path) -> pyarrow.Schema:
    """Names and types of the columns of a Parquet file.

    Raises:
        DataError: it is none.
    """
    try:
        return pyarrow.parquet.read_schema(path)
    except (OSError, ValueError, TypeError, LookupError, MemoryError, pyarrow.ArrowException) as e:
        raise unreadable_parquet(path, e) from e


def unreadable_parquet(path: Path, error: Exception) -> DataError:
    """Return the error for a file that is a damaged Parquet file, or no Parquet file."""
    return DataError(f"{path}: cannot be read as Parquet ({shortened(error, 200)[1:-1]}).")


def _fields_of(kind: pyarrow.DataType) -> str:
    if not str(kind).startswith("struct<") or not kind.num_fields:
        return ""
    names = [kind.field(place).name for place in range(kind.num_fields)]
    return f" with the fields {', '.join(names)}"


def _literal_path(path: Path) -> str:
    """Write a path in SQL with its pattern signs escaped."""
    return quoted(re.sub(r"([*?\[])", r"[\1]", str(path)))


def _is_plain(path: Path, separator: str, quotes: bool) -> bool:
    """Whether DuckDB reads a file just as Python's csv module does.

    Not when it is no UTF-8, holds NUL bytes or carriage returns that end no line, or has blanks
    around quoted fields, which DuckDB strips; the two were compared on random texts.
    """
    blank = re.compile(
        rb'(?:^|[\n%b]) +"|" +(?:[\r\n%b]|$)' % (2 * (re.escape(separator.encode()),))
    )
    rest = b""
    try:
        with opened(path) as (stream, progress):
            while block := stream.read(_BLOCK):
                progress()
                block = rest + block
                end = block.rfind(b"\n") + 1
                rest = block[end:]
                if len(rest) > _LONGEST or not _is_plain_text(block[:end], blank, quotes):
                    return False
            progress()
            return _is_plain_text(rest, blank, quotes)
    except (UnicodeDecodeError, DataError):
        return False  # `readers` says what is wrong, and where


def _is_plain_text(lines: bytes, blank: re.Pattern[bytes], quotes: bool) -> bool:
    """Return whether whole lines are plain text.

    Raises:
        UnicodeDecodeError: they are no UTF-8.
    """
    if not lines.isascii():
        lines.decode(UTF8)
    if b"\0" in lines or (b"\r" in lines and lines.count(b"\r") != lines.count(b"\r\n")):
        return False
    return not (quotes and b'"' in lines and blank.search(lines))
