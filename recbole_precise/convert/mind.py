"""MIND (Wu et al., ACL 2020): behaviors.tsv and news.tsv of one part or several.

The parts are MINDsmall_train, MINDsmall_dev, and so on.

A line of behaviors.tsv is an impression: number, user, time, the user's earlier clicks in order,
the news shown with `-1` behind those clicked. The earlier clicks have no times of their own and are
repeated in every impression of a user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from recbole_precise.convert import values
from recbole_precise.convert.faults import BadRow
from recbole_precise.convert.files import find, folder
from recbole_precise.convert.readers import Bad, shortened, split_lines
from recbole_precise.convert.reading import Event, Raw, Records
from recbole_precise.errors import ConfigError

COLUMNS = ("title", "abstract", "category", "subcategory")
CLICKS = ("history", "impressions")
_TIME = "%m/%d/%Y %I:%M:%S %p"


def open_raw(path: str | Path, clicks: str = "history") -> Raw:
    """Find the parts in a folder or in its subfolders.

    Args:
        clicks: `history`: each user's longest list of earlier clicks, the place in it being the
            time (PAD's data); `impressions`: the news clicked in impressions, at the impression's
            time in seconds.

    Raises DataError when files are missing, ConfigError for other `clicks`.
    """
    if clicks not in CLICKS:
        raise ConfigError(f"--clicks is {' or '.join(CLICKS)}, not '{clicks}'.")
    place = folder(path, "behaviors.tsv and news.tsv")
    behaviors = find(place, ["behaviors.tsv", "*/behaviors.tsv"], "clicks")
    news = find(place, ["news.tsv", "*/news.tsv"], "titles")
    longest = _Longest(behaviors)
    rows = longest.rows if clicks == "history" else _behaviors
    zones: Counter[str] = Counter()
    parse = _history if clicks == "history" else partial(_impression, zones=zones)
    return Raw(
        columns=COLUMNS,
        events=[Records(file, partial(rows, file), parse) for file in behaviors],
        items=[
            Records(file, partial(split_lines, file, separator="\t", fields=8), _news)
            for file in news
        ],
        item_text="{title}",
        scenes={"category": "item", "subcategory": "item"},
        zones=zones,
        times_are_places=clicks == "history",
    )


def _behaviors(file: Path, bad: Bad) -> Iterator[tuple[int, list[str]]]:
    return split_lines(file, bad, "\t", 5)


class _Longest:
    """The longest of each user's lists of earlier clicks, the first among equals.

    It takes one reading to find it and one to return it.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._best: dict[str, tuple[int, int, int]] | None = None  # user -> clicks, file, line

    def rows(self, file: Path, bad: Bad) -> Iterator[tuple[int, list[str]]]:
        if self._best is None:
            self._best = {}
            for number, other in enumerate(self._files):
                for line, row in _behaviors(other, lambda line, reason: None):
                    clicks = len(row[3].split())
                    if clicks > self._best.get(row[1], (-1,))[0]:
                        self._best[row[1]] = (clicks, number, line)
        number = self._files.index(file)
        for line, row in _behaviors(file, bad):
            # The others are handed over without clicks, so that all lines are checked.
            yield line, row if self._best[row[1]][1:] == (number, line) else [*row[:3], "", row[4]]


def _history(row: Sequence[str]) -> list[Event]:
    user = values.token(row[1], "user")
    return [
        Event(user, values.token(item, "news"), place) for place, item in enumerate(row[3].split())
    ]


def _impression(row: Sequence[str], zones: Counter[str]) -> list[Event]:
    user = values.token(row[1], "user")
    time, zone = values.moment(row[2], "time", _TIME)
    events = []
    for shown in row[4].split():
        item, dash, clicked = shown.rpartition("-")
        if not dash or clicked not in ("0", "1"):
            raise BadRow(f"{shortened(shown)} does not say whether it was clicked (-0 or -1)")
        if clicked == "1":
            events.append(Event(user, values.token(item, "news"), time))
    zones[zone] += len(events)
    return events


def _news(row: Sequence[str]) -> tuple[str, list[str]]:
    return values.token(row[0], "news"), [
        values.text(row[3]),
        values.text(row[4]),
        values.text(row[1]),
        values.text(row[2]),
    ]
