"""Atomic files read with the values that RecBole reads, in less time and memory."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_precise.data.beforehand import part_numbers
from recbole_precise.data.reading import read_columns
from recbole_precise.data.scan import (
    Scan,
    ascii_compatible,
    check_id_columns,
    lines_with,
    not_numbers,
    read_header,
    scan,
)
from recbole_precise.data.scenes import check_columns
from recbole_precise.data.tokens import codes_of, keep_by_count, number_together
from recbole_precise.errors import DataError, did_you_mean


@dataclass(frozen=True)
class FileSettings:
    """Where the atomic files of a data set are, and how they are written.

    Attributes:
        folder: the directory of the data set.
        name: of the data set, the stem of its files.
        user: column of the users.
        item: column of the items.
        time: column of the times.
        separator: between the columns of a line.
        encoding: of the text.
        seq_separator: between the values of a list.
        seq_len: column -> values of a list that are kept at most.
        list_suffix: what the name of a list column has behind that of its single values.
        parts: names of the files that were split beforehand, None for a single file.
        asks_columns: whether the user's settings say which columns are read.
        asked: those of .inter, None where all are read.
        scenes: the settings that say which events are in which scene.
    """

    folder: Path
    name: str
    user: str
    item: str
    time: str
    separator: str = "\t"
    encoding: str = "utf-8"
    seq_separator: str = " "
    seq_len: Mapping[str, int] | None = None
    list_suffix: str = "_list"
    parts: tuple[str, ...] | None = None
    asks_columns: bool = False
    asked: Sequence[str] | None = None
    scenes: Mapping[str, Any] = field(default_factory=dict)


class AtomicFiles:
    """The files of a data set.

    Args:
        settings: where they are, and how they are written.

    Attributes:
        row_lists: of files split beforehand whose rows give their histories: list column -> column
            of the target; else empty. `check_parts` finds them.
    """

    def __init__(self, settings: FileSettings) -> None:
        self.settings = settings
        self.row_lists: dict[str, str] = {}

    @property
    def inter_file(self) -> Path:
        """The file of the events."""
        return self.settings.folder / f"{self.settings.name}.inter"

    @property
    def parts_files(self) -> list[Path]:
        """The files of events that were split beforehand."""
        folder = self.settings.folder
        return [folder / f"{self.settings.name}.{part}.inter" for part in self.settings.parts or ()]

    # --- Files split beforehand ---------------------------------------------------------------

    def check_parts(self, load: set[str] | None, unload: set[str] | None) -> None:
        """Look at the headers of files split beforehand, and find their `row_lists`.

        Args:
            load: the columns of .inter to read, None for all.
            unload: the columns to leave out.

        Raises:
            DataError: a file is missing, or they differ in the columns that are read.
        """
        parts = self.settings.parts or ()
        part_numbers(parts)
        missing = [path for path in self.parts_files if not path.is_file()]
        if missing:
            raise DataError(
                f"{missing[0]}: there is no such file, but benchmark_filename names it "
                f"({', '.join(map(str, parts))})."
            )
        self._check_same_columns(load, unload)
        self.row_lists = self._find_row_lists()

    def _check_same_columns(self, load: set[str] | None, unload: set[str] | None) -> None:
        headers = [
            {
                name: kind
                for name, kind in self._header(path)
                if (load is None or name in load) and name not in (unload or ())
            }
            for path in self.parts_files
        ]
        for path, header in zip(self.parts_files, headers):
            if header != headers[0]:
                shown = [
                    ", ".join(f"{name}:{kind}" for name, kind in columns.items())
                    for columns in (header, headers[0])
                ]
                raise DataError(
                    f"{path}, line 1: has the columns {shown[0]}, but "
                    f"{self.parts_files[0].name} has {shown[1]}; files split beforehand need "
                    "the same."
                )

    def _find_row_lists(self) -> dict[str, str]:
        """`row_lists`, from the header of the first file."""
        settings = self.settings
        path = self.parts_files[0]
        types = dict(self._header(path))
        items = f"{settings.item}{settings.list_suffix}"
        if items not in types:
            return {}
        lists = {items: settings.item}
        for name, kind in types.items():
            single = name.removesuffix(settings.list_suffix)
            asked = settings.asked is None or name in settings.asked
            if name == items or single == name or single not in types or not asked:
                continue
            if kind != "float_seq":
                raise DataError(
                    f"{path}, line 1: of the lists of a row, '{items}' and those of numbers are "
                    f"read, but '{name}' has the type {kind}; leave it out of load_col."
                )
            lists[name] = single
        if types[items] != "token_seq":
            raise DataError(
                f"{path}, line 1: '{items}' holds the history of a row and must have the type "
                f"token_seq, not {types[items]}."
            )
        return lists

    def columns_with_lists(self, load: set[str]) -> set[str]:
        """Return the columns of .inter to read of rows that give their histories.

        The list of items is among them; the time is not, unless the user asks for it.
        """
        columns = load | {f"{self.settings.item}{self.settings.list_suffix}"}
        return columns if self.settings.asks_columns else columns - {self.settings.time}

    def part_of_events(self, sizes: Sequence[int]) -> np.ndarray:
        """int64 `[events of .inter]`: the part of the file that each was read from.

        Args:
            sizes: rows of each file.
        """
        return np.repeat(part_numbers(self.settings.parts or ()), sizes)

    def place_of_row(self, row: int, sizes: Sequence[int]) -> str:
        """File and line of a row of .inter, in words.

        Args:
            sizes: rows of each file.
        """
        begin = 0
        for path, size in zip(self.parts_files, sizes):
            if row < begin + size:
                return f"{path}, line {row - begin + 2}"
            begin += size
        return str(self.inter_file)

    # --- Reading ------------------------------------------------------------------------------

    def open(
        self, path: Path, kind: str, load: set[str] | None, unload: set[str] | None
    ) -> AtomicTable:
        """Look at a file before it is read.

        Args:
            path: of the file.
            kind: `inter`, `user`, `item`, or the suffix of another file.
            load: the columns to read, None for all.
            unload: the columns to leave out.

        Raises:
            DataError: the file lacks columns, has wrong types, or holds no rows.
        """
        settings = self.settings
        header = self._header(path)
        types = dict(header)
        wanted = [
            column
            for column in types
            if (load is None or column in load) and column not in (unload or ())
        ]
        if kind == "inter":
            check_columns(settings.scenes, path, types, wanted)
        for column in sorted(load or ()):
            if column not in types:
                raise DataError(
                    f"{path}: load_col names the column '{column}' for .{kind}, but the file has "
                    f"{', '.join(types)}.{did_you_mean(column, types)}"
                )
        self._check_columns(path, kind, types, wanted)
        found = None
        plain = len(settings.separator) == 1 and ascii_compatible(settings.encoding)
        if wanted and plain:
            found = scan(path, settings.separator, len(header))
        if found is not None and found.rows < 1:
            raise DataError(f"{path}: the file holds no rows, only a header.")
        return AtomicTable(settings, path, kind, header, wanted, found)

    def _header(self, path: Path) -> list[tuple[str, str]]:
        return read_header(path, self.settings.separator, self.settings.encoding)

    def _check_columns(
        self, path: Path, kind: str, types: dict[str, str], wanted: list[str]
    ) -> None:
        """Refuse a file without the columns that a sequential data set needs."""
        settings = self.settings
        needed = {
            "inter": [settings.user, settings.item],
            "user": [settings.user],
            "item": [settings.item],
        }.get(kind, [])
        if kind == "inter" and not self.row_lists:
            needed.append(settings.time)
        check_id_columns(path, types, (settings.user, settings.item))
        for column in needed:
            if column in wanted:
                continue
            reason = f"load_col leaves it out: add it under '{kind}'."
            if column not in types:
                near = did_you_mean(column or "", types)
                reason = f"the file has {', '.join(types)}.{near}"
            raise DataError(f"{path}: the column '{column}' is needed, but {reason}")
        if kind == "inter" and types.get(settings.time, "float") != "float":
            raise DataError(
                f"{path}, line 1: the times in '{settings.time}' must have the type float, not "
                f"{types[settings.time]}, to be put in order."
            )


@dataclass(frozen=True)
class AtomicTable:
    """One file that was looked at and is about to be read.

    Attributes:
        settings: of the data set.
        path: of the file.
        kind: `inter`, `user`, `item`, or the suffix of another file.
        header: (column, type) of all columns.
        wanted: the columns to read, in the order of the file.
        found: what a look at the bytes found, None where they were not looked at.
    """

    settings: FileSettings
    path: Path
    kind: str
    header: Sequence[tuple[str, str]]
    wanted: list[str]
    found: Scan | None

    @property
    def types(self) -> dict[str, str]:
        """Column -> type."""
        return dict(self.header)

    @property
    def needs_recbole(self) -> bool:
        """Whether RecBole's reader comes first: there are quote marks, or nobody looked."""
        return self.found is None or self.found.quotes

    def read_by(self, reader: Callable[[], pd.DataFrame]) -> pd.DataFrame | None:
        """Return the rows as RecBole's `reader` gives them.

        None where it fails on quote marks that can be read as characters.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            return reader()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.path}: is not text in {self.settings.encoding} (byte {error.start})."
            ) from None
        except (ValueError, csv.Error) as error:
            if self.found is not None:
                getLogger().warning(
                    f"{self.path}: RecBole cannot read its quote marks ({error}); they are read as "
                    "ordinary characters."
                )
                return None
            raise DataError(f"{self.path}: cannot be read: {error}.") from error

    def read(self) -> pd.DataFrame:
        """Return the rows, with the columns `wanted`."""
        settings = self.settings
        quotes = self.found is not None and self.found.quotes
        rows = None
        if self.found is not None and not quotes:
            rows = self.found.rows
        timed = self.kind == "inter" and settings.time in self.wanted
        return read_columns(
            self.path,
            self.header,
            self.wanted,
            separator=settings.separator,
            encoding=settings.encoding,
            seq_separator=settings.seq_separator,
            seq_len=settings.seq_len,
            times=[settings.time] if timed else [],
            rows=rows,
            quoting=csv.QUOTE_NONE if quotes else csv.QUOTE_MINIMAL,
        )

    def check(self, frame: pd.DataFrame) -> None:
        """Refuse what was read: no row, two rows for one user or item, or a time that is none."""
        settings = self.settings
        if frame.empty:
            raise DataError(f"{self.path}: the file holds no rows, only a header.")
        key = {"user": settings.user, "item": settings.item}.get(self.kind)
        if key is not None:
            self._check_duplicates(frame[key], key)
        if self.kind != "inter" or settings.time not in frame:
            return
        if not np.isfinite(frame[settings.time].to_numpy()).all():
            fault = not_numbers(
                self.path,
                settings.separator,
                settings.encoding,
                self._place(settings.time),
                settings.time,
                missing=True,
            )
            raise fault or DataError(
                f"{self.path}: column '{settings.time}' must hold finite numbers."
            )

    def _check_duplicates(self, names: pd.Series, key: str) -> None:
        doubled = names[names.duplicated() & names.notna()].unique()
        if not len(doubled):
            return
        lines = lines_with(
            self.path,
            self.settings.separator,
            self.settings.encoding,
            self._place(key),
            doubled[0],
        )
        more = f"; {len(doubled) - 1} more stand there twice" if len(doubled) > 1 else ""
        raise DataError(
            f"{self.path}: lines {' and '.join(map(str, lines))} both describe {key} "
            f"'{doubled[0]}'{more}. Keep one row for each."
        )

    def _place(self, column: str) -> int:
        return [name for name, _ in self.header].index(column)


# --- Filters and ids --------------------------------------------------------------------------


def rows_of_known(names: pd.Series, known: set[str]) -> tuple[np.ndarray, list[str]]:
    """Which rows have a name that is known, and the names that are not.

    Returns:
        bool `[rows]`, and the unknown names in the order of their codes.
    """
    tokens, values = codes_of(names)
    there = np.array([str(name) in known for name in values], dtype=bool)
    return there[tokens], [str(name) for name in values[~there]]


def rows_by_count(
    users: pd.Series,
    items: pd.Series,
    described: Sequence[pd.Series | None],
    allowed: Sequence[Callable[[np.ndarray], np.ndarray]],
    least: Sequence[float],
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Choose the rows that stay when users and items must have allowed numbers of events.

    Args:
        users: of the events.
        items: of the events.
        described: users in .user and items in .item, None where there is no file.
        allowed: for users and items, int `[n]` numbers of events -> bool `[n]`.
        least: for users and items, the smallest number that may be allowed, -1 for any.

    Returns:
        bool masks over the events, .user and .item, None where there is no file.
    """
    codes: list[np.ndarray] = []
    rows: list[np.ndarray | None] = []
    for names, feat in zip((users, items), described):
        ids, _ = number_together([names] if feat is None else [names, feat])
        codes.append(ids[0])
        rows.append(None if feat is None else ids[1])
    return keep_by_count(
        codes[0], codes[1], allowed[0], allowed[1], rows[0], rows[1], least[0], least[1]
    )


def ids_behind(
    own: np.ndarray, ids: Sequence[np.ndarray], tokens: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Ids and names as a finished run numbers them, names new to it behind its own.

    Args:
        own: the run's names, the padding first.
        ids: int64 arrays that number `tokens` from 1, 0 where missing.
        tokens: the names in the files.
    """
    place = {name: number for number, name in enumerate(own.tolist())}
    new = [str(token) for token in tokens if str(token) not in place]
    place.update({name: number for number, name in enumerate(new, start=len(own))})
    lookup = np.array([0, *(place[str(token)] for token in tokens)], dtype=np.int64)
    return [lookup[values] for values in ids], np.array([*own.tolist(), *new])
