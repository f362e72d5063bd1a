"""MovieLens in all its releases.

100k (u.data, u.item, u.genre), 1M and 10M (ratings.dat, movies.dat), 20M and later (ratings.csv,
movies.csv).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from recbole_precise.convert import values
from recbole_precise.convert.cells import Field
from recbole_precise.convert.faults import BadRow
from recbole_precise.convert.files import find_one, folder
from recbole_precise.convert.readers import csv_rows, split_lines
from recbole_precise.convert.reading import Raw, Records, Table
from recbole_precise.convert.tables import Delimited
from recbole_precise.errors import DataError

COLUMNS = ("title", "genres")
# 100k and 1M are Latin-1, 10M is UTF-8; a line of Latin-1 with an accent is no UTF-8.
_ENCODINGS = ("utf-8", "latin-1")
_EVENT = (
    Field("user", "user", "token"),
    Field("item", "film", "token"),
    Field("rating", "rating", "number"),
    Field("time", "time", "past"),
)
_GENRES_FROM = 5  # place of the first genre's flag in u.item


def open_raw(path: str | Path) -> Raw:
    """Open the release whose files are in the folder.

    Raises DataError when there are none, or those of two releases.
    """
    place = folder(path, "MovieLens' files")
    ratings = find_one(place, ["u.data", "ratings.dat", "ratings.csv"], "ratings")
    columns = ("userId", "movieId", "rating", "timestamp")
    if ratings.name == "u.data":
        films = find_one(place, "u.item", "films")
        genres = _genres(find_one(place, "u.genre", "names of genres"))
        events = Delimited(ratings, columns, "\t", header=False)
        rows = partial(
            split_lines,
            films,
            separator="|",
            fields=_GENRES_FROM + len(genres),
            encodings=_ENCODINGS,
        )
        items = Records(films, rows, partial(_film_100k, genres=genres))
    elif ratings.name == "ratings.dat":
        films = find_one(place, "movies.dat", "films")
        events = Delimited(ratings, columns, "::", header=False)
        rows = partial(split_lines, films, separator="::", fields=3, encodings=_ENCODINGS)
        items = Records(films, rows, _film)
    else:
        films = find_one(place, "movies.csv", "films")
        events = Delimited(ratings, columns)
        rows = partial(csv_rows, films, columns=("movieId", "title", "genres"))
        items = Records(films, rows, _film)
    return Raw(
        columns=COLUMNS,
        events=[Table(events, _EVENT)],
        items=[items],
        rating=True,
        item_text="{title} {genres}",
    )


def _film(row: Sequence[str]) -> tuple[str, list[str]]:
    film, title, genres = row
    return values.token(film, "film"), [
        values.text(title),
        "" if genres == "(no genres listed)" else values.text(genres.replace("|", " ")),
    ]


def _film_100k(row: Sequence[str], genres: Sequence[str]) -> tuple[str, list[str]]:
    flags = row[_GENRES_FROM:]
    if any(flag not in ("0", "1") for flag in flags):
        raise BadRow("a genre's flag is neither 0 nor 1")
    chosen = [name for name, flag in zip(genres, flags) if flag == "1" and name != "unknown"]
    return values.token(row[0], "film"), [values.text(row[1]), " ".join(chosen)]


def _genres(path: Path) -> list[str]:
    """Names of the genres, in the order of their flags."""

    def bad(line: int, reason: str) -> None:
        raise DataError(f"{path}: line {line}: {reason}.")

    return [name for _, (name, _) in split_lines(path, bad, "|", 2, _ENCODINGS)]
