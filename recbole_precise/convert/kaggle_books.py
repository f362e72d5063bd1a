"""Kaggle's Amazon Books: Books_rating.csv and books_data.csv.

The former holds the reviews, with the title of each book.

The latter is keyed by title; an item is a book's `Id`. A fifth of the reviews names no user; they
are left out and counted, being no mistake of the file.
"""

from __future__ import annotations

from pathlib import Path

from recbole_precise.convert.cells import Field
from recbole_precise.convert.files import find_one, folder
from recbole_precise.convert.reading import Raw, Table
from recbole_precise.convert.tables import Delimited

COLUMNS = ("title", "authors", "categories", "description")
_REVIEW = (
    Field("user", "User_id", "token", skips="reviews that name no user"),
    Field("item", "Id", "token"),
    Field("time", "review/time", "past"),
    Field("rating", "review/score", "number"),
    Field("text", "Title", "text"),
)
_BOOK = (
    Field("item", "Title", "text"),  # one row of the file has none, so it describes no book
    Field("text", "Title", "text"),
    Field("text", "authors", "listed"),
    Field("text", "categories", "listed"),
    Field("text", "description", "text"),
)


def open_raw(path: str | Path) -> Raw:
    """Open the two files. Raises DataError when one is missing."""
    place = folder(path, "Books_rating.csv and books_data.csv")
    reviews = find_one(place, "Books_rating.csv*", "reviews")
    books = find_one(place, "books_data.csv*", "descriptions of books")
    return Raw(
        columns=COLUMNS,
        events=[Table(Delimited(reviews, [f.name for f in _REVIEW]), _REVIEW, describes=False)],
        items=[Table(Delimited(books, [f.name for f in _BOOK]), _BOOK)],
        rating=True,
        item_text="{title}",
        items_by="title",
    )
