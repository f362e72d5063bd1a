"""Kaggle's Amazon Books: Books_rating.csv (reviews, with the title of each book) and books_data.csv
(keyed by title).

An item is a book's `Id`. A fifth of the reviews names no user; they are left out and counted, being
no mistake of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from recbole_precise.data.convert import values
from recbole_precise.data.convert.files import find_one, folder
from recbole_precise.data.convert.pipeline import Part, Raw
from recbole_precise.data.convert.readers import csv_rows
from recbole_precise.data.convert.staging import Event

COLUMNS = ("title", "authors", "categories", "description")
_REVIEW = ("Id", "Title", "User_id", "review/score", "review/time")
_BOOK = ("Title", "description", "authors", "categories")


def open_raw(path: str | Path) -> Raw:
    """The two files. Raises DataError when the reviews are missing."""
    place = folder(path, "Books_rating.csv and books_data.csv")
    reviews, books = (
        find_one(place, "Books_rating.csv*", "reviews"),
        find_one(place, "books_data.csv*", "descriptions of books"),
    )
    counts: Counter[str] = Counter()

    def event(row: Sequence[str]) -> list[Event]:
        book, _, user, score, time = row
        if not user.strip():
            counts["reviews that name no user"] += 1
            return []
        return [
            Event(
                values.token(user, "User_id"),
                values.token(book, "Id"),
                values.past(time, "review/time"),
                values.number(score, "review/score"),
            )
        ]

    return Raw(
        columns=COLUMNS,
        events=[
            Part(reviews, partial(csv_rows, reviews, columns=_REVIEW), event, texts=_book_of_review)
        ],
        items=[Part(books, partial(csv_rows, books, columns=_BOOK), _book)],
        rating=True,
        item_text="{title}",
        items_by="title",
        counts=counts,
    )


def _book_of_review(row: Sequence[str]) -> tuple[str, list[str], bool]:
    return values.token(row[0], "Id"), [values.text(row[1]), "", "", ""], False


def _book(row: Sequence[str]) -> tuple[str, list[str]] | None:
    title, description, authors, categories = row
    texts = [
        values.text(title),
        values.text(values.listed(authors)),
        values.text(values.listed(categories)),
        values.text(description),
    ]
    return (
        (texts[0], texts) if texts[0] else None
    )  # one row of the file has no title, so it describes no book
