"""MovieLens: 100k (u.data, u.item, u.genre), 1M and 10M (ratings.dat, movies.dat), 20M and later
(ratings.csv, movies.csv).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from recbole_precise.data.convert import values
from recbole_precise.data.convert.faults import BadRow
from recbole_precise.data.convert.files import find_one, folder
from recbole_precise.data.convert.pipeline import Part, Raw
from recbole_precise.data.convert.readers import csv_rows, split_lines
from recbole_precise.data.convert.staging import Event

COLUMNS = ("title", "genres")
# 100k and 1M are Latin-1, 10M is UTF-8; a line of Latin-1 with an accent is no UTF-8.
_ENCODINGS = ("utf-8", "latin-1")
_GENRES_FROM = 5  # place of the first genre's flag in u.item


def open_raw(path: str | Path) -> Raw:
    """The release whose files are in the folder.

    Raises DataError when there are none, or those of two releases.
    """
    place = folder(path, "MovieLens' files")
    ratings = find_one(place, ["u.data", "ratings.dat", "ratings.csv"], "ratings")
    if ratings.name == "u.data":
        movies, genres = (
            find_one(place, "u.item", "films"),
            _genres(find_one(place, "u.genre", "names of genres")),
        )
        events = partial(split_lines, ratings, separator="\t", fields=4)
        items = partial(
            split_lines,
            movies,
            separator="|",
            fields=_GENRES_FROM + len(genres),
            encodings=_ENCODINGS,
        )
        film: Callable = partial(_film_100k, genres=genres)
    elif ratings.name == "ratings.dat":
        movies = find_one(place, "movies.dat", "films")
        events, items = (
            partial(split_lines, ratings, separator="::", fields=4),
            partial(split_lines, movies, separator="::", fields=3, encodings=_ENCODINGS),
        )
        film = _film
    else:
        movies = find_one(place, "movies.csv", "films")
        events = partial(csv_rows, ratings, columns=("userId", "movieId", "rating", "timestamp"))
        items, film = partial(csv_rows, movies, columns=("movieId", "title", "genres")), _film
    return Raw(
        columns=COLUMNS, events=[Part(ratings, events, _event)], items=[Part(movies, items, film)],
        rating=True, item_text="{title} {genres}",
    )  # fmt: skip


def _event(row: Sequence[str]) -> list[Event]:
    user, item, rating, time = row
    return [
        Event(
            values.token(user, "user"),
            values.token(item, "film"),
            values.past(time, "time"),
            values.number(rating, "rating"),
        )
    ]


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
    from recbole_precise.errors import DataError

    def bad(line: int, reason: str) -> None:
        raise DataError(f"{path}: line {line}: {reason}.")

    return [name for _, (name, _) in split_lines(path, bad, "|", 2, _ENCODINGS)]
