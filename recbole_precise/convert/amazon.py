"""Amazon Reviews of 2014, 2018 and 2023: one file of reviews and one of metadata for each category.

2014 (McAuley et al.): reviews_<Category>[_5].json.gz, meta_<Category>.json.gz; lines of metadata
are Python literals. 2018 (Ni et al.): <Category>[_5].json.gz, meta_<Category>.json.gz. 2023 (Hou et
al.): <Category>.jsonl[.gz], meta_<Category>.jsonl[.gz]; reviews are joined with metadata by
`parent_asin`, and times are in milliseconds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from recbole_precise.convert import values
from recbole_precise.convert.files import find, folder
from recbole_precise.convert.readers import json_lines
from recbole_precise.convert.reading import Event, Raw, Records
from recbole_precise.errors import DataError

COLUMNS = ("title", "brand", "main_category", "categories", "description")


@dataclass(frozen=True)
class Release:
    """Names of fields in one release.

    `texts` are functions of a line of metadata, in the order of COLUMNS.
    """

    user: str
    item: str
    rating: str
    time: str
    meta_item: str
    texts: Sequence[Callable[[Mapping[str, Any]], object]]
    endings: Sequence[str]


def _get(name: str) -> Callable[[Mapping[str, Any]], object]:
    return lambda record: record.get(name)


def _first_category(record: Mapping[str, Any]) -> object:
    """2014 has paths of categories; the main one is the first of the first path."""
    paths = record.get("categories")
    while isinstance(paths, list) and paths:
        paths = paths[0]
    return paths


def _clean_title(record: Mapping[str, Any]) -> object:
    """Return a record's title, or an empty one where it is a script of the web page.

    The metadata of 2018 have such titles; as the release's own notes say, they contain `getTime`.
    """
    title = record.get("title")
    return "" if isinstance(title, str) and "getTime" in title else title


_OLD = {
    "user": "reviewerID",
    "item": "asin",
    "rating": "overall",
    "time": "unixReviewTime",
    "meta_item": "asin",
}
RELEASES = {
    "amazon-2014": Release(
        **_OLD,
        texts=[
            _get("title"),
            _get("brand"),
            _first_category,
            _get("categories"),
            _get("description"),
        ],
        endings=("json.gz", "json"),
    ),
    "amazon-2018": Release(
        **_OLD,
        texts=[
            _clean_title,
            _get("brand"),
            _get("main_cat"),
            _get("category"),
            _get("description"),
        ],
        endings=("json.gz", "json"),
    ),
    "amazon-2023": Release(
        user="user_id",
        item="parent_asin",
        rating="rating",
        time="timestamp",
        meta_item="parent_asin",
        texts=[
            _get("title"),
            _get("store"),
            _get("main_category"),
            _get("categories"),
            _get("description"),
        ],
        endings=("jsonl.gz", "jsonl"),
    ),
}


def open_raw(path: str | Path, release: str) -> Raw:
    """Find the categories in a folder; each needs its reviews, and metadata are optional.

    Raises DataError when there are no reviews, or two files of them for one category.
    """
    place, names, own = (
        folder(path, f"the reviews and metadata of {release}"),
        RELEASES[release],
        release == "amazon-2014",
    )
    endings = [f"*.{ending}" for ending in names.endings]
    found = find(place, endings, "reviews")
    reviews = [file for file in found if not file.name.startswith("meta_")]
    if not reviews:
        raise DataError(f"{place}: there is metadata ({found[0].name}) but no file of reviews.")
    _one_each([(_category(file), file) for file in reviews], "reviews")
    meta = [file for file in found if file.name.startswith("meta_")]
    _one_each([(_category(file), file) for file in meta], "metadata")
    counts: Counter[str] = Counter()
    return Raw(
        columns=COLUMNS,
        events=[
            Records(
                file,
                partial(json_lines, file),
                partial(_event, names=names, category=_category(file)),
            )
            for file in reviews
        ],
        items=[
            Records(file, partial(_json_lines, file, literals=own), partial(_item, names=names))
            for file in meta
        ],
        rating=True,
        item_text="{title}",
        scenes={"category": "event", "main_category": "item"},
        counts=counts,
    )


def _json_lines(file: Path, bad: Callable[[int, str], None], literals: bool):
    return json_lines(file, bad, literals=literals)


def _category(file: Path) -> str:
    stem = re.sub(r"\.jsonl?(\.gz)?$", "", file.name)
    return re.sub(r"_5$", "", re.sub(r"^(reviews|meta)_", "", stem))


def _one_each(files: Sequence[tuple[str, Path]], what: str) -> None:
    seen: dict[str, Path] = {}
    for category, file in files:
        if category in seen:
            raise DataError(
                f"{file.parent}: {seen[category].name} and {file.name} both hold {what} of "
                f"{category}; keep one in the folder."
            )
        seen[category] = file


def _event(record: Mapping[str, Any], names: Release, category: str) -> list[Event]:
    user, item = (
        values.token(record.get(names.user), names.user),
        values.token(record.get(names.item), names.item),
    )
    return [
        Event(
            user,
            item,
            values.past(record.get(names.time), names.time),
            values.number(record.get(names.rating), names.rating),
            category,
        )
    ]


def _item(record: Mapping[str, Any], names: Release) -> tuple[str, list[str]]:
    return values.token(record.get(names.meta_item), names.meta_item), [
        values.text(read(record)) for read in names.texts
    ]
