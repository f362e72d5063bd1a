"""Intervals as RecBole writes them, "[5,inf)" or "[1,2);[5,inf)", read strictly.

What cannot be read is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recbole_precise.errors import ConfigError, shown

_INTERVAL = re.compile(r"\s*([\[(])\s*([^,\[\]()]+?)\s*,\s*([^,\[\]()]+?)\s*([\])])\s*")


@dataclass(frozen=True)
class Interval:
    """Numbers between two bounds, each of which may belong to it."""

    low: float
    high: float
    with_low: bool
    with_high: bool

    def holds(self, number: float) -> bool:
        """Whether a number lies in the interval."""
        above = number >= self.low if self.with_low else number > self.low
        below = number <= self.high if self.with_high else number < self.high
        return above and below


def parse_intervals(value: Any, example: str = "[5,inf)") -> list[Interval]:
    """Read the intervals of a text, or of a pair of numbers in a YAML list, in their order.

    Args:
        value: text such as "[5,inf)", several with ';' between them, or a pair: a list is closed, a
            tuple open.
        example: what the message offers.

    Raises:
        ValueError: says in words what is wrong, for a message that names the key.
    """
    if isinstance(value, (list, tuple)):
        numbers = [number for number in map(_bound, value) if number is not None]
        if len(value) != 2 or len(numbers) != 2:
            raise ValueError(f"cannot be read as an interval: it needs two bounds, as in {example}")
        closed = isinstance(value, list)  # (5,30) on a command line is read as a pair
        return [_checked(Interval(numbers[0], numbers[1], closed, closed), as_text(value))]
    if not isinstance(value, str):
        raise ValueError(f"is no interval: write text such as {example}")
    found = []
    for part in value.split(";"):
        match = _INTERVAL.fullmatch(part)
        if match is None:
            raise ValueError(_fault(part, example))
        low = _bound(match[2])
        high = _bound(match[3])
        if low is None or high is None:
            bad = match[2] if low is None else match[3]
            raise ValueError(
                f"has the bound {shown(bad)}, which is no number: write it as in {example}"
            )
        found.append(_checked(Interval(low, high, match[1] == "[", match[4] == "]"), part.strip()))
    return found


def _fault(part: str, example: str) -> str:
    if not part.strip():
        return f"is empty where an interval should be: write it as in {example}"
    comparison = re.match(r"\s*(>=|<=|>|<|==?)\s*([-+.\w]+)\s*$", part)
    if comparison:
        sign, number = comparison.groups()
        forms = {
            ">=": f"[{number},inf)",
            ">": f"({number},inf)",
            "<=": f"(-inf,{number}]",
            "<": f"(-inf,{number})",
        }
        return f"is a comparison, not an interval: write {forms.get(sign, f'[{number},{number}]')}"
    return (
        "cannot be read as an interval: it needs two brackets and two bounds with a comma "
        f"between, as in {example}"
    )


def _bound(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _checked(interval: Interval, text: str) -> Interval:
    """Return the interval; raise a ValueError when no number lies in it."""
    closed = interval.with_low and interval.with_high
    if interval.low > interval.high or (interval.low == interval.high and not closed):
        raise ValueError(
            f"holds no number, because {text} ends before it begins; turn its bounds round or "
            "close it with [ and ]"
        )
    if interval.low == math.inf or interval.high == -math.inf:
        raise ValueError(f"holds no number, because nothing lies beyond the bound of {text}")
    return interval


def as_text(value: Any) -> Any:
    """Write an interval as RecBole reads it.

    A pair, which YAML makes of [6,inf] and Python of (5,30), becomes the text that it was.
    """
    if not isinstance(value, (list, tuple)):
        return value
    inside = ",".join(str(part) for part in value)
    return f"[{inside}]" if isinstance(value, list) else f"({inside})"


def check_interval(name: str, value: Any, where: str, example: str = "[5,inf)") -> None:
    """Refuse a value that is no interval that can be filtered by.

    A ConfigError names key, value and place.
    """
    try:
        parse_intervals(value, example)
    except ValueError as error:
        raise ConfigError(f"{name}: {shown(value)} ({where}) {error}.") from None


def check_count_interval(name: str, value: Any, where: str) -> None:
    """As `check_interval`, for numbers of events: at least one count must lie in the interval."""
    check_interval(name, value, where)
    most = 1 << 62
    for interval in parse_intervals(value):
        first = max(1, math.ceil(min(interval.low, most)))
        if not any(interval.holds(count) for count in (first, first + 1)):
            raise ConfigError(
                f"{name}: {shown(value)} ({where}) holds no number of events from 1 on; write it "
                "as in [5,inf)."
            )


def check_value_intervals(
    value: Mapping[Any, Any], where: str, types: Mapping[str, str] | None
) -> None:
    """Check `val_interval`.

    Intervals of numeric columns, lists of the values to keep of token columns.

    Args:
        types: column -> type of the columns that are loaded; None where they are not known.
    """
    for column, wanted in value.items():
        name = f"val_interval: {column}"
        kind = None if types is None else types.get(str(column))
        if kind is not None and kind.startswith("token"):
            if not isinstance(wanted, (list, tuple)) or not wanted:
                raise ConfigError(
                    f"{name}: {shown(wanted)} ({where}) must be a list of the values to keep, as "
                    "in [a, b], because the "
                    f"column '{column}' holds tokens."
                )
        elif kind is not None or not isinstance(wanted, (list, tuple)):
            check_interval(name, wanted, where, "[3,inf)")
