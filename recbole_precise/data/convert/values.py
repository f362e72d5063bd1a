"""Values of raw files as an atomic file holds them: ids, numbers, times, texts."""

from __future__ import annotations

import ast
import html
import math
import re
from datetime import datetime, timezone

from recbole_precise.data.convert.atomic import bad_token, text_field
from recbole_precise.data.convert.faults import BadRow
from recbole_precise.data.convert.readers import shortened

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


def token(value: object, what: str) -> str:
    """An id. Raises BadRow when it is missing or cannot stand in an atomic file."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of whole numbers with a gap is one of floats to pandas and Parquet
    if value is None or isinstance(value, (bool, list, dict)):
        raise BadRow(f"{what} {'is missing' if value is None else f'is {shortened(value)}, no id'}")
    text = str(value).strip()
    reason = bad_token(text)
    if reason:
        raise BadRow(f"{what} {shortened(text)}: {reason}" if text else f"{what} is missing")
    return text


def number(value: object, what: str) -> int | float:
    """A finite number, whole ones as int. Raises BadRow for anything else."""
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            raise BadRow(f"{what} {shortened(text)} is no number" if text else f"{what} is missing")
        try:
            value = int(text)
        except ValueError:
            value = float(text)
    if value is None:
        raise BadRow(f"{what} is missing")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadRow(f"{what} {shortened(value)} is no number")
    if abs(value) >= 2**63:
        raise BadRow(f"{what} {shortened(value)} is too large")
    return int(value) if float(value).is_integer() else value


def past(value: object, what: str) -> int | float:
    """A time since 1970 as a number; files write 0 or -1 where they do not know it. Raises BadRow for these, too."""
    time = number(value, what)
    if time <= 0:
        raise BadRow(f"{what} {time} stands for an unknown time")
    return time


def moment(value: object, what: str, form: str | None = None) -> int | float:
    """Seconds since 1970 of a date, or a number as it is.

    Args:
        form: strptime form of a text; without it a text is a number or an ISO 8601 date. A date without a zone is UTC.

    Raises BadRow for anything else.
    """
    if isinstance(value, str):
        text = value.strip()
        if form is None and (not text or _NUMBER.fullmatch(text)):
            return number(text, what)
        try:
            value = datetime.fromisoformat(_three_digits(text)) if form is None else datetime.strptime(text, form)
        except ValueError:
            raise BadRow(f"{what} {shortened(text)} is no {'number or ISO date' if form is None else f'date of the form {form}'}") from None
    if not isinstance(value, datetime):
        if hasattr(value, "isoformat"):  # a date of Parquet
            return moment(value.isoformat(), what)
        return number(value, what)
    seconds = (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
    return int(seconds) if seconds.is_integer() else seconds


def _three_digits(text: str) -> str:
    """ISO 8601 as Python 3.10 reads it too: `Z` as an offset."""
    return text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text


def text(value: object, unescape: bool = True) -> str:
    """A text, or the texts of a nested list joined by spaces; objects and missing values are empty."""
    if isinstance(value, (list, tuple)):
        return " ".join(filter(None, (text(part, unescape) for part in value)))
    if value is None or isinstance(value, (bool, dict)) or value != value:
        return ""
    plain = str(value)
    # Half a surrogate pair is legal JSON but no text.
    if not plain.isascii():
        plain = plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text_field(html.unescape(plain) if unescape else plain)


def listed(value: str) -> object:
    """The list that a CSV cell such as `['Fiction', 'Drama']` stands for; any other cell as it is."""
    if value.startswith("["):
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            pass
    return value
