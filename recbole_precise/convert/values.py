"""Values of raw files as an atomic file holds them: ids, numbers, times, texts."""

from __future__ import annotations

import ast
import html
import math
import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

from recbole_precise.convert.atomic import bad_token, text_field
from recbole_precise.convert.faults import BadRow
from recbole_precise.convert.readers import shortened
from recbole_precise.errors import ConfigError

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_COMPACT = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_UTC = re.compile(r"\b(UTC|GMT)\b", re.IGNORECASE)
#: Kinds of times, beside the offsets of zones.
NUMBER, COMPACT, NO_ZONE = "number", "compact", "no zone"


def token(value: object, what: str) -> str:
    """Return an id. Raises BadRow when it is missing or cannot occur in an atomic file."""
    if isinstance(value, float) and value.is_integer():
        value = int(
            value
        )  # a column of whole numbers with a gap is one of floats to pandas and Parquet
    if isinstance(value, bytes):
        value = _decoded(value, what)
    if value is None or isinstance(value, (bool, list, dict)):
        raise BadRow(f"{what} {'is missing' if value is None else f'is {shortened(value)}, no id'}")
    try:
        text = str(value).strip()
    except ValueError:  # a whole number of more digits than Python writes out
        raise BadRow(f"{what} is a number of thousands of digits, no id") from None
    reason = bad_token(text)
    if reason:
        raise BadRow(f"{what} {shortened(text)}: {reason}" if text else f"{what} is missing")
    return text


def number(value: object, what: str) -> int | float:
    """Return a finite number, whole ones as int. Raises BadRow for anything else."""
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            raise BadRow(f"{what} {shortened(text)} is no number" if text else f"{what} is missing")
        try:
            value = int(text)
        except ValueError:
            value = float(text)
            if math.isinf(value):
                raise BadRow(f"{what} {shortened(text)} is too large") from None
    if value is None:
        raise BadRow(f"{what} is missing")
    if isinstance(value, Decimal):
        value = (
            int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
        )
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        raise BadRow(f"{what} is too large")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadRow(f"{what} {shortened(value)} is no number")
    if abs(value) >= 2**63:
        raise BadRow(f"{what} {shortened(value)} is too large")
    return int(value) if float(value).is_integer() else value


def past(value: object, what: str) -> int | float:
    """Return a time since 1970 as a number.

    Files write 0 or -1 where they do not know it.

    Raises BadRow for these, too.
    """
    time = number(value, what)
    if time <= 0:
        raise BadRow(f"{what} {time} stands for an unknown time")
    return time


def moment(value: object, what: str, form: str | None = None) -> tuple[int | float, str]:
    """Return a time as `(seconds since 1970 of a date, or a number as it is; its kind)`.

    The kind is NUMBER, COMPACT (a number that reads as YYYYMMDD), NO_ZONE for a date without a
    zone, which is taken as UTC, or the offset of the zone, as in `+01:00`.

    Args:
        form: strptime form of a text; without it a text is a number or an ISO 8601 date.

    Raises:
        BadRow: it is anything else.
    """
    if isinstance(value, bytes):
        value = _decoded(value, what)
    named_utc = False
    if isinstance(value, str):
        text = value.strip()
        if form is None and (not text or _NUMBER.fullmatch(text)):
            return number(text, what), COMPACT if _COMPACT.fullmatch(text) else NUMBER
        try:
            value = (
                datetime.fromisoformat(_three_digits(text))
                if form is None
                else datetime.strptime(text, form)
            )
        except (ValueError, OverflowError):
            expected = "number or ISO date" if form is None else f"date of the form {form}"
            raise BadRow(f"{what} {shortened(text)} is no {expected}") from None
        named_utc = form is not None and "%Z" in form
        if named_utc and _UTC.search(text) is None:
            raise BadRow(
                f"{what} {shortened(text)}: the zone is not UTC; offsets as in +01:00 are read "
                f"with %z"
            )
    if not isinstance(value, datetime):
        if isinstance(value, date):  # of Parquet
            value = datetime(value.year, value.month, value.day)
        else:
            return number(value, what), NUMBER
    offset = value.utcoffset()
    kind = NO_ZONE if offset is None else _zone(offset)
    if named_utc:
        kind = _zone(timedelta())
    try:
        seconds = (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
    except (OverflowError, ValueError, OSError):
        raise BadRow(f"{what} {shortened(value)} is too far from today") from None
    return (int(seconds) if seconds.is_integer() else seconds), kind


def _zone(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def checked_form(form: str) -> str:
    """Check a strptime form that dates can be read with, and return it.

    Raises:
        ConfigError: it is malformed, or has no year, so that times of two years could not be put
            in order.
    """
    directives = re.findall(r"%(.?)", form.replace("%%", ""))
    try:
        datetime.strptime("", form)
    except re.error:
        raise ConfigError(f"--time_format='{form}': a part of a date stands in it twice.") from None
    except (ValueError, IndexError) as error:
        if "does not match" not in str(error):
            raise ConfigError(
                f"--time_format='{form}': {error}; it is written as in %d/%m/%Y %H:%M."
            ) from None
    if not {"Y", "y", "G", "c", "x"} & set(directives):
        raise ConfigError(
            f"--time_format='{form}' has no year (%Y), so the order of events would not be known."
        )
    return form


def _decoded(value: bytes, what: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRow(f"{what} holds bytes that are no UTF-8 text") from None


def _three_digits(text: str) -> str:
    """ISO 8601 as Python 3.10 reads it too: `Z` as an offset."""
    return text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text


def text(value: object, unescape: bool = True) -> str:
    """Return a text, or those of a nested list joined by spaces.

    Objects and missing values are empty.
    """
    if isinstance(value, (list, tuple)):
        return " ".join(filter(None, (text(part, unescape) for part in value)))
    if value is None or isinstance(value, (bool, dict)) or value != value:
        return ""
    plain = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    # Half a surrogate pair is legal JSON but no text.
    if not plain.isascii():
        plain = plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text_field(html.unescape(plain) if unescape else plain)


def listed(value: str) -> object:
    """Return the list that a cell such as `['Fiction', 'Drama']` holds; any other as it is."""
    if value.startswith("["):
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            pass
    return value
