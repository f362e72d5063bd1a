"""Raw files row by row, in memory that does not grow with them: JSON lines, delimited text, Parquet; gzip is seen through.

Every reader yields `(number of the row's first line, row)`, hands rows that it cannot read to `bad(line, reason)`, and
shows its progress in bytes on stderr when that is a terminal.
"""

from __future__ import annotations

import ast
import csv
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from recbole_precise.errors import ConfigError, DataError, did_you_mean

Bad = Callable[[int, str], None]

_LONGEST = 64 << 20  # bytes of one line; a longer one means that this is no text file
_LONGEST_FIELD = 16 << 20  # characters of one CSV field; a longer one means an unclosed quote mark
_STEP = 2000  # lines between two looks at the progress


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """`(number, line)` with its line end. Raises DataError when the file is missing, damaged or no text."""
    number = 0
    try:
        with (
            open(path, "rb") as raw,
            tqdm(total=path.stat().st_size, desc=path.name, unit="B", unit_scale=True, disable=None, file=sys.stderr) as bar,
        ):
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            while line := stream.readline(_LONGEST):
                number += 1
                if len(line) == _LONGEST:
                    raise DataError(f"{path}: line {number} is longer than {_LONGEST >> 20} MiB; this is no text file, or its line ends are lost.")
                if number % _STEP == 0:
                    bar.update(raw.tell() - bar.n)
                yield number, line
            bar.update(raw.tell() - bar.n)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the compressed data are damaged or end early after line {number} ({error}); download the file again.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


def json_lines(path: Path, bad: Bad, *, literals: bool = False) -> Iterator[tuple[int, dict]]:
    """One object a line; with `literals`, a line that is no JSON may be a Python literal, as in Amazon's metadata of 2014."""
    for number, line in _lines(path):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            bad(number, f"byte {error.start + 1} of the line is not UTF-8")
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
            bad(number, f"it is no {'Python literal or ' if literals else ''}JSON object: {shortened(text)}")


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def split_lines(path: Path, bad: Bad, separator: str, fields: int, encodings: Sequence[str] = ("utf-8",)) -> Iterator[tuple[int, list[str]]]:
    """Lines without a header whose fields are never quoted; each line is read in the first of `encodings` that it is text in."""
    for number, line in _lines(path):
        text = _decoded(line.rstrip(b"\r\n"), encodings)
        if text is None:
            bad(number, f"it is not {' or '.join(encodings)} text")
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


def csv_rows(path: Path, bad: Bad, columns: Sequence[str], *, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """The fields `columns` of a CSV file with a header; a quoted field may hold separators and line ends.

    Raises DataError when the header lacks one of `columns`.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader((line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape") for number, line in _lines(path)), delimiter=separator, strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise DataError(f"{path}: line 1 is not proper CSV ({error}).") from None
    if any(_broken(name) for name in header):
        raise DataError(f"{path}: is not UTF-8 text; convert the file (for example `iconv -f utf-16 -t utf-8`).")
    places = find_columns(path, header, columns)
    while True:
        begin = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad(begin, f"it is not proper CSV ({error})")
            continue
        if not row:
            continue
        if len(row) != len(header):
            bad(begin, f"it has {counted(len(row))} where the header has {len(header)}")
            continue
        found = [row[place] for place in places]
        if any(not field.isascii() and _broken(field) for field in found):
            bad(begin, "it holds bytes that are not UTF-8")
            continue
        yield begin, found


def _broken(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def find_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> list[int]:
    """The places of `columns` in a header; a DataError names all that are missing."""
    missing = [column for column in columns if column not in header]
    if missing:
        hints = "".join(did_you_mean(column, header) for column in missing)
        names = "' and '".join(missing)
        raise DataError(f"{path}: line 1 names no column '{names}' (columns: {', '.join(header) or 'none'}).{hints}")
    return [list(header).index(column) for column in columns]


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list]]:
    """The fields `columns` of a Parquet file, read a batch at a time; rows are numbered from 1.

    Raises ConfigError when pyarrow is not installed, DataError when the file is none or lacks a column.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(f"{path}: Parquet files are read by pyarrow: run `pip install pyarrow`.") from None
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            find_columns(path, file.schema_arrow.names, columns)
            with tqdm(total=file.metadata.num_rows, desc=path.name, unit="rows", unit_scale=True, disable=None, file=sys.stderr) as bar:
                for batch in file.iter_batches(batch_size=16384, columns=list(dict.fromkeys(columns))):
                    for row in zip(*(batch.column(name).to_pylist() for name in columns)):
                        number += 1
                        yield number, list(row)
                    bar.update(batch.num_rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet after row {number} ({' '.join(str(error).split())}).") from error


def counted(fields: int) -> str:
    return f"{fields} field{'s' * (fields != 1)}"


def shortened(value: object, most: int = 60) -> str:
    """A value as a message shows it."""
    text = " ".join(str(value).split())
    return f"'{text[:most]}...'" if len(text) > most else f"'{text}'"
