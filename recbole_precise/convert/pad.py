"""The files that the authors of PAD released: one CSV of user histories, one of item titles.

`<X>_cleaned_history.csv` has the columns user and history, a Python list of item ids in order;
`metadata_<X>.csv` has asin and title. The histories carry no times, so an event's time is its place
in its user's history: 0, 1, ...
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from recbole_precise.convert import values
from recbole_precise.convert.faults import BadRow
from recbole_precise.convert.files import find_one, folder
from recbole_precise.convert.options import switch
from recbole_precise.convert.readers import csv_rows
from recbole_precise.convert.reading import Event, Raw, Records

# The released order stands, every item of the metadata is a candidate, and the protocol is the
# paper's.
DEFAULTS = {
    "items": "all",
    "tie_break": "file",
    "protocol": {"MAX_ITEM_LIST_LENGTH": 20, "mask_history": True},
}


def open_raw(path: str | Path, unescape: bool | str = True) -> Raw:
    """Open the two files.

    A user or an item that occurs twice, an empty history and an item without metadata are bad rows.

    Args:
        unescape: turn HTML entities in titles (`&amp;`) into the characters that they encode.

    Raises DataError when one is missing.
    """
    place, unescape = folder(path, "PAD's CSV files"), switch("unescape", unescape)
    histories = find_one(place, "*_cleaned_history.csv", "the users' histories")
    name = histories.name.removesuffix("_cleaned_history.csv")
    titles = find_one(place, f"metadata_{name}.csv", "the items' titles")
    items: set[str] = set()
    users: set[str] = set()

    def item(row: Sequence[str]) -> tuple[str, list[str]]:
        asin = values.token(row[0], "item")
        if asin in items:
            raise BadRow(f"item '{asin}' stands there twice")
        items.add(asin)
        return asin, [values.text(row[1], unescape)]

    def history(row: Sequence[str]) -> list[Event]:
        user = values.token(row[0], "user")
        if user in users:
            raise BadRow(f"user '{user}' stands there twice")
        clicked = _history(row[1], user)
        unknown = [asin for asin in clicked if asin not in items]
        if unknown:
            raise BadRow(f"item '{unknown[0]}' of user '{user}' is not in {titles.name}")
        users.add(user)
        return [Event(user, asin, place) for place, asin in enumerate(clicked)]

    return Raw(
        columns=("title",),
        events=[
            Records(histories, partial(csv_rows, histories, columns=("user", "history")), history)
        ],
        items=[Records(titles, partial(csv_rows, titles, columns=("asin", "title")), item)],
        item_text="{title}",
        items_first=True,
        items_needed=True,
        times_are_places=True,
    )


def _history(text: str, user: str) -> list[str]:
    try:
        history = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        history = None
    if not isinstance(history, list) or not all(isinstance(asin, str) for asin in history):
        raise BadRow(f"the history of user '{user}' is not a list of ids like ['B000', 'B001']")
    if not history:
        raise BadRow(f"the history of user '{user}' is empty")
    return history
