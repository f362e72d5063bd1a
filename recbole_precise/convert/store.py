"""The rows of a conversion in DuckDB: sorted, counted, filtered and written in bounded memory."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pyarrow

from recbole_precise.data.scan import MISSING

MEMORY_MIB = 512  # what is more goes to disk, beside the output
_MIB_OF_A_THREAD = 64  # less would not do for one of the threads that sort
_BATCH = 20_000  # rows in the memory of Python at once
_SPILLED = "spilled"  # the folder of what does not fit into memory
_FEW = 3000  # rows that are added without Arrow
NO_SCENE = "unknown"
EVENTS = {
    "seq": "BIGINT",
    "user": "VARCHAR",
    "item": "VARCHAR",
    "time": "BIGINT",
    "time_part": "DOUBLE",
    "rating": "BIGINT",
    "rating_part": "DOUBLE",
    "scene": "VARCHAR",
}
_ARROW = {
    "BIGINT": pyarrow.int64(),
    "DOUBLE": pyarrow.float64(),
    "VARCHAR": pyarrow.string(),
    "BOOLEAN": pyarrow.bool_(),
}


class Store:
    """A temporary database with the tables `events` and `described` (rows about items).

    Numbers are kept as a whole part and, where they are not whole, as the float itself: whole
    numbers beyond 2**53 keep their order, and all are written as Python writes them.

    Args:
        folder: an existing folder for what does not fit into memory; removed by the caller.
        columns: names of the items' texts.
    """

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self.texts = [f"text{place}" for place in range(len(columns))]
        self._described = {"seq": "BIGINT", "item": "VARCHAR", "known": "BOOLEAN"}
        self._described |= dict.fromkeys(self.texts, "VARCHAR")
        self._base = duckdb.connect(":memory:")
        # A query runs in a thread of its own, so that an interrupt reaches this one at once.
        self._pool = ThreadPoolExecutor(1)
        threads = self.one("SELECT current_setting('threads')")
        memory = max(MEMORY_MIB, threads * _MIB_OF_A_THREAD)
        for setting, value in (
            ("temp_directory", quoted(str(folder / _SPILLED))),
            ("memory_limit", f"'{memory}MiB'"),
            ("autoinstall_known_extensions", "false"),
            ("autoload_known_extensions", "false"),
            ("enable_progress_bar", "false"),
            ("TimeZone", "'UTC'"),
        ):
            self.run(f"SET {setting} = {value}")
        self.run("CREATE MACRO mixed(x) AS (xor(x >> 16, x) * 73244475) & 4294967295")
        self.make("events", EVENTS)
        self.make("described", self._described)

    def close(self) -> None:
        """End the threads and forget everything."""
        self._base.close()
        self._pool.shutdown()

    # --- Queries ----------------------------------------------------------------------------

    def rows(self, query: str) -> list[tuple]:
        """All rows that a query gives.

        Raises:
            duckdb.Error: it fails.
            KeyboardInterrupt: as anywhere; the query is stopped.
        """
        work = self._pool.submit(lambda: self._base.execute(query).fetchall())
        try:
            return work.result()
        except KeyboardInterrupt:
            self._base.interrupt()
            raise

    def one(self, query: str) -> Any:
        """Return the single value that a query gives."""
        return self.rows(query)[0][0]

    def run(self, statement: str) -> int:
        """Run a statement; the number of rows that it changed."""
        changed = self.rows(statement)
        return changed[0][0] if changed else 0

    def make(self, table: str, columns: dict[str, str]) -> None:
        """Make an empty table again: name of each column -> its type."""
        listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        self.run(f"CREATE OR REPLACE TABLE {table} ({listed})")

    def add(self, table: str, columns: dict[str, str], rows: Sequence[Sequence[Any]]) -> None:
        """Append rows to a table that was made with these columns."""
        if not rows:
            return
        cells = [list(column) for column in zip(*rows)]
        if len(rows) < _FEW:
            self._insert_values(table, columns, cells)
            return
        arrays = [
            pyarrow.array(column, _ARROW[kind]) for column, kind in zip(cells, columns.values())
        ]
        self._base.register("rows_to_add", pyarrow.Table.from_arrays(arrays, list(columns)))
        self.run(f"INSERT INTO {table} SELECT * FROM rows_to_add")
        self._base.unregister("rows_to_add")

    def _insert_values(
        self, table: str, columns: dict[str, str], cells: Sequence[Sequence[Any]]
    ) -> None:
        """Append a few rows without Arrow, whose first use imports pandas."""
        listed = ", ".join(
            f"unnest(${place + 1}::{kind}[])" for place, kind in enumerate(columns.values())
        )
        self._base.execute(f"INSERT INTO {table} SELECT {listed}", cells)

    def batches(self, table: str, columns: str) -> Iterator[list[tuple]]:
        """Yield the rows of a table in its order, with the rowid in front, some at a time."""
        for begin in range(0, self.one(f"SELECT count(*) FROM {table}"), _BATCH):
            yield self.rows(
                f"SELECT rowid, {columns} FROM {table} "
                f"WHERE rowid >= {begin} AND rowid < {begin + _BATCH} ORDER BY rowid"
            )

    def add_events(self, rows: Sequence[Sequence[Any]]) -> None:
        """Append events, in the order of EVENTS."""
        self.add("events", EVENTS, rows)

    def forget_described(self) -> None:
        """Empty the table `described`."""
        self.make("described", self._described)

    def add_described(self, rows: Sequence[Sequence[Any]]) -> None:
        """Append `(seq, item, known, text, ...)`."""
        self.add("described", self._described, rows)

    # --- Items ------------------------------------------------------------------------------

    def settle_items(self) -> None:
        """Make the table `items` of the first row about each item in `described`."""
        self.run(
            "CREATE OR REPLACE TABLE items AS SELECT * FROM described WHERE seq IN "
            "(SELECT min(seq) FROM described GROUP BY item) ORDER BY seq"
        )

    def complete_items(self, key: str) -> None:
        """Fill in the texts of `items` from rows of `described` that have the text `key` in common.

        `described` then holds, as its `item`, the key.
        """
        texts = ", ".join(f"coalesce(d.{text}, items.{text}) AS {text}" for text in self.texts)
        self.run(
            f"CREATE OR REPLACE TABLE items AS SELECT items.seq, items.item, "
            f"items.known OR d.known IS NOT NULL AS known, {texts} FROM items LEFT JOIN "
            "(SELECT * FROM described WHERE seq IN (SELECT min(seq) FROM described GROUP BY item)) "
            f"d ON d.item = items.{key} AND NOT items.known ORDER BY items.seq"
        )

    def count_doubled(self, among: str) -> int:
        """Count the rows of `described` about something that an earlier row describes.

        Args:
            among: SQL for the names that count.
        """
        return self.one(
            "SELECT coalesce(sum(rows - 1), 0)::BIGINT FROM (SELECT count(*) AS rows FROM "
            "described "
            f"WHERE item IN ({among}) GROUP BY item)"
        )

    # --- Filters, each returning how many events it left out --------------------------------

    def drop_unknown(self) -> int:
        """Leave out events of items without metadata."""
        return self.run("DELETE FROM events WHERE item NOT IN (SELECT item FROM items WHERE known)")

    def drop_rated_below(self, least: float) -> int:
        """Leave out events that are rated lower, or not at all."""
        return self.run(
            f"DELETE FROM events WHERE coalesce({number_sql('rating')} < {least!r}, true)"
        )

    def drop_rare(self, column: str, least: int) -> tuple[int, int]:
        """Leave out users (or items) with fewer than `least` events: (how many, their events)."""
        self.run(
            f"CREATE OR REPLACE TEMP TABLE rare AS SELECT {column} AS name FROM events "
            f"GROUP BY {column} HAVING count(*) < {least}"
        )
        names = self.one("SELECT count(*) FROM rare")
        if not names:
            return 0, 0
        return names, self.run(f"DELETE FROM events WHERE {column} IN (SELECT name FROM rare)")

    def keep_last(self, most: int, of_longer: int, tie: str) -> int:
        """Keep a user's latest `most` events, but `of_longer` of a user with more.

        Args:
            tie: SQL for the order of events of one user and time.
        """
        order = f"ORDER BY time DESC, time_part DESC NULLS LAST, {tie} DESC, seq DESC"
        ranked = (
            f"SELECT seq, row_number() OVER (PARTITION BY user {order}) AS place, "
            "count(*) OVER (PARTITION BY user) AS number FROM events"
        )
        return self.run(
            f"DELETE FROM events WHERE seq IN (SELECT seq FROM ({ranked}) "
            f"WHERE number > {most} AND place > {of_longer})"
        )

    # --- Writing ----------------------------------------------------------------------------

    def settle_choice(self, everything: bool) -> None:
        """Make the tables `users`, with their first rows, and `chosen`, the items to write."""
        self.run(
            'CREATE OR REPLACE TABLE users AS SELECT "user", min(seq) AS first FROM events '
            'GROUP BY "user"'
        )
        more = " UNION SELECT item FROM items" if everything else ""
        self.run(f"CREATE OR REPLACE TABLE chosen AS SELECT DISTINCT item FROM events{more}")

    def write_items(self, path: Path, header: Sequence[str]) -> None:
        """Write the chosen items, those with metadata first and in the order of their file."""
        texts = "".join(f", coalesce({text}, '')" for text in self.texts)
        query = f"SELECT chosen.item{texts} FROM chosen LEFT JOIN items USING (item)"
        self.write(path, header, f"{query} ORDER BY items.seq NULLS LAST, chosen.item")

    def write_events(
        self, path: Path, header: Sequence[str], rating: bool, scene: str | None, tie: str
    ) -> int:
        """Write events user by user, as these first occur, and in the order of time.

        Args:
            scene: SQL for the scene of an event, or None.
            tie: SQL for the order of events of one user and time.

        Returns:
            How many have no scene.
        """
        columns = ["users.user", "events.item", number_text("time")]
        tables = "events JOIN users ON events.user = users.user"
        if rating:
            columns.insert(2, number_text("rating"))
        without = 0
        if scene is not None:
            tables += " LEFT JOIN items ON items.item = events.item"
            none = f"coalesce({scene} IN ({_MISSING_SQL}), true)"
            columns.append(f"CASE WHEN {none} THEN '{NO_SCENE}' ELSE {scene} END")
            without = self.one(f"SELECT count(*) FROM {tables} WHERE {none}")
        order = f"users.first, events.time, time_part NULLS FIRST, {tie}, events.seq"
        query = f"SELECT {', '.join(columns)} FROM {tables} ORDER BY {order}"
        self.write(path, header, query)
        return without

    def write(self, path: Path, header: Sequence[str], query: str) -> None:
        """Write what a query gives: its header and a line a row, tabs between the columns."""
        # One column, so that names of texts which differ in case alone do not meet in DuckDB.
        line = " || '\t' || ".join(f"x.x{place}" for place in range(len(header)))
        names = ", ".join(f"x{place}" for place in range(len(header)))
        head = "\t".join(header)
        self.run(
            f'COPY (SELECT {line} AS "{head}" FROM ({query}) AS x({names})) '
            f"TO {quoted(str(path))} (FORMAT csv, DELIMITER '\t', QUOTE '', ESCAPE '', HEADER true)"
        )


def number_sql(column: str) -> str:
    """Write SQL for a number to compare."""
    return f"coalesce(events.{column}_part, events.{column})"


def number_text(column: str) -> str:
    """Write SQL for a number as Python writes it."""
    return f"coalesce(events.{column}_part::VARCHAR, events.{column}::VARCHAR, '')"


def tie_order(seed: int | None) -> str:
    """Write SQL that orders events of one user and time: as in the file, or by a seed.

    The order is that of a hash of whole numbers (32 bits to as many, no two to the same one), so
    that it is the same on every machine and with every version of DuckDB.
    """
    if seed is None:
        return "events.seq"
    salt = random.Random(seed).getrandbits(32)
    return f"mixed(mixed(mixed(xor(events.seq & 4294967295, {salt}))))"


def quoted(text: str) -> str:
    """Quote a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def is_of_disk(error: duckdb.Error) -> bool:
    """Whether DuckDB lacks memory or room, so that it is no fault of the file that it reads."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return True
    return isinstance(error, duckdb.IOException) and f"/{_SPILLED}/" in str(error)


def disk_reason(error: duckdb.Error) -> str:
    """Why DuckDB could not go on, in the words of the system where it gives them."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return "there is not enough memory or room for temporary files"
    text = str(error)
    number = re.search(r"errno\W+(\d+)", text)
    if number:
        return os.strerror(int(number[1]))
    text = " ".join(text.partition(": ")[2].split())
    return text.rpartition('": ')[2][:200]


_MISSING_SQL = ", ".join(quoted(name) for name in sorted({*MISSING, "[PAD]"}))
