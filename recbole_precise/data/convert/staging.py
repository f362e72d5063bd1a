"""The rows of a conversion on disk, in SQLite: sorted, counted and filtered in memory that does not
grow with them.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_CACHE_KIB = 64 << 10  # pages kept in memory, also while sorting


class Event(NamedTuple):
    """One interaction.

    `time` in seconds since 1970 or as the source counts; `part`: number of its file; `line`: in
    that file.
    """

    user: str
    item: str
    time: int | float
    rating: int | float | None = None
    scene: str | None = None
    part: int = 0
    line: int = 0


class Staging:
    """A temporary database of events and items.

    Args:
        folder: an existing folder for it, with room for the events twice; removed by the caller.
        columns: names of the items' texts.
    """

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._base = sqlite3.connect(folder / "staging.db", isolation_level=None)
        place = str(folder).replace("'", "''")
        # What is lost in a crash is made anew, so nothing is journalled. SQLite's own temporary
        # files (of sorting) would lie in /tmp, which is often memory.
        for pragma in (
            "journal_mode=OFF",
            "synchronous=OFF",
            "locking_mode=EXCLUSIVE",
            f"cache_size=-{_CACHE_KIB}",
            "temp_store=FILE",
            f"temp_store_directory='{place}'",
        ):
            self._base.execute(f"PRAGMA {pragma}")
        texts = ", ".join(f"text{i} TEXT" for i in range(len(columns)))
        self._base.execute(
            "CREATE TABLE events (seq INTEGER PRIMARY KEY, user TEXT, item TEXT, time NUMERIC, "
            "rating NUMERIC, scene TEXT, part INTEGER, line INTEGER, tie INTEGER)"
        )
        self._base.execute(
            "CREATE TABLE items (seq INTEGER PRIMARY KEY, item TEXT UNIQUE, known "
            f"INTEGER{', ' + texts if texts else ''})"
        )

    def close(self) -> None:
        # A full disk, which is being reported already, must not be reported once more from here.
        with contextlib.suppress(sqlite3.Error):
            self._base.execute("PRAGMA temp_store_directory=''")
        with contextlib.suppress(sqlite3.Error):
            self._base.close()

    def one(self, query: str, *values: object) -> object:
        """The single value that a query gives."""
        return self._base.execute(query, values).fetchone()[0]

    def run(self, query: str, *values: object) -> int:
        """Run a statement; the number of rows that it changed."""
        return self._base.execute(query, values).rowcount

    def rows(self, query: str, *values: object) -> Iterator[tuple]:
        return iter(self._base.execute(query, values))

    # --- Filling ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """Rows added within it are written together, which is much faster."""
        self._base.execute("BEGIN")
        yield
        self._base.execute("COMMIT")

    def add_events(self, events: Iterable[Event], tie: Callable[[], int]) -> None:
        """Append events; `tie` gives the number that puts events of one user and time in order."""
        self._base.executemany(
            "INSERT INTO events (user, item, time, rating, scene, part, line, tie) VALUES (?, ?, "
            "?, ?, ?, ?, ?, ?)",
            ((*event, tie()) for event in events),
        )

    def remember_used(self) -> None:
        """From now on `add_item` passes over items without an event."""
        self.run("CREATE TABLE used (item TEXT PRIMARY KEY) WITHOUT ROWID")
        self.run("INSERT INTO used SELECT DISTINCT item FROM events")
        self._only_used = True

    _only_used = False

    def add_item(self, item: str, texts: Sequence[str], known: bool = True) -> bool:
        """Add an item's texts; False when it is there already."""
        if (
            self._only_used
            and self._base.execute("SELECT 1 FROM used WHERE item = ?", (item,)).fetchone() is None
        ):
            return True
        marks = ", ?" * (2 + len(self.columns))
        return (
            self._base.execute(
                f"INSERT OR IGNORE INTO items VALUES (NULL{marks})", (item, int(known), *texts)
            ).rowcount
            == 1
        )

    def complete_items(self, column: str) -> Callable[[str, Sequence[str]], bool]:
        """A function that fills in the texts of the items, not known yet, whose text `column` is a
        key; whether it was new.
        """
        key = self.columns.index(column)
        self.run(f"CREATE INDEX IF NOT EXISTS by_text ON items (text{key})")
        others = ", ".join(f"text{i} = ?" for i in range(len(self.columns)) if i != key)

        def fill(value: str, texts: Sequence[str]) -> bool:
            given = [text for i, text in enumerate(texts) if i != key]
            if self.run(
                f"UPDATE items SET known = 1, {others} WHERE text{key} = ? AND known = 0",
                *given,
                value,
            ):
                return True
            return (
                self._base.execute(f"SELECT 1 FROM items WHERE text{key} = ?", (value,)).fetchone()
                is None
            )

        return fill

    # --- Filters, each returning what it left out ---------------------------------------------

    def drop_unknown(self) -> int:
        """Leave out events of items without metadata."""
        return self.run("DELETE FROM events WHERE item NOT IN (SELECT item FROM items WHERE known)")

    def drop_rated_below(self, least: float) -> int:
        return self.run("DELETE FROM events WHERE rating IS NULL OR rating < ?", least)

    def drop_rare(self, column: str, least: int) -> tuple[int, int]:
        """Leave out users (or items) with fewer than `least` events: (how many, their events)."""
        self.run("DROP TABLE IF EXISTS rare")
        self.run("CREATE TABLE rare (name TEXT PRIMARY KEY) WITHOUT ROWID")
        names = self.run(
            f"INSERT INTO rare SELECT {column} FROM events GROUP BY {column} HAVING count(*) < ?",
            least,
        )
        return names, self.run(
            f"DELETE FROM events WHERE {column} IN (SELECT name FROM rare)"
        ) if names else 0

    def keep_last(self, most: int, of_longer: int) -> int:
        """Keep a user's latest `most` events, but `of_longer` of a user with more.

        By time, tie, place in the files.
        """
        ranked = (
            "SELECT seq, row_number() OVER (PARTITION BY user ORDER BY time DESC, tie DESC, "
            "seq DESC) AS place, count(*) OVER (PARTITION BY user) AS events FROM events"
        )
        return self.run(
            f"DELETE FROM events WHERE seq IN (SELECT seq FROM ({ranked}) WHERE events > ? AND "
            "place > ?)",
            most,
            of_longer,
        )

    # --- Reading out --------------------------------------------------------------------------

    def count_users(self) -> int:
        """Number the users by their first row; the number of them."""
        self.run("DROP TABLE IF EXISTS users")
        self.run("CREATE TABLE users (user TEXT PRIMARY KEY, first INTEGER) WITHOUT ROWID")
        return self.run("INSERT INTO users SELECT user, min(seq) FROM events GROUP BY user")

    def events(self, columns: str) -> Iterator[tuple]:
        """`columns` (SQL over `events` and `items`) user by user, as they first occur, and in the
        order of time; after `count_users`.
        """
        joined = "events JOIN users USING (user) LEFT JOIN items ON items.item = events.item"
        return self.rows(
            f"SELECT {columns} FROM {joined} ORDER BY users.first, events.time, events.tie, "
            "events.seq"
        )

    def count_items(self, everything: bool) -> int:
        """Choose the items to write: those with an event, or also the others.

        The number of them.
        """
        self.run("DROP TABLE IF EXISTS chosen")
        self.run("CREATE TABLE chosen (item TEXT PRIMARY KEY) WITHOUT ROWID")
        self.run("INSERT INTO chosen SELECT DISTINCT item FROM events")
        if everything:
            self.run("INSERT OR IGNORE INTO chosen SELECT item FROM items")
        return self.one("SELECT count(*) FROM chosen")

    def items(self) -> Iterator[tuple]:
        """`(item, text, ...)` of the chosen items, those with metadata first, in the order of their
        file; after `count_items`.
        """
        texts = "".join(f", coalesce(text{i}, '')" for i in range(len(self.columns)))
        return self.rows(
            f"SELECT chosen.item{texts} FROM chosen LEFT JOIN items USING (item) ORDER BY "
            "items.seq IS NULL, items.seq, chosen.item"
        )
