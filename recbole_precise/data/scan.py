"""A look over an atomic file before it is parsed.

Its header, and the faults that a parser would pass over in silence.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_precise.errors import DataError

#: What pandas, with which RecBole reads, takes for a missing value.
MISSING = frozenset(
    [
        "",
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
    ]
)

TYPES = ("token", "token_seq", "float", "float_seq")
_BLOCK = 16 << 20
_SHOWN = 5  # faults named in one message


@dataclass(frozen=True)
class Scan:
    """What a file holds.

    Lines after the header that are not blank, and whether quote marks occur.
    """

    rows: int
    quotes: bool


def read_header(path: Path, separator: str, encoding: str) -> list[tuple[str, str]]:
    """`(name, type)` of each column.

    Raises DataError when the file is missing, empty or not text in `encoding`, or when its first
    line is not made of `name:type` with RecBole's types.
    """
    try:
        with Path(path).open(encoding=encoding or "utf-8") as file:
            line = file.readline().rstrip("\r\n").removeprefix("\ufeff")
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not text in {encoding or 'utf-8'} (byte {error.start}); convert it or "
            "set the key `encoding`."
        ) from None
    except UnicodeError as error:  # such as UTF-16 without its byte order mark
        raise DataError(
            f"{path}: cannot be read in {encoding} ({error}); convert it or set the key `encoding`."
        ) from None
    except LookupError:
        raise DataError(
            f"{path}: '{encoding}' (key `encoding`) is no encoding that Python knows."
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None
    if not line.strip():
        raise DataError(
            f"{path}: the file is empty; line 1 must name its columns, for example user_id:token."
        )
    columns: list[tuple[str, str]] = []
    for cell in line.split(separator):
        name, _, kind = cell.partition(":")
        if cell.count(":") != 1 or not name:
            raise DataError(
                f"{path}, line 1: '{cell}' is not of the form name:type (types: "
                f"{', '.join(TYPES)}; columns are separated by {separator!r})."
            )
        if kind not in TYPES:
            raise DataError(
                f"{path}, line 1: column '{name}' has the type '{kind}'; RecBole knows "
                f"{', '.join(TYPES)}."
            )
        if any(name == known for known, _ in columns):
            raise DataError(f"{path}, line 1: the column '{name}' stands there twice.")
        columns.append((name, kind))
    return columns


def check_id_columns(path: Path, types: Mapping[str, str], ids: Iterable[str | None]) -> None:
    """Refuse ids of users or items that are no tokens.

    Args:
        path: the file, for the message.
        types: name of each column -> its type.
        ids: names of the columns with ids; those that the file lacks are passed over.

    Raises:
        DataError: for a column of ids with another type.
    """
    for name in ids:
        kind = types.get(name or "")
        if kind not in (None, "token"):
            raise DataError(
                f"{path}, line 1: the column '{name}' holds one id a row and must have the type "
                f"token, not {kind}: write "
                f"{name}:token."
            )


def check_file(path: Path, separator: str, encoding: str, ids: Iterable[str | None]) -> None:
    """Check a file that another reader is about to read.

    Its header, columns of ids and number of fields.

    Raises:
        DataError: as `read_header`, `check_id_columns` and `scan`.
    """
    header = read_header(path, separator, encoding)
    check_id_columns(path, dict(header), ids)
    if len(separator) == 1 and ascii_compatible(encoding):
        scan(path, separator, len(header))


def ascii_compatible(encoding: str) -> bool:
    """Return whether separators, quote marks and line ends are single bytes.

    Bytes that occur in no other character.
    """
    try:
        return codecs.lookup(encoding or "utf-8").name in (
            "utf-8",
            "utf-8-sig",
            "ascii",
            "iso8859-1",
            "iso8859-15",
            "cp1252",
            "cp1251",
        )
    except LookupError:
        return False


def scan(path: Path, separator: str, columns: int) -> Scan:
    """Check that every line has `columns` fields.

    Lines with quote marks are not counted, because a quoted field may hold separators and line
    breaks. Raises DataError (lines and their numbers of fields) when a line has more or fewer, or
    holds NUL bytes.
    """
    rows = 0
    quotes = False
    faults: list[str] = []
    total = 0
    mark = ord(separator)
    for first_line, block in _blocks(path):
        if not quotes and (block == ord('"')).any():
            quotes = True
        if (block == 0).any():
            raise DataError(
                f"{path}: holds NUL bytes, so it is no plain text (is it UTF-16? then set the "
                "key `encoding`)."
            )
        ends = np.flatnonzero(block == ord("\n"))
        starts = np.concatenate(([0], ends[:-1] + 1))
        fields = np.add.reduceat((block == mark).view(np.uint8), starts, dtype=np.int32) + 1
        odd = (
            np.flatnonzero(fields != columns) if columns > 1 else np.flatnonzero(ends - starts <= 1)
        )
        blank = 0
        for i in odd:
            line = block[starts[i] : ends[i]].tobytes()
            if not line.strip(b" \r\n"):
                blank += 1
            elif columns > 1:
                total += 1
                if len(faults) < _SHOWN:
                    faults.append(
                        f"line {first_line + i} has {fields[i]} field{'s' * bool(fields[i] > 1)}"
                    )
        rows += len(ends) - blank
    if faults and not quotes:
        more = f" and {total - _SHOWN} more lines are wrong" if total > _SHOWN else ""
        raise DataError(
            f"{path}: {'; '.join(faults)}{more}. The header has {columns} columns; mend or "
            "remove these lines."
        )
    return Scan(rows - 1, quotes)


def _blocks(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Yield `(number of the first line, bytes)` of pieces of whole lines.

    Each ends in a line feed.
    """
    line = 1
    rest = b""
    with Path(path).open("rb") as file:
        while piece := file.read(_BLOCK):
            cut = piece.rfind(b"\n") + 1
            if not cut:
                rest += piece
                continue
            block = np.frombuffer(rest + piece[:cut], dtype=np.uint8)
            yield line, block
            line += int((block == ord("\n")).sum())
            rest = piece[cut:]
    if rest:
        yield line, np.frombuffer(rest + b"\n", dtype=np.uint8)


def lines_with(
    path: Path, separator: str, encoding: str, place: int, value: str, most: int = 3
) -> list[int]:
    """Numbers of the first lines whose field number `place` is `value`."""
    found = []
    with Path(path).open(encoding=encoding or "utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            fields = line.rstrip("\r\n").split(separator)
            if number > 1 and place < len(fields) and fields[place].strip('"') == value:
                found.append(number)
                if len(found) == most:
                    break
    return found


def not_numbers(
    path: Path, separator: str, encoding: str, place: int, name: str, *, missing: bool
) -> DataError | None:
    """Return the error that names the lines whose field number `place` is no finite number.

    None when there are no such lines.

    Empty fields count when `missing`.
    """
    faults: list[str] = []
    total = 0
    with Path(path).open(encoding=encoding or "utf-8", errors="replace") as file:
        next(file, None)
        for number, line in enumerate(file, start=2):
            fields = line.rstrip("\r\n").split(separator)
            if len(fields) == 1 and not fields[0].strip():
                continue
            reason = why_no_number(fields[place].strip() if place < len(fields) else "", missing)
            if reason:
                total += 1
                if len(faults) < _SHOWN:
                    faults.append(f"line {number}: {reason}")
    if not faults:
        return None
    more = f"; and {total - _SHOWN} more lines" if total > _SHOWN else ""
    return DataError(
        f"{path}: column '{name}' must hold finite numbers. {'; '.join(faults)}{more}."
    )


def why_no_number(value: str, missing: bool) -> str | None:
    """Why a field (white space at its ends removed) is no finite number, or None when it is one.

    An empty one is none when `missing`.
    """
    if value in ("", "NA", "N/A", "null", "NULL", "None", "NaN", "nan"):
        return "no value" if missing else None
    try:
        number = float(value)
    except ValueError:
        return f"'{value}'"
    return None if np.isfinite(number) and "_" not in value and value.isascii() else f"'{value}'"
