"""The files that the authors of PAD released: one CSV of user histories, one of item titles."""

from __future__ import annotations

import ast
import csv
import html
import sys
from collections.abc import Iterator
from pathlib import Path

from recbole_precise.data.convert.atomic import Converted, bad_token, text_field, write_table
from recbole_precise.errors import DataError, did_you_mean

_SHOWN = 5  # faults named in one message


def convert(input_dir: str | Path, output_dir: str | Path, *, unescape: bool = True) -> Converted:
    """Write `<output_dir>/<name>.inter` and `.item`, where the name is that of the folder.

    Reads `<X>_cleaned_history.csv` (columns user, history: a Python list of item ids in order) and `metadata_<X>.csv`
    (columns asin, title). The histories carry no times, so an event's time is its place in its user's history: 0, 1, ...
    Every item of the metadata becomes a row of `.item`, thus a candidate.

    Args:
        unescape: turn HTML entities in titles (`&amp;`) into the characters that they stand for.

    Raises DataError naming file and lines, all faults of a file at once: a file or column is missing, a history is not a
    list of ids, is empty or names an item without metadata, a user or an item stands there twice, an id cannot be written.
    """
    source, output = Path(input_dir), Path(output_dir)
    if not source.is_dir():
        raise DataError(f"{source}: there is no such folder; give the folder that holds PAD's CSV files.")
    history_file = _only(source, "*_cleaned_history.csv", "the users' histories")
    name = history_file.name.removesuffix("_cleaned_history.csv")
    titles_file = _only(source, f"metadata_{name}.csv", "the items' titles")

    titles = _titles(titles_file, unescape)
    histories = _histories(history_file, titles, titles_file)
    inter, item = output / f"{output.resolve().name}.inter", output / f"{output.resolve().name}.item"
    write_table(item, ["item_id:token", "title:token_seq"], titles.items())
    events = ((user, asin, place) for user, history in histories.items() for place, asin in enumerate(history))
    write_table(inter, ["user_id:token", "item_id:token", "timestamp:float"], events)
    return Converted(len(histories), len(titles), sum(map(len, histories.values())), (inter, item))


def _only(folder: Path, pattern: str, what: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{folder}: {len(found)} files match {pattern} ({', '.join(f.name for f in found)}); keep one in the folder.")
    there = ", ".join(sorted(f.name for f in folder.iterdir())[:10]) or "nothing"
    raise DataError(f"{folder}: {pattern} with {what} is missing (the folder holds: {there}).")


def _read_csv(path: Path, wanted: tuple[str, str]) -> Iterator[tuple[int, str, str]]:
    """`(line, value, value)` of the two wanted columns."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            for column in wanted:
                if column not in header:
                    raise DataError(f"{path}: line 1 names no column '{column}' (columns: {', '.join(header) or 'none'}).{did_you_mean(column, header)}")
            places = [header.index(column) for column in wanted]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(f"{path}: line {reader.line_num} has {len(row)} fields where the header has {len(header)}.")
                yield reader.line_num, row[places[0]].strip(), row[places[1]]
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num} is not proper CSV ({error}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start}); convert it to UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _titles(path: Path, unescape: bool) -> dict[str, str]:
    titles: dict[str, str] = {}
    faults: list[str] = []
    for line, asin, title in _read_csv(path, ("asin", "title")):
        reason = bad_token(asin) or ("it stands there twice" if asin in titles else None)
        if reason:
            faults.append(f"line {line}: item '{asin}': {reason}")
        titles[asin] = text_field(html.unescape(title) if unescape else title)
    _raise(path, faults, "Every item needs one row and an id of its own.")
    if not titles:
        raise DataError(f"{path}: holds no items, only a header.")
    return titles


def _histories(path: Path, titles: dict[str, str], titles_file: Path) -> dict[str, list[str]]:
    histories: dict[str, list[str]] = {}
    faults: list[str] = []
    for line, user, text in _read_csv(path, ("user", "history")):
        reason = bad_token(user) or ("it stands there twice" if user in histories else None)
        if reason:
            faults.append(f"line {line}: user '{user}': {reason}")
            continue
        try:
            history = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            history = None
        if not isinstance(history, list) or not all(isinstance(asin, str) for asin in history):
            faults.append(f"line {line}: the history of user '{user}' is not a list of ids like ['B000', 'B001']")
            continue
        if not history:
            faults.append(f"line {line}: the history of user '{user}' is empty")
        unknown = [asin for asin in history if asin not in titles]
        if unknown:
            faults.append(f"line {line}: item '{unknown[0]}' of user '{user}' is not in {titles_file.name}")
        histories[user] = history
    _raise(path, faults, "Mend or remove these lines.")
    if not histories:
        raise DataError(f"{path}: holds no users, only a header.")
    return histories


def _raise(path: Path, faults: list[str], mend: str) -> None:
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise DataError(f"{path}: {'; '.join(faults[:_SHOWN])}{more}. {mend}")
