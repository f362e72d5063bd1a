"""Read raw files row by row: JSON lines and delimited text; gzip is seen through.

The memory does not grow with the files.

Every reader yields `(number of the row's first line, row)`, hands rows that it cannot read to
`bad(line, reason)`, and shows its progress in bytes on stderr when that is a terminal.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from tqdm import tqdm

from recbole_precise.convert.encodings import (
    GZIP,
    UTF8,
    encoding_advice,
    guess_encoding,
    guess_separator,
    sample_of,
    splits_at_bytes,
)
from recbole_precise.errors import DataError, did_you_mean

Bad = Callable[[int, str], None]

_LONGEST = 64 << 20  # bytes of one line; a longer one means that this is no text file
_LONGEST_FIELD = 16 << 20  # characters of one CSV field; a longer one means an unclosed quote mark
_LONGEST_HEADER = 400  # characters of the names of columns in a message
_LONGEST_NAME = 100  # characters of a column's name that is proposed
_STEP = 2000  # lines between two looks at the progress
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive or an Excel file",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ\x00": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\xd0\xcf\x11\xe0": "an Excel file",
    b"%PDF-": "a PDF file",
    b"PAR1": "a Parquet file",
    b"SQLite f": "an SQLite data base",
}
#: How every reason begins that says that a row is not text in the encoding of its file.
UNDECODABLE = "it holds bytes that are not"


@contextlib.contextmanager
def opened(
    path: Path, line: Callable[[], int] = lambda: 0, shown: bool = True
) -> Iterator[tuple[BinaryIO, Callable[[], None]]]:
    """Open a file as `(stream of its bytes, unpacked; a function that shows the progress)`.

    Args:
        line: the number of lines read so far, for messages.
        shown: whether progress is shown on a terminal.

    Raises:
        DataError: the file is missing, cannot be read, is damaged, or is an archive of another
            kind.
    """
    try:
        with (
            Path(path).open("rb") as raw,
            tqdm(
                total=path.stat().st_size,
                desc=path.name,
                unit="B",
                unit_scale=True,
                disable=None if shown else True,
                file=sys.stderr,
            ) as bar,
        ):
            _refuse_archive(path, raw.peek(8))
            packed = raw.peek(2)[:2] == GZIP
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            if packed:
                inside = stream.peek(8)
                if inside.startswith(GZIP):
                    raise DataError(
                        f"{path}: is packed with gzip twice; unpack it once (`gzip -d`)."
                    )
                _refuse_archive(path, inside)

            def progress() -> None:
                bar.update(raw.tell() - bar.n)

            yield cast(BinaryIO, stream), progress
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the compressed data are damaged or end early after line {line()} ({error}); "
            "download the file again."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _refuse_archive(path: Path, begin: bytes) -> None:
    for mark, kind in _ARCHIVES.items():
        if begin.startswith(mark):
            raise DataError(
                f"{path}: is {kind}, which convert cannot read; unpack or export it first."
            )


def _lines(path: Path, shown: bool = True) -> Iterator[tuple[int, bytes]]:
    """Yield `(number, line)`, each line with its end.

    Raises:
        DataError: the file is missing, damaged or no text.
    """
    number = 0
    with opened(path, lambda: number, shown) as (stream, progress):
        while line := stream.readline(_LONGEST):
            number += 1
            _refuse_endless(path, number, len(line))
            if number % _STEP == 0:
                progress()
            yield number, line
        progress()


def _refuse_endless(path: Path, number: int, length: int) -> None:
    if length >= _LONGEST:
        raise DataError(
            f"{path}: line {number} is longer than {_LONGEST >> 20} MiB; this is no text file, or "
            "its line ends "
            "are lost."
        )


def _text_lines(path: Path, encoding: str, shown: bool = True) -> Generator[str, None, None]:
    """Yield decoded lines with their ends, without a byte order mark.

    Bytes that are no text become surrogates.

    Raises:
        DataError: as `_lines`; and for an encoding of several bytes a line end, when the file is
            not written in it.
    """
    if splits_at_bytes(encoding):
        for number, line in _lines(path, shown):
            text = line.decode(encoding, "surrogateescape")
            yield text.removeprefix("\ufeff") if number == 1 else text
        return
    number = 0
    with opened(path, lambda: number, shown) as (stream, progress):
        reader = io.TextIOWrapper(stream, encoding, newline="\n")
        try:
            while text := reader.readline(_LONGEST):
                number += 1
                _refuse_endless(path, number, len(text))
                if number % _STEP == 0:
                    progress()
                yield text.removeprefix("\ufeff") if number == 1 else text
        except UnicodeError as error:
            raise DataError(
                f"{path}: line {number + 1} is not {encoding} text; --encoding={encoding} does not "
                "seem to be the "
                "right one."
            ) from error


def json_lines(path: Path, bad: Bad, *, literals: bool = False) -> Iterator[tuple[int, dict]]:
    """Yield one object for each line.

    With `literals`, a line that is no JSON may be a Python literal, as in Amazon's metadata of
    2014.
    """
    for number, line in _lines(path):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            bad(number, f"{UNDECODABLE} UTF-8 (byte {error.start + 1} of the line)")
            continue
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            record = _literal(text) if literals else None
        if isinstance(record, dict):
            yield number, record
        else:
            bad(
                number,
                f"it is no {'Python literal or ' if literals else ''}JSON object: "
                f"{shortened(text)}",
            )


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def split_lines(
    path: Path, bad: Bad, separator: str, fields: int, encodings: Sequence[str] = ("utf-8",)
) -> Iterator[tuple[int, list[str]]]:
    """Yield lines without a header whose fields are never quoted.

    Each line is read in the first of `encodings` that it is text in.
    """
    for number, line in _lines(path):
        text = _decoded(line.rstrip(b"\r\n"), encodings)
        if text is None:
            bad(number, f"{UNDECODABLE} {' or '.join(encodings)}")
        elif text:
            row = text.split(separator)
            if len(row) == fields:
                yield number, row
            else:
                bad(number, f"it has {counted(len(row))} where {fields} are expected")


def _decoded(line: bytes, encodings: Sequence[str]) -> str | None:
    for encoding in encodings:
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def csv_rows(
    path: Path,
    bad: Bad,
    columns: Sequence[str],
    *,
    separator: str = ",",
    encoding: str | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields `columns` of a CSV file with a header.

    A quoted field may hold separators and line ends.

    Args:
        encoding: how the file is written; None: UTF-8, in a source that has no option for it.

    Raises:
        DataError: the header lacks one of `columns` or has it twice, or the file is not text in
            its encoding.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    lines = _text_lines(path, encoding or UTF8)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    header = _header(path, reader, columns, separator, encoding)
    places = find_columns(path, header, columns)
    while True:
        begin = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad(begin, f"it is not proper CSV ({_plain(error)})")
            continue
        if not row:
            continue
        if len(row) != len(header):
            bad(begin, f"it has {counted(len(row))} where the header has {len(header)}")
            continue
        found = [row[place] for place in places]
        if any(not field.isascii() and _broken(field) for field in found):
            bad(begin, f"{UNDECODABLE} {encoding or UTF8}".replace(UTF8, "UTF-8"))
            continue
        yield begin, found


def read_header(
    path: Path, columns: Sequence[str], separator: str, encoding: str | None
) -> list[str]:
    """Return the names of the columns of a CSV file.

    Args:
        columns: those that will be read, for advice about the separator.

    Raises:
        DataError: the first line cannot be read.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    with contextlib.closing(_text_lines(path, encoding or UTF8, shown=False)) as lines:
        reader = csv.reader(lines, delimiter=separator, strict=True)
        return _header(path, reader, columns, separator, encoding)


def is_packed(path: Path) -> bool:
    """Whether a file is gzip."""
    with Path(path).open("rb") as file:
        return file.read(2) == GZIP


def _header(
    path: Path,
    reader: Iterator[list[str]],
    columns: Sequence[str],
    separator: str,
    encoding: str | None,
) -> list[str]:
    """Return the names of the columns of a CSV file.

    Raises:
        DataError: the first line cannot be read; the message names the encoding or the separator
            that is likely.
    """
    try:
        header = next(reader, None)
    except csv.Error as error:
        if "NUL" in str(error):
            raise DataError(
                f"{path}: holds NUL bytes in line 1; {encoding_advice(path, encoding)}."
            ) from None
        if encoding in (None, UTF8) and guess_encoding(sample_of(path)) is not None:
            raise DataError(
                f"{path}: is not UTF-8 text; {encoding_advice(path, encoding)}."
            ) from None
        raise DataError(f"{path}: line 1 is not proper CSV ({_plain(error)}).") from None
    if header is None:
        raise DataError(f"{path}: the file is empty; its first line must name the columns.")
    if not any(name.strip() for name in header):
        raise DataError(f"{path}: line 1 is empty; it must name the columns.")
    if any(_broken(name) for name in header):
        named = (encoding or UTF8).replace(UTF8, "UTF-8")
        raise DataError(f"{path}: is not {named} text; {encoding_advice(path, encoding)}.")
    if set(columns) <= set(header):
        return header
    line = separator.join(header)
    if "\0" in line:
        raise DataError(f"{path}: holds NUL bytes in line 1; {encoding_advice(path, encoding)}.")
    likely = guess_separator(line, columns, separator)
    if likely is not None:
        what = f"read it with --separator={likely}"
        if encoding is None:
            what = f"this source expects '{separator}'"
        raise DataError(
            f"{path}: line 1 names no column '{_first_missing(columns, header)}'; its columns seem "
            "to be separated by "
            f"{likely}: {what}."
        )
    return header


def _first_missing(columns: Sequence[str], header: Sequence[str]) -> str:
    return next(column for column in columns if column not in header)


def _plain(error: csv.Error) -> str:
    """Return the reason that the csv module gives, without its advice to programmers."""
    reason = str(error)
    if "new-line character" in reason:
        return "a carriage return stands where no line ends; lines must end with a line feed"
    return reason


def _broken(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def find_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Return the places of `columns` in a header.

    Raises:
        DataError: columns are missing, all of which are named, or one is in the header twice.
    """
    missing = list(dict.fromkeys(column for column in columns if column not in header))
    if missing:
        near = [name for name in header if len(name) <= _LONGEST_NAME and name.isprintable()]
        hints = "".join(dict.fromkeys(did_you_mean(column, near) for column in missing))
        names = "' and '".join(missing)
        shown = printable(", ".join(header))
        names = printable(names)
        if len(shown) > _LONGEST_HEADER:
            shown = f"{shown[:_LONGEST_HEADER]}..."
        raise DataError(
            f"{path}: line 1 names no column '{names}' (columns: {shown or 'none'}).{hints}"
        )
    for column in columns:
        count = list(header).count(column)
        if count > 1:
            raise DataError(
                f"{path}: line 1 names the column '{column}' {count} times; rename one."
            )
    return [list(header).index(column) for column in columns]


def counted(fields: int) -> str:
    """Write a number of fields."""
    return f"{fields} field{'s' * (fields != 1)}"


def shortened(value: object, most: int = 60) -> str:
    """Shorten a value for a message."""
    text = printable(" ".join(str(value).split()))
    return f"'{text[:most]}...'" if len(text) > most else f"'{text}'"


def printable(text: str) -> str:
    """Return a text that can be written and shown.

    Control characters and broken bytes become escapes.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)
